"""The models of a k-fold -> the out-of-fold map: each area is predicted by the models that have it as a test area."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bigsf import console
from bigsf.arrays import BoolArray, FloatArray, IntArray
from bigsf.errors import DataError
from bigsf.evaluation.map_scores import MapScores
from bigsf.evaluation.seams import SeamContrast, ensemble_of_fold, models_of_fold
from bigsf.folds.folds import Folds
from bigsf.folds.leakage import covered
from bigsf.maps.fits_guard import open_fits
from bigsf.maps.fits_writer import FitsWriter
from bigsf.maps.tiling import Tile, in_bands, row_chunks
from bigsf.metrics.thresholds import Thresholds
from bigsf.models.predicted_band import BandPredictor, PixelMask
from bigsf.outputs import Outputs
from bigsf.provenance import provenance, read_provenance


@dataclass
class OutOfFold:
    """What was computed while the out-of-fold map was written."""

    seams: SeamContrast
    """How much the map changes where the models change."""
    seen: IntArray
    """Predicted pixels that a model learnt from before it predicted them, and how many of them have a label, `(2,)`."""


def write_out_of_fold(
    path: Path,
    predictor: BandPredictor,
    folds: Folds,
    thresholds: Sequence[Thresholds],
    config_yaml: str,
) -> OutOfFold:
    """Predict the out-of-fold map, and write it.

    The FITS file holds

    - the probability in the primary HDU: the ensemble mean of the models that predicted a pixel, NaN where none did;
    - MASK, 1 where the probability reaches the mean of the `whole` thresholds of these models; no component is left out
      of it, because thresholds and scores are those of the thresholded map;
    - FOLD, the fold of each predicted pixel, 0 elsewhere;
    - STD, the standard deviation of these models, only where a pixel has several.

    Parameters
    ----------
    path
        The FITS file.
    predictor
        One model for each split of the folds.
    folds
        Folds of a patch file with labels.
    thresholds
        The thresholds of each model, see `find_mask_thresholds`.
    config_yaml
        The configuration, for the provenance.
    """
    file = folds.patch_file
    entries = {"data identity": file.identity, "config": config_yaml}
    header, table = provenance(file.output_header(), "Out-of-fold probability of a filament", entries)
    kinds: dict[str, npt.DTypeLike] = {"PRIMARY": np.float32, "MASK": np.uint8, "FOLD": np.uint8}
    if models_of_fold(folds).max() > 1:
        kinds["STD"] = np.float32
    whole, ensembles = [each.whole for each in thresholds], ensemble_of_fold(folds)
    result = OutOfFold(SeamContrast(), np.zeros(2, np.int64))
    with (
        Outputs(path, follow_links=False).writing() as files,
        FitsWriter(files[path], file.shape, header, kinds, [table]) as writer,
        console.progress("out-of-fold map", file.shape[0], "rows") as advance,
    ):
        bands = predictor.predict_bands(file, mask_of_test_folds(folds), advance)
        for y0, y1, probabilities in in_bands(bands, folds.areas.y_edges):
            mean = ensemble_mean(probabilities)
            fold = folds.rows(y0, y1)
            writer.write("PRIMARY", y0, mean)
            writer.write("MASK", y0, mean >= mean_threshold(probabilities, whole))
            writer.write("FOLD", y0, np.where(np.isfinite(mean), fold, 0))
            if "STD" in kinds:
                writer.write("STD", y0, ensemble_std(probabilities))
            result.seams.update(mean, ensembles[fold])
            seen = (np.isfinite(probabilities) & _learnt_from(folds, y0, y1)).any(axis=0)
            result.seen += [seen.sum(), (seen & (file.labels()[1][y0:y1] > 0)).sum()]
    return result


def score_out_of_fold(
    scores: MapScores, predictor: BandPredictor, thresholds: Sequence[Thresholds], rank: int = 0, size: int = 1
) -> None:
    """Score the out-of-fold map, or the share of one of several processes.

    Parameters
    ----------
    scores
        Where the pixels are counted.
    predictor, thresholds
        As for `write_out_of_fold`.
    rank, size
        Number of this process, and of all.
    """
    by_kind = {"labelled": [each.labelled for each in thresholds], "whole": [each.whole for each in thresholds]}
    folds = scores.folds
    with console.progress("scores", folds.patch_file.shape[0], "rows") as advance:
        bands = predictor.predict_bands(folds.patch_file, mask_of_test_folds(folds), advance)
        for number, (y0, y1, probabilities) in enumerate(in_bands(bands, folds.areas.y_edges)):
            if number % size == rank:
                mean = ensemble_mean(probabilities)
                marked = {kind: mean >= mean_threshold(probabilities, values) for kind, values in by_kind.items()}
                scores.update(y0, y1, np.isfinite(mean), mean, marked)


def how_made(path: Path) -> dict[str, str]:
    """Return how an out-of-fold map was made, by name, from its table PROVENANCE.

    Raises
    ------
    DataError
        Where the file is no such map.
    """
    with open_fits(path) as hdus:
        made = read_provenance(hdus)
    if not made:
        raise DataError(f"{path} is no out-of-fold map of BigSF: it has no table PROVENANCE.")
    return made


def mask_of_test_folds(folds: Folds) -> PixelMask:
    """Return the pixel mask that lets each model predict the pixels of its test folds alone."""

    def mask(tile: Tile) -> BoolArray:
        number = folds.rows(tile.y0, tile.y1, tile.columns)
        return np.stack([np.isin(number, split.test) for split in folds.splits])

    return mask


def _learnt_from(folds: Folds, y0: int, y1: int) -> BoolArray:
    """Return which pixels of rows y0 to y1 lie in a training patch of each model, `(models, rows, nx)`.

    Patches that straddle areas are left out: a training masks their pixels outside of its areas.
    """
    file = folds.patch_file
    patches = [file.positions[folds.patches_in(split.train)] for split in folds.splits]
    return np.stack([covered(positions, file.patch_size, y0, y1, file.shape[1]) for positions in patches])


def ensemble_mean(probabilities: FloatArray) -> FloatArray:
    """Return the mean of the models that predicted each pixel, `(ny, nx)`, NaN where none did.

    Parameters
    ----------
    probabilities
        `(models, ny, nx)`, NaN where a model did not predict a pixel.
    """
    return _over_models(lambda part: np.nanmean(part, axis=0), probabilities)


def ensemble_std(probabilities: FloatArray) -> FloatArray:
    """Return the standard deviation of the models that predicted each pixel, `(ny, nx)`, NaN where none did.

    Parameters
    ----------
    probabilities
        `(models, ny, nx)`, NaN where a model did not predict a pixel.
    """
    return _over_models(lambda part: np.nanstd(part, axis=0), probabilities)


def mean_threshold(probabilities: FloatArray, thresholds: Sequence[float]) -> FloatArray:
    """Return the mean threshold of the models that predicted each pixel, `(ny, nx)`, NaN where none did.

    Parameters
    ----------
    probabilities
        `(models, ny, nx)`, NaN where a model did not predict a pixel.
    thresholds
        The threshold of each model.
    """
    values = np.array(thresholds, np.float32)[:, None, None]

    def mean_of(part: FloatArray) -> FloatArray:
        return np.asarray(np.nanmean(np.where(np.isfinite(part), values, np.float32(np.nan)), axis=0))

    return _over_models(mean_of, probabilities)


def _over_models(function: Callable[[FloatArray], FloatArray], probabilities: FloatArray) -> FloatArray:
    """Apply a function from `(models, rows, nx)` to `(rows, nx)`, and return the whole, `(ny, nx)`.

    It gets some rows at a time: numpy's functions for values with NaN take several times the memory of their argument.
    Their warning about pixels that no model predicted is silenced: these are NaN, as they should be.
    """
    _, ny, nx = probabilities.shape
    result = np.empty((ny, nx), np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for y0, y1 in row_chunks((ny, nx)):
            result[y0:y1] = function(probabilities[:, y0:y1])
    return result
