"""A snapshot of every format version is kept in tests/data: it loads, goes on, and segments.

When the format moves, raise FORMAT_VERSION, teach `_UPGRADES` of snapshot_file the old one, and keep an example of the
new:

    python tests/training/test_snapshot_versions.py
"""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits

from bigsf.patches.preprocess import PreprocessConfig, preprocess
from bigsf.segmentation.segment import segment
from bigsf.training.run_config import RunConfig
from bigsf.training.snapshot import Snapshot
from bigsf.training.snapshot_file import FORMAT_VERSION
from bigsf.training.trainer import Trainer
from conftest import ROOT

DATA = ROOT / "tests" / "data"
KEPT = sorted(DATA.glob("snapshot_v*.pt"))


def write_map(folder: Path) -> Path:
    """Write a patch file whose every bit is the same on every machine: whole numbers only."""
    y, x = np.mgrid[:48, :64]
    ridge = (y % 16 < 3).astype(np.float64)
    fits.PrimaryHDU((10 + 20 * ridge + (7 * y + 13 * x) % 5).astype(np.float32)).writeto(folder / "image.fits")
    fits.PrimaryHDU(ridge.astype(np.uint8)).writeto(folder / "target.fits")
    config = PreprocessConfig(image=folder / "image.fits", target=folder / "target.fits", patch_size=8, stride=4)
    preprocess(config, folder / "map.h5")
    return folder / "map.h5"


def train(patch_file: Path, folder: Path) -> Path:
    """Train for two epochs and return last.pt."""
    config = RunConfig.from_dict(
        {
            "data": {"path": str(patch_file)},
            "split": {"k": 3, "area_size": 16},
            "trainer": {
                "output_dir": str(folder),
                "run_name": "run",
                "epochs": 2,
                "precision": "fp32",
                "early_stopping": {"type": "patience"},
                "model": {"type": "unet", "features": 2, "depth": 1},
                "optimizer": {"type": "adamw"},
            },
        }
    )
    Trainer.from_config(config).train()
    return folder / "run" / "last.pt"


def structure(value: object) -> object:
    """Return a nested structure with types in place of values, and shapes in place of tensors."""
    if isinstance(value, dict):
        return {str(key): structure(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [structure(item) for item in value]
    return tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__


def test_the_newest_version_is_kept() -> None:
    assert KEPT[-1].name == f"snapshot_v{FORMAT_VERSION}.pt"


def test_the_structure_has_not_moved(tmp_path: Path) -> None:
    new = torch.load(train(write_map(tmp_path), tmp_path), weights_only=True)
    kept = torch.load(KEPT[-1], weights_only=True)
    for data in (new, kept):
        data["GLOBAL_CONFIG"] = sorted(data["GLOBAL_CONFIG"])  # below its first level it grows by defaults
    assert structure(new) == structure(kept), (
        "raise FORMAT_VERSION and keep an example of it (see the top of this file)"
    )


@pytest.mark.filterwarnings("ignore::bigsf.errors.BigsfWarning")  # made elsewhere; its map is the one segmented
@pytest.mark.parametrize("kept", KEPT, ids=lambda path: path.stem)
def test_a_kept_version_loads_goes_on_and_segments(kept: Path, tmp_path: Path) -> None:
    patch_file = write_map(tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    for name in ("last.pt", "best.pt"):
        shutil.copy(kept, run / name)
    trainer = Trainer.from_snapshot(run, epochs=3, data=patch_file)
    assert trainer.train().epochs_run == 3
    assert segment(run, tmp_path / "image.fits", tmp_path / "out.fits").valid == 48 * 64
    assert Snapshot.load(run / "last.pt").history[:2] == Snapshot.load(kept).history


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        DATA.mkdir(exist_ok=True)
        shutil.copy(train(write_map(Path(name)), Path(name)), DATA / f"snapshot_v{FORMAT_VERSION}.pt")
