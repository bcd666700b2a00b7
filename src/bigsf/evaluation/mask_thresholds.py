"""The models of a k-fold -> the thresholds of MASK, found in maps that are predicted as the out-of-fold map is."""

from collections.abc import Sequence

import numpy as np

from bigsf import console
from bigsf.arrays import BoolArray, IntArray
from bigsf.folds.folds import Folds
from bigsf.folds.splits import Split
from bigsf.maps.tiling import Tile
from bigsf.metrics.threshold_curve import ThresholdCurve
from bigsf.metrics.thresholds import Thresholds
from bigsf.models.predicted_band import BandPredictor, PixelMask

MOST_PIXELS = 2_000_000
"""About this number of pixels of the validation folds of each model is enough to choose by."""


def find_mask_thresholds(predictor: BandPredictor, folds: Folds, most_pixels: int = MOST_PIXELS) -> list[Thresholds]:
    """Return the thresholds of best Dice of each model on its validation folds.

    Training finds thresholds too, from one prediction of each window at half overlap. The mean over orientations and
    more windows marks fewer pixels at these, so thresholds are found anew with the predictor that makes the map.

    Parameters
    ----------
    predictor
        The model of each split.
    folds
        Folds of a patch file with labels.
    most_pixels
        Where the validation folds of a split hold more pixels, a sample of them is predicted, see `sampled_areas`.
    """
    target, labelled = folds.patch_file.labels()
    curves = [{kind: ThresholdCurve() for kind in ("whole", "labelled")} for _ in folds.splits]
    pixel_mask = mask_of_validation(folds, most_pixels)
    with console.progress("thresholds", folds.patch_file.shape[0], "rows") as advance:
        for y0, y1, probabilities in predictor.predict_bands(folds.patch_file, pixel_mask, advance):
            truth, known = target[y0:y1] > 0, labelled[y0:y1] > 0
            for by_kind, probability in zip(curves, probabilities, strict=True):
                predicted = np.isfinite(probability)
                for kind, where in (("whole", predicted), ("labelled", predicted & known)):
                    by_kind[kind].update(probability[where], truth[where])
    return [Thresholds(**{kind: curve.best_dice().threshold for kind, curve in each.items()}) for each in curves]


def mask_of_validation(folds: Folds, most_pixels: int = MOST_PIXELS) -> PixelMask:
    """Return the pixel mask that lets each model predict its validation folds, or the sample of them, alone."""
    areas = sampled_areas(folds, folds.splits, most_pixels)

    def mask(tile: Tile) -> BoolArray:
        chosen = np.stack([folds.areas.rows(each, tile.y0, tile.y1, tile.columns) > 0 for each in areas])
        return np.asarray(chosen & folds.areas.first_sky[tile.columns])

    return mask


def sampled_areas(folds: Folds, splits: Sequence[Split], most_pixels: int) -> IntArray:
    """Return 1 for the areas of the validation folds of each split that are enough to choose by, 0 for others.

    Parameters
    ----------
    folds
        Folds of a patch file with labels.
    splits
        The splits.
    most_pixels
        Where the validation folds of a split hold more pixels, the sample holds about this number: every n-th area,
        when areas are sorted by their number of target pixels, largest first.

    Returns
    -------
    ndarray
        `(splits, areas down, areas across)`.
    """
    true = folds.areas.sums(folds.patch_file.labels()[0])
    size = np.outer(np.diff(folds.areas.y_edges), np.diff(folds.areas.x_edges))
    chosen = np.zeros((len(splits), *folds.areas.shape), np.int64)
    for areas, split in zip(chosen, splits, strict=True):
        of_folds = np.flatnonzero(np.isin(folds.grid, split.validation))
        by_target = of_folds[np.argsort(-true.flat[of_folds], kind="stable")]
        areas.flat[by_target[:: -(-size.flat[of_folds].sum() // most_pixels)]] = 1
    return chosen
