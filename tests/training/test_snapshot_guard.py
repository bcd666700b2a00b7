import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bigsf.errors import SnapshotError, TrainingError
from bigsf.training.snapshot import Snapshot
from bigsf.training.snapshot_guard import check_archive, check_values
from bigsf.training.trainer import Trainer
from conftest import Settings


@pytest.fixture
def path(trained: Path, tmp_path: Path) -> Path:
    """The last snapshot of a run, as a file of its own."""
    copy = tmp_path / "model.pt"
    copy.write_bytes((trained / "last.pt").read_bytes())
    return copy


def altered(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    data = torch.load(path, weights_only=True)
    change(data)
    torch.save(data, path)
    return path


def nested(levels: int, width: int) -> list[Any]:
    value: list[Any] = [0.0]
    for _ in range(levels):
        value = [value] * width
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (nested(8, 10), r"holds more than 1,000,000 values"),
        (nested(60, 1), r"lie too deep in each other"),
        (2**1000, r"an integer of 1001 bits"),
        (torch.ones(3).to_sparse(), r"holds more than plain data .* it names torch.*sparse"),
        (torch.ones(3, device="meta"), r"holds more than plain data .* it names torch.*meta"),
        (torch.nn.Parameter(torch.ones(3)), r"a tensor that is not a plain one"),
        (torch.ones(1).expand(10**12), r"no room for a tensor of shape \(1000000000000,\)"),
        ({1.5j}, r"holds more than plain data .* it names .*builtin.* (set|complex)"),
    ],
    ids=["shared", "deep", "integer", "sparse", "meta", "parameter", "expanded", "set"],
)
def test_values_that_are_not_plain_are_refused(path: Path, value: object, message: str) -> None:
    altered(path, lambda data: data["MACHINE"].update(value=value))
    with pytest.raises(SnapshotError, match=message):
        Snapshot.load(path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("PATCH_SIZE", 0, r"its patch size is 0"),
        ("PATCH_SIZE", 10**12, r"its patch size is 1000000000000"),
        ("EPOCHS_RUN", -1, r"it has run -1 epochs"),
        ("STEPS_RUN", -1, r"it has run \d+ epochs and -1 steps"),
        ("EPOCHS_RUN", 7, r"its history is not of 7 epochs"),
        ("EPOCHS_RUN", 2**63, r"its history is not of 9223372036854775808 epochs"),
        ("THRESHOLDS", {"whole": float("nan"), "labelled": 0.5}, r"its thresholds are nan and 0.5"),
        ("THRESHOLDS", {"whole": 0.5, "labelled": 1.5}, r"its thresholds are 0.5 and 1.5"),
        ("BEST", {"value": 0.5}, r"its best model is"),
        ("BEST", {"value": 0.5, "epoch": 99.0}, r"its best model is"),
    ],
)
def test_numbers_of_no_run_are_refused(path: Path, name: str, value: object, message: str) -> None:
    altered(path, lambda data: data.update({name: value}))
    with pytest.raises(SnapshotError, match=message):
        Snapshot.load(path)


@pytest.mark.parametrize(("key", "value"), [("val_loss", "0.5"), ("another", 0.5)])
def test_a_history_of_no_run_is_refused(path: Path, key: str, value: object) -> None:
    altered(path, lambda data: data["HISTORY"][-1].update({key: value}))
    with pytest.raises(SnapshotError, match=r"is damaged: .*history"):
        Snapshot.load(path)


@pytest.mark.parametrize("size", [1, 3, 33])
def test_a_patch_size_that_does_not_go_through_the_network_is_refused(path: Path, size: int) -> None:
    altered(path, lambda data: data.update(PATCH_SIZE=size))
    with pytest.raises(SnapshotError, match=rf"Patches of {size} pixels do not go through"):
        Snapshot.load(path).build_model()


