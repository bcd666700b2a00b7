"""Does a normalization that is defined on the map pay, so that windows may be large and hardly overlap?

python tests/benchmarks/exact_tiling.py ../shared/data/train

Per-patch min-max makes the answer for a pixel depend on where windows fall, so they must overlap by half and be as
large as in training. A sliding minimum and maximum of the map does not: then windows of any size give one answer, but
for their borders. Both are trained with the same recipe on a folder of higal_lis2_*.fits, and predictor the map out of fold
at several windows and strides.
"""

import argparse
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from measuring import machine, show
from scipy.ndimage import maximum_filter, minimum_filter

from bigsf.errors import BigsfWarning
from bigsf.metrics.threshold_curve import ThresholdCurve
from bigsf.models.device import pick_device, resolve_precision
from bigsf.models.sliding_window import SlidingWindowPredictor
from bigsf.patches.preprocess import PreprocessConfig, preprocess
from bigsf.training.kfold import KFold
from bigsf.training.run_config import RunConfig
from bigsf.training.snapshot import Snapshot


def slide(source: Path, output: Path, size: int) -> None:
    """Write log10 of a map between its minimum and maximum in a square of `size` pixels about each pixel."""
    image = np.log10(fits.getdata(source).astype(np.float64))
    low = minimum_filter(np.nan_to_num(image, nan=np.inf), size)
    high = maximum_filter(np.nan_to_num(image, nan=-np.inf), size)
    with np.errstate(invalid="ignore"):
        fits.writeto(output, ((image - low) / (high - low)).astype(np.float32))


def trained(folder: Path, name: str, planes: dict[str, Path], normalization: str, epochs: int) -> KFold:
    """Train the k-fold of the README on a map."""
    path = folder / f"{name}.h5"
    preprocess(PreprocessConfig.from_dict({**planes, "patch_size": 64, "stride": 8}), path)
    trainer = {
        "output_dir": folder,
        "run_name": name,
        "epochs": epochs,
        "model": {"features": 16, "normalization": {"type": normalization}},
        "loss": {"unlabelled_weight": 0.3},
        "optimizer": {"type": "adamw", "lr": 3e-3},
        "scheduler": {"type": "onecycle"},
        "early_stopping": None,
    }
    kfold = KFold.from_config(
        RunConfig.from_dict({"data": {"path": path}, "split": {"k": 4, "k_train": 2}, "trainer": trainer})
    )
    kfold.run()
    return kfold


def predicted(kfold: KFold, window: int, stride: int) -> list[Any]:
    """Return time, average precision and best Dice of the out-of-fold map with such windows."""
    folds, device = kfold.folds, pick_device()
    models = [Snapshot.load(kfold.path / name / "best.pt").build_model().to(device) for name in kfold.names]
    predictor = SlidingWindowPredictor(models, window, stride, 16, device, resolve_precision("auto", device))
    tests = [split.test for split in folds.splits]
    curve, target = ThresholdCurve(), folds.patch_file.labels()[0]
    started = time.perf_counter()
    for y0, y1, each in predictor.predict_bands(
        folds.patch_file, lambda y0, y1: np.stack([np.isin(folds.rows(y0, y1), test) for test in tests])
    ):
        score = np.fmax.reduce(each)
        known = np.isfinite(score)
        curve.update(score[known], target[y0:y1][known] > 0)
    seconds = time.perf_counter() - started
    return [f"{seconds:.1f}", f"{curve.average_precision():.4f}", f"{curve.best_dice()[0]:.4f}"]


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("higal", type=Path, help="folder of higal_lis2_image.fits and its masks")
    parser.add_argument("--epochs", type=int, default=8)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", BigsfWarning)
    print(machine())
    planes = {kind: arguments.higal / f"higal_lis2_{kind}.fits.gz" for kind in ("target", "background", "missing")}
    image = arguments.higal / "higal_lis2_image.fits"
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        slide(image, folder / "sliding.fits", 65)
        for what, source, norm in (("per_patch", image, "log"), ("sliding", folder / "sliding.fits", "none")):
            kfold = trained(folder, what, {"image": source, **planes}, norm, arguments.epochs)
            for window, stride in ((64, 32), (64, 64), (128, 96), (256, 192), (496, 496)):
                rows.append([what, window, stride, *predicted(kfold, window, stride)])
    show(["normalization", "window", "stride", "s", "whole-map AP", "Dice"], rows)


if __name__ == "__main__":
    main()
