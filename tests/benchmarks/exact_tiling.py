"""Is a normalization on the map worth it, because windows may then be large and hardly overlap?

python tests/benchmarks/exact_tiling.py ../shared/data/train

Normalization by the minimum and maximum of each patch makes the probability of a pixel depend on the window around it.
Windows must then be as large as in training and overlap by half. With a sliding minimum and maximum of the map, windows
of any size give the same probability, except near their borders. The benchmark trains models with both normalizations
on the planes higal_lis2_*.fits of a folder, with the same recipe, and predicts the out-of-fold map with windows of
several sizes and strides.
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
from bigsf.evaluation.out_of_fold import mask_of_test_folds
from bigsf.metrics.threshold_curve import ThresholdCurve
from bigsf.models.device import pick_device, resolve_precision
from bigsf.models.sliding_window import SlidingWindowPredictor
from bigsf.patches.preprocess import PreprocessConfig, preprocess
from bigsf.training.kfold import KFold
from bigsf.training.run_config import RunConfig
from bigsf.training.snapshot import Snapshot


def slide(source: Path, output: Path, size: int) -> None:
    """Write log10 of a map, scaled from its minimum to its maximum in a square of `size` pixels around each pixel."""
    image = np.log10(fits.getdata(source).astype(np.float64))
    low = minimum_filter(np.nan_to_num(image, nan=np.inf), size)
    high = maximum_filter(np.nan_to_num(image, nan=-np.inf), size)
    with np.errstate(invalid="ignore"):
        fits.writeto(output, ((image - low) / (high - low)).astype(np.float32))


def trained(folder: Path, name: str, planes: dict[str, Path], normalization: str, epochs: int) -> KFold:
    """Train a 4-fold on a map, with a former default recipe."""
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


def out_of_fold_scores(kfold: KFold, window: int, stride: int) -> list[Any]:
    """Return time, average precision and best Dice of the out-of-fold map for one size and stride of windows."""
    folds, device = kfold.folds, pick_device()
    models = [Snapshot.load(kfold.path / name / "best.pt").build_model().to(device) for name in kfold.names]
    predictor = SlidingWindowPredictor(models, window, stride, 16, device, resolve_precision("auto", device))
    curve, target = ThresholdCurve(), folds.patch_file.labels()[0]
    started = time.perf_counter()
    for y0, y1, probabilities in predictor.predict_bands(folds.patch_file, mask_of_test_folds(folds)):
        score = np.fmax.reduce(probabilities)  # one model predicts each pixel
        predicted = np.isfinite(score)
        curve.update(score[predicted], target[y0:y1][predicted] > 0)
    seconds = time.perf_counter() - started
    return [f"{seconds:.1f}", f"{curve.average_precision():.4f}", f"{curve.best_dice().dice:.4f}"]


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
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        slide(image, folder / "sliding.fits", 65)
        for name, source, normalization in (("per_patch", image, "log"), ("sliding", folder / "sliding.fits", "none")):
            kfold = trained(folder, name, {"image": source, **planes}, normalization, arguments.epochs)
            for window, stride in ((64, 32), (64, 64), (128, 96), (256, 192), (496, 496)):
                rows.append([name, window, stride, *out_of_fold_scores(kfold, window, stride)])
    show(["normalization", "window", "stride", "s", "whole-map AP", "Dice"], rows)


if __name__ == "__main__":
    main()
