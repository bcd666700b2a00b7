import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from bigsf.errors import SnapshotError
from bigsf.models.window_statistics import QUANTITIES
from bigsf.training.snapshot import Snapshot
from bigsf.training.trainer import Trainer
from conftest import Settings, Sky, write_patch_file


def test_ranges_come_from_the_training_folds_alone(settings: Settings, patch_path: Path, tmp_path: Path) -> None:
    first = Trainer.from_config(settings()).run
    assert first.window_ranges.keys() == set(QUANTITIES)
    changed = Path(shutil.copy(patch_path, tmp_path / "changed.h5"))
    number = first.folds.rows(0, first.patch_file.shape[0])
    noise = np.random.default_rng(0).normal(size=number.shape)
    with h5py.File(changed, "r+") as file:
        file["image"][:] = np.where(np.isin(number, first.split.train), file["image"][:], 1e25 * noise)
    run = settings()
    other = Trainer.from_config({**run, "data": {**run["data"], "path": str(changed)}}).run
    assert not np.array_equal(first.patch_file.image, other.patch_file.image)
    assert other.window_ranges == first.window_ranges


def test_augmentations_widen_the_range_and_leave_the_median(settings: Settings) -> None:
    plain = Trainer.from_config(settings(augmentations=[])).run.window_ranges
    noise = {"type": "beam_noise", "probability": 1.0, "fraction": [0.5, 0.6]}
    noisy = Trainer.from_config(settings(augmentations=[noise])).run.window_ranges
    assert noisy["noise"].high > 1.1 * plain["noise"].high
    for name in QUANTITIES:
        assert noisy[name].median == plain[name].median
        assert noisy[name].low <= plain[name].low <= plain[name].high <= noisy[name].high


def test_a_snapshot_keeps_the_ranges_and_a_run_that_goes_on_finds_the_same(settings: Settings) -> None:
    trainer = Trainer.from_config(settings(epochs=1))
    trainer.train()
    kept = Snapshot.load(trainer.folder.best)
    assert kept.window_ranges == trainer.run.window_ranges
    assert kept.beam_px is None
    assert Trainer.from_snapshot(trainer.folder.path, epochs=2).run.window_ranges == kept.window_ranges


def test_a_snapshot_keeps_the_beam_of_the_header(settings: Settings, sky: Sky, tmp_path: Path) -> None:
    header = sky.header.copy()
    header["BMAJ"] = 0.025  # pixels of 0.01 degrees
    image = sky.image.astype(np.float32)[None]
    labels = sky.target, np.isfinite(image[0]).astype(np.uint8)
    file = write_patch_file(tmp_path / "beam.h5", image, 16, 8, labels, header)
    run = settings(epochs=1) | {"data": {"path": str(file.path)}, "split": {"k": 4, "area_size": 32}}
    trainer = Trainer.from_config(run)
    trainer.train()
    assert Snapshot.load(trainer.folder.best).beam_px == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("WINDOW_RANGES", {"noise": (0.2, 0.1, 0.1)}, "its ranges of windows are"),
        ("WINDOW_RANGES", {"noise": (0.0, float("nan"), float("nan"))}, "its ranges of windows are"),
        ("WINDOW_RANGES", {"colour": (0.0, 1.0, 2.0)}, "its ranges of windows are"),
        ("BEAM_PX", -1.0, r"its beam is -1\.0 pixels"),
    ],
)
def test_ranges_that_cannot_be_are_refused(
    trained: Path, tmp_path: Path, name: str, value: object, message: str
) -> None:
    data = torch.load(trained / "best.pt", weights_only=True)
    torch.save(data | {name: value}, tmp_path / "odd.pt")
    with pytest.raises(SnapshotError, match=rf"odd\.pt is damaged: {message}"):
        Snapshot.load(tmp_path / "odd.pt")
