import pytest

from bigsf.errors import ConfigError
from bigsf.models.device import pick_device


@pytest.mark.parametrize("name", ["meta", "gpu", "mps", "xla:0"])
def test_other_devices_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"--device {name}: expected one of cpu, cuda, or e.g. cuda:1."):
        pick_device(name)


def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--device cuda:99: .* Use cpu, or cuda on a GPU"):
        pick_device("cuda:99")
