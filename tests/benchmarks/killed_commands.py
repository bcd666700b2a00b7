"""The commands that `kills.py` kills, and a small map, two tiles, a patch file and a model for them."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml
from astropy.io import fits

from bigsf.patches.preprocess import PreprocessConfig, preprocess
from bigsf.training.trainer import Trainer


@dataclass(frozen=True)
class Case:
    """A command, and what was done in its folder before."""

    arguments: tuple[str, ...]
    """Of `bigsf`."""
    former: tuple[str, ...] = ()
    """The command that made what lies there already; none where it is empty."""
    processes: int = 1
    """Of both commands."""

    def after_a_kill(self, folder: Path) -> "Case":
        """Return the command to give after a kill."""
        begun = (folder / "run" / "config.yaml").exists()
        if self.arguments[0] == "train" and begun and "--overwrite" not in self.arguments:
            return replace(self, arguments=("resume", "run"))
        return self


def make_cases(folder: Path) -> dict[str, Case]:
    """Write the inputs into a folder, and return the commands by name; they work in a folder inside of it."""
    _write_inputs(folder)
    planes = ("preprocess", "../image.fits", "--target", "../target.fits", "--patch-size", "16")
    split = ("split", "../map.h5", "--area-size", "32", "-o", "folds.json", "-k")
    tiles = ("preprocess", "../left.fits", "../right.fits", "-o", "both.h5", "--patch-size")
    segment = ("segment", "../model/best.pt", "../image.fits", "--products")
    again, other = "--overwrite", ("--set", "trainer.seed=1")
    train, kfold = ((command, str(folder / "config.yaml")) for command in ("train", "kfold"))
    cases = {
        "preprocess": Case(planes),
        "preprocess --overwrite": Case((*planes, again), (*planes, "--stride", "16")),
        "split": Case((*split, "3")),
        "split --overwrite": Case((*split, "3", again), (*split, "4")),
        "mosaic": Case((*tiles, "16")),
        "mosaic --overwrite": Case((*tiles, "16", again), (*tiles, "8")),
    }
    products = (*segment, "prob,mask,skeleton,catalog,regions,spines")
    for processes, ending in ((1, ""), (2, ", 2 processes")):
        cases |= {
            f"train{ending}": Case(train, (), processes),
            f"train --overwrite{ending}": Case((*train, again), train + other, processes),
            f"resume{ending}": Case(("resume", "run"), (*train, "--time-limit", "0.001s"), processes),
            f"kfold{ending}": Case(kfold, (), processes),
            f"kfold --overwrite{ending}": Case((*kfold, again), kfold + other, processes),
            f"segment{ending}": Case(products, (), processes),
            f"segment --overwrite{ending}": Case((*products, again), (*segment, "prob"), processes),
        }
    return cases


def _write_inputs(folder: Path) -> None:
    """Write a map of 64 x 96 pixels with ridges and its mask, two tiles of it, a patch file, a config and a model."""
    generator = np.random.default_rng(1)
    y = np.arange(64)[:, None] + 5 * np.sin(np.arange(96) / 15)
    ridges = np.exp(-0.5 * (((y % 32) - 16) / 2) ** 2)
    image = 1e22 * (1 + 2 * ridges) * generator.lognormal(0, 0.05, ridges.shape)
    fits.PrimaryHDU(image).writeto(folder / "image.fits")
    fits.PrimaryHDU((ridges > 0.5).astype(np.uint8)).writeto(folder / "target.fits")
    header = fits.Header({"CTYPE1": "GLON-CAR", "CTYPE2": "GLAT-CAR", "CRPIX1": 1.0, "CRPIX2": 1.0, "CRVAL1": 30.0})
    header.update({"CRVAL2": 0.0, "CDELT1": -0.01, "CDELT2": 0.01})
    for name, columns, crpix in (("left", slice(0, 60), 1.0), ("right", slice(36, 96), -35.0)):
        header["CRPIX1"] = crpix
        fits.PrimaryHDU(image[:, columns].astype(np.float32), header).writeto(folder / f"{name}.fits")
    config = PreprocessConfig(image=folder / "image.fits", target=folder / "target.fits", patch_size=16, stride=8)
    preprocess(config, folder / "map.h5")
    (folder / "config.yaml").write_text(yaml.safe_dump(_SETTINGS))
    elsewhere = {"split.path": folder / "folds.json", "trainer.output_dir": folder, "trainer.run_name": "model"}
    Trainer.from_config(folder / "config.yaml", [f"{key}={value}" for key, value in elsewhere.items()]).train()


_SETTINGS = {
    "data": {"path": "map.h5"},
    "split": {"k": 3, "area_size": 32, "path": "work/folds.json"},
    "trainer": {
        "output_dir": "work",
        "run_name": "run",
        "epochs": 2,
        "batch_size": 16,
        "save_every": 0.005,
        "precision": "fp32",
        "best_by": "val_loss",
        "model": {"type": "unet", "features": 2, "depth": 1, "dropout": 0.2, "normalization": {"type": "log"}},
        "scheduler": {"type": "plateau", "patience": 1, "gamma": 0.7},
        "early_stopping": {"type": "patience", "patience": 5},
        "augmentations": [{"type": "flip"}, {"type": "rotate90"}, {"type": "noise"}, {"type": "paste"}],
    },
    "out_of_fold": {"stride": 16, "tta": False},
}
"""A run with all parts whose state must survive: dropout, schedule, early stopping, augmentations."""