def test_a_network_that_needs_more_memory_than_the_file_has_is_refused_before_it_is_made(path: Path) -> None:
    altered(path, lambda data: data["GLOBAL_CONFIG"]["trainer"]["model"].update(features=60_000))  # 10 TB
    with pytest.raises(
        SnapshotError, match=r"do not fit the network of the config: .* is \(.*60000.* \d+ more of \d+ d"
    ):
        Snapshot.load(path).build_model()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("exp_avg", torch.zeros(2, 3), r"exp_avg has the shape \(2, 3\)"),
        ("exp_avg", torch.tensor(0.0), r"exp_avg has the shape \(\) instead of \(\d+"),
        ("exp_avg", None, r"exp_avg is no array of real numbers"),
        ("exp_avg", [0.0], r"exp_avg is no array of real numbers"),
        ("step", torch.tensor(True), r"step is no array of real numbers"),
        ("step", torch.tensor(1j), r"step is no array of real numbers"),
        ("step", torch.tensor(-1.0), r"step is -1.0"),
        ("step", torch.tensor(float("nan")), r"step is nan"),
    ],
)
def test_a_state_that_no_optimizer_has_is_refused(path: Path, name: str, value: object, message: str) -> None:
    def change(data: dict[str, Any]) -> None:
        for state in data["OPTIMIZER_STATE"]["state"].values():
            state[name] = value

    altered(path, change)
    with pytest.raises(SnapshotError, match=message):
        Trainer.from_snapshot(path, epochs=50)


@pytest.mark.parametrize(("number", "name"), [(0, "exp_avg_sq"), (3, "exp_avg")])
def test_a_state_that_lacks_a_part_is_refused(path: Path, number: int, name: str) -> None:
    """Muon keeps the mean gradient of a convolution, and the two means of AdamW of all other weights."""
    assert "exp_avg_sq" not in torch.load(path, weights_only=True)["OPTIMIZER_STATE"]["state"][3]
    altered(path, lambda data: data["OPTIMIZER_STATE"]["state"][number].pop(name))
    with pytest.raises(SnapshotError, match=rf"{name} is missing"):
        Trainer.from_snapshot(path, epochs=50)


@pytest.mark.parametrize("rate", [float("nan"), -1.0, "fast", None])
def test_a_learning_rate_that_is_no_number_is_refused(path: Path, rate: object) -> None:
    altered(path, lambda data: data["OPTIMIZER_STATE"]["param_groups"][0].update(lr=rate))
    with pytest.raises(SnapshotError, match=r"the learning rate is (nan|-1.0|'fast'|None)"):
        Trainer.from_snapshot(path, epochs=50)


@pytest.mark.parametrize("factor", [1e308, float("inf"), float("nan")])
def test_a_learning_rate_that_overflows_ends_the_run(run_dict: Settings, factor: float) -> None:
    settings = run_dict(epochs=1, scheduler={"type": "plateau"})
    trainer = Trainer.from_config(settings)
    trainer.train()
    altered(trainer.folder.last, lambda data: data["SCHEDULER_STATE"].update(factor=factor))
    with pytest.raises(TrainingError, match=r"The learning rate of epoch 2 would be (inf|nan|\de\+30\d)"):
        Trainer.from_snapshot(trainer.folder.last, epochs=2).train()


def test_an_optimizer_keeps_the_settings_of_the_config(path: Path) -> None:
    settings = dict(Trainer.from_snapshot(path, epochs=50).run.state.optimizer.param_groups[0])
    altered(path, lambda data: data["OPTIMIZER_STATE"]["param_groups"][0].update(betas=[], weight_decay=9.0))
    group = Trainer.from_snapshot(path, epochs=50).run.state.optimizer.param_groups[0]
    assert {name: group[name] for name in ("betas", "weight_decay", "lr")} == {
        name: settings[name] for name in ("betas", "weight_decay", "lr")
    }


def test_moments_that_share_memory_become_arrays_of_their_own(path: Path) -> None:
    def change(data: dict[str, Any]) -> None:
        for state in data["OPTIMIZER_STATE"]["state"].values():
            mean = state["exp_avg"].reshape(-1)[0].expand(state["exp_avg"].shape)
            state.update(dict.fromkeys(state.keys() - {"step"}, mean))

    altered(path, change)
    moments = list(Trainer.from_snapshot(path, epochs=50).run.state.optimizer.state.values())
    arrays = [value for state in moments for name, value in state.items() if name != "step"]
    assert len({array.data_ptr() for array in arrays}) == len(arrays)
    assert all(array.untyped_storage().nbytes() >= array.nbytes for array in arrays)


