"""The out-of-fold map: every pixel from the models for which its area was a test area."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from astropy.io import fits

from bigsf import console
from bigsf.arrays import FloatArray
from bigsf.evaluation.map_scores import MapScores
from bigsf.evaluation.seams import SeamContrast
from bigsf.files import atomic_path
from bigsf.folds.folds import Folds
from bigsf.maps.fits_writer import FitsWriter
from bigsf.maps.quicklook import SubsampledPlanes, draw_quicklook
from bigsf.maps.tiling import in_bands
from bigsf.models.sliding_window import PixelMask, SlidingWindowPredictor
from bigsf.provenance import provenance

ModelThresholds = dict[str, FloatArray]
"""The thresholds "labelled" and "whole" of each model, `(models, 1, 1)`."""


@dataclass
class OutOfFold:
    """What was counted while the map was written, and small versions of it for pictures."""

    scores: MapScores
    jump: SeamContrast
    subsampled: SubsampledPlanes
    header: fits.Header


def write_out_of_fold(
    path: Path, predictor: SlidingWindowPredictor, folds: Folds, cuts: ModelThresholds, config: str
) -> OutOfFold:
    """Write the map, band by band, and a quicklook beside it, and score it on the way.

    Parameters
    ----------
    path
        The FITS file: probability, MASK (at each judge's own `whole` threshold), FOLD (the fold of each predicted pixel,
        0 where there is none) and, where pixels have several predicts, STD.
    predictor
        With one model a split.
    folds
        Of a patch file with labels.
    cuts
        The thresholds that validation chose.
    config
        YAML, for the provenance.
    """
    file = folds.patch_file
    tests = [split.test for split in folds.splits]
    votes = max(sum(fold in test for test in tests) for fold in range(1, int(folds.grid.max()) + 1))
    entries = {"data identity": file.identity, "config": config}
    header, table = provenance(file.output_header(), "Out-of-fold probability of a filament", entries)
    kinds: dict[str, npt.DTypeLike] = {"PRIMARY": np.float32, "MASK": np.uint8, "FOLD": np.uint8}
    if votes > 1:
        kinds["STD"] = np.float32
    predicts = ensemble_of_fold(folds)
    made = OutOfFold(MapScores(folds), SeamContrast(), SubsampledPlanes(file.shape), header)
    with (
        atomic_path(path) as temporary,
        FitsWriter(temporary, file.shape, header, kinds, [table]) as writer,
        console.progress("out-of-fold map", file.shape[0], "rows") as advance,
    ):
        for y0, y1, each in in_bands(predictor.predict_bands(file, test_pixels(folds), advance), folds.areas.y_edges):
            mean, std, cut = ensemble_mean(each, cuts)
            predicted, fold = np.isfinite(mean), np.where(np.isfinite(mean), folds.rows(y0, y1), 0)
            marked = {kind: mean >= value for kind, value in cut.items()}
            writer.write("PRIMARY", y0, mean)
            writer.write("MASK", y0, marked["whole"])
            writer.write("FOLD", y0, fold)
            if votes > 1:
                writer.write("STD", y0, std)
            made.scores.update(y0, y1, predicted, mean, marked)
            made.jump.update(mean, predicts[fold])
            made.subsampled.add(y0, image=file.read_rows(y0, y1)[0], probability=mean, marked=marked["whole"])
            made.subsampled.add(y0, target=file.labels()[0][y0:y1])
    title = f"{file.path.name}, out of fold"
    threshold = float(cuts["whole"].mean())
    with atomic_path(path.with_suffix(".png")) as temporary:
        draw_quicklook(made.subsampled, temporary, header, title, threshold, "out-of-fold probability")
    return made


def test_pixels(folds: Folds) -> PixelMask:
    """Return which model may predictor which pixel: those of its test folds."""

    def allowed(y0: int, y1: int) -> npt.NDArray[np.bool_]:
        number = folds.rows(y0, y1)
        return np.stack([np.isin(number, split.test) for split in folds.splits])

    return allowed


def ensemble_of_fold(folds: Folds) -> npt.NDArray[np.int64]:
    """Return a number for each fold, equal where the same models predictor, `(256,)`; that of 0 is of no predictor."""
    tests = [frozenset(i for i, split in enumerate(folds.splits) if fold in split.test) for fold in range(256)]
    numbers = {predicts: number for number, predicts in enumerate(dict.fromkeys(tests))}
    return np.array([numbers[predicts] for predicts in tests])


def ensemble_mean(each: FloatArray, cuts: ModelThresholds) -> tuple[FloatArray, FloatArray, dict[str, FloatArray]]:
    """Return mean and deviation of the models that predicted each pixel, and their mean thresholds; NaN without any."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a pixel without a predictor is NaN, as it should be
        mean, std = np.nanmean(each, axis=0), np.nanstd(each, axis=0)
        cut = {kind: np.nanmean(np.where(np.isfinite(each), values, np.nan), axis=0) for kind, values in cuts.items()}
    return mean, std, cut
