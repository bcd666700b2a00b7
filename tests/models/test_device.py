import pytest

from bigsf.errors import UsageError
from bigsf.models.device import pick_device


@pytest.mark.parametrize("name", ["meta", "gpu", "mps", "xla:0"])
def test_other_devices_are_refused(name: str) -> None:
    reason = "the GPUs of Macs are not supported" if name == "mps" else "expected cpu, cuda, or e.g. cuda:1"
    with pytest.raises(UsageError, match=rf"device='{name}': {reason}.* Here (is|are) cpu"):
        pick_device(name)


def test_a_gpu_that_is_not_there_is_refused_with_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"device='cuda:99': .* Here (is|are) cpu"):
        pick_device("cuda:99")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda _: "H200")
    with pytest.raises(UsageError, match=r"Here are cpu and cuda:0 \(H200\)\."):
        pick_device("tpu")