def test_a_flipped_bit_in_any_weight_is_found(path: Path) -> None:
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        weights = [member for member in archive.infolist() if "/data/" in member.filename]
    for member in weights[::5]:
        flipped = bytearray(content)
        flipped[content.index(archive_bytes(path, member), member.header_offset)] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(SnapshotError, match=rf"the checksum of {member.filename} is wrong"):
            Snapshot.load(path)
    path.write_bytes(content)
    Snapshot.load(path)


def pickled(*operations: bytes) -> bytes:
    return b"\x80\x02" + b"".join(operations) + b"."


def called(name: bytes, *arguments: bytes) -> bytes:
    """Return the operations of a pickle that call something by its name."""
    return b"c" + name + b"\n(" + b"".join(arguments) + b"tR"


def integer(value: int) -> bytes:
    return b"\x8a\x08" + value.to_bytes(8, "little")


def text(value: bytes) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value


DOUBLED = called(b"_codecs\nencode", called(b"_codecs\nencode", text(b"a"), text(b"latin1")), text(b"hex"))


@pytest.mark.parametrize(
    "content",
    [
        called(b"builtins\nbytearray", integer(2**40)),
        called(b"torch\nTensor", integer(2**40)),
        DOUBLED,
    ],
    ids=["bytearray", "tensor", "codec"],
)
def test_a_pickle_that_makes_much_of_little_is_not_loaded(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("bomb/data.pkl", pickled(content))
    with pytest.raises(SnapshotError, match=r"it names (builtins bytearray|torch Tensor|_codecs encode)\."):
        Snapshot.load(path)


def test_a_file_of_the_old_format_before_an_archive_is_not_loaded(path: Path) -> None:
    path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + path.read_bytes())
    with pytest.raises(SnapshotError, match=r"something lies before its archive"):
        Snapshot.load(path)


def test_a_pickle_of_very_many_operations_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("long/data.pkl", pickled(b"](", b"N" * 2_600_000, b"e"))
    with pytest.raises(SnapshotError, match=r"besides weights is too large"):
        Snapshot.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data["GLOBAL_CONFIG"]["trainer"]["model"].update(features=60_000), r"do not fit .*60000"),
        (lambda data: data.update(PATCH_SIZE=3), r"Patches of 3 pixels do not go through"),
        (lambda data: data.update(HANDED_IN=["network"]), r"parts=bigsf\.Parts\(network=\.\.\.\)"),
    ],
    ids=["features", "patch_size", "handed_in"],
)
def test_a_snapshot_that_fits_no_run_is_not_resumed(
    change: Callable[[dict[str, Any]], object], message: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bigsf.training.resume.build_run", None)
    with pytest.raises(SnapshotError, match=message):
        Trainer.from_snapshot(altered(path, change))


def archive_bytes(path: Path, member: zipfile.ZipInfo) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return archive.read(member)


def test_an_archive_that_unpacks_to_more_than_itself_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", pickle.dumps({"FORMAT": "bigsf snapshot"}))
        archive.writestr("bomb/data/0", bytes(10_000_000))
    with pytest.raises(SnapshotError, match=r"it unpacks to 10,000,\d\d\d bytes"):
        Snapshot.load(tmp_path / "bomb.pt")


def test_what_an_archive_holds_besides_weights_has_a_limit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bigsf.training.snapshot_guard._LONGEST_PICKLE", 1000)
    with pytest.raises(SnapshotError, match=r"besides weights is too large"):
        Snapshot.load(path)


def test_an_optimizer_may_record_number_formats_and_devices(path: Path) -> None:
    options = {"state_dtype": torch.bfloat16, "device": torch.device("cpu")}
    altered(path, lambda data: data["OPTIMIZER_STATE"]["param_groups"][0].update(options))
    assert Snapshot.load(path).optimizer_state["param_groups"][0].items() >= options.items()


def test_weights_that_share_memory_are_no_fault(tmp_path: Path) -> None:
    whole, path = torch.arange(6.0), tmp_path / "shared.pt"
    torch.save({"a": whole, "b": whole[:3], "c": whole.reshape(2, 3)}, path)  # one storage, which is written once
    check_archive(path)
    check_values(path, torch.load(path, weights_only=True))
