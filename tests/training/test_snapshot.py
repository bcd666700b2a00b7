import os
import pickle
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import torch

from bigsf.errors import SnapshotError
from bigsf.patches.patch_file import PatchFile
from bigsf.training.run_config import RunConfig
from bigsf.training.snapshot import Snapshot
from bigsf.training.snapshot_file import FORMAT, FORMAT_VERSION

KEYS = {
    "FORMAT",
    "FORMAT_VERSION",
    "BIGSF_VERSION",
    "MODEL_STATE",
    "OPTIMIZER_STATE",
    "SCHEDULER_STATE",
    "EARLY_STOPPING_STATE",
    "SCALER_STATE",
    "GLOBAL_CONFIG",
    "EPOCHS_RUN",
    "STEPS_RUN",
    "PARTIAL_LOSS",
    "HISTORY",
    "BEST",
    "THRESHOLDS",
    "PATCH_SIZE",
    "DATA_IDENTITY",
    "FOLDS_IDENTITY",
    "TRAINING_MAPS",
    "STOPPED_EARLY",
    "MACHINE",
    "HANDED_IN",
    "WINDOW_RANGES",
    "BEAM_PX",
}


class Hostile:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def snapshot(trained: Path) -> Snapshot:
    return Snapshot.load(trained / "last.pt")


@pytest.fixture
def path(snapshot: Snapshot, tmp_path: Path) -> Path:
    snapshot.save(tmp_path / "model.pt")
    return tmp_path / "model.pt"


def content(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = torch.load(path, weights_only=True)
    return data


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """Return the leaves of nested dictionaries and lists by their path; tensors as arrays."""
    if isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {path: leaf for key, item in items for path, leaf in flat(item, f"{name}.{key}").items()}
    return {name: value.numpy() if isinstance(value, torch.Tensor) else value}


def test_snapshot_is_the_same_after_saving_and_loading(snapshot: Snapshot, path: Path) -> None:
    again = Snapshot.load(path)
    for field in fields(Snapshot):
        np.testing.assert_equal(flat(getattr(again, field.name)), flat(getattr(snapshot, field.name)))


def test_format_has_not_moved(path: Path) -> None:
    data = content(path)
    assert set(data) == KEYS, "a new key wants a new FORMAT_VERSION and a way to read the old one"
    assert (data["FORMAT"], data["FORMAT_VERSION"]) == ("bigsf snapshot", 5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pixels", torch.zeros(3)),
        ("pixels", torch.zeros(3, 3, dtype=torch.int64)),
        ("covered", torch.ones(0, 2, dtype=torch.bool)),
        ("covered", torch.ones(2, 2)),
        ("shape", (0, 160)),
        ("wcs", None),
    ],
)
def test_a_damaged_fingerprint_is_refused(path: Path, name: str, value: object) -> None:
    data = content(path)
    data["TRAINING_MAPS"][0][name] = value
    torch.save(data, path)
    with pytest.raises(SnapshotError, match=r"model\.pt is damaged: (the fingerprints|TRAINING_MAPS)"):
        Snapshot.load(path)


def test_model_takes_raw_map_values_and_gives_probabilities(snapshot: Snapshot, patch_file: PatchFile) -> None:
    model = snapshot.build_model().eval()
    probability = model.probabilities(torch.from_numpy(patch_file.read([0, 1, 2]).image))
    assert probability.shape == (3, 1, 16, 16)
    assert ((probability >= 0) & (probability <= 1)).all()
    assert probability.std() > 0.01


def test_config_is_whole_and_valid(snapshot: Snapshot, trained: Path) -> None:
    assert snapshot.config == RunConfig.from_yaml(trained / "config.yaml")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_truncated_file_is_refused(path: Path, share: float) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(SnapshotError, match="is no PyTorch file, or it was cut short"):
        Snapshot.load(path)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "foreign.pt"
    torch.save({"state_dict": {}}, path)
    with pytest.raises(SnapshotError, match="is a PyTorch file but no snapshot of BigSF"):
        Snapshot.load(path)
    torch.save([1, 2], path)
    with pytest.raises(SnapshotError, match="is a PyTorch file but no snapshot of BigSF"):
        Snapshot.load(path)
    path.write_text("SIMPLE  =                    T")
    with pytest.raises(SnapshotError, match=r"is a FITS file; expected a snapshot. Models come first, the map last"):
        Snapshot.load(path)
    path.write_text("text")
    for no_file_of_torch in (path, tmp_path):
        with pytest.raises(SnapshotError, match="is no PyTorch file, or it was cut short"):
            Snapshot.load(no_file_of_torch)
    with pytest.raises(SnapshotError, match="does not exist"):
        Snapshot.load(tmp_path / "absent.pt")


@pytest.mark.parametrize("kind", ["torch", "pickle"])
def test_hostile_pickle_is_refused_and_not_executed(tmp_path: Path, kind: str) -> None:
    path, made = tmp_path / "hostile.pt", tmp_path / "made"
    data = {"FORMAT": FORMAT, "FORMAT_VERSION": FORMAT_VERSION, "MODEL_STATE": Hostile(made)}
    if kind == "torch":
        torch.save(data, path)
    else:
        path.write_bytes(pickle.dumps(data))
    with pytest.raises(SnapshotError, match=r"more than plain data .* It was not loaded|is no PyTorch file"):
        Snapshot.load(path)
    assert not made.exists()


def test_hostile_pickle_would_have_worked(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Hostile(tmp_path / "made")))
    assert (tmp_path / "made").exists()


def test_newer_format_is_refused_with_both_versions(path: Path) -> None:
    torch.save({**content(path), "FORMAT_VERSION": 99, "BIGSF_VERSION": "9.9"}, path)
    with pytest.raises(SnapshotError, match=r"has format 99, written by bigsf 9\.9; .* reads up to 5\. Update"):
        Snapshot.load(path)


def test_missing_key_is_named(path: Path) -> None:
    data = content(path)
    del data["MODEL_STATE"]
    torch.save(data, path)
    with pytest.raises(SnapshotError, match="damaged: it has no 'MODEL_STATE'"):
        Snapshot.load(path)


def test_weights_of_another_architecture_are_refused(snapshot: Snapshot) -> None:
    config = snapshot.config.model_dump(mode="json")
    config["trainer"]["model"]["features"] = 8
    with pytest.raises(
        SnapshotError,
        match=r"down\.0\.0\.weight is \(4, 1, 3, 3\) there and \(8, 1, 3, 3\) here, and \d+ more of \d+ differ",
    ):
        replace(snapshot, global_config=config).build_model()


def test_failed_save_leaves_the_previous_file_whole(
    snapshot: Snapshot, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(data: object, temporary: BinaryIO) -> None:
        temporary.write(b"half a snapshot")
        raise KeyboardInterrupt

    before = path.read_bytes()
    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(KeyboardInterrupt):
        replace(snapshot, epochs_run=99).save(path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["model.pt"]
