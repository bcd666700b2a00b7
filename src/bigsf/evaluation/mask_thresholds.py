"""The models of a k-fold -> the thresholds of MASK, found in maps that are predicted as the out-of-fold map is."""

import numpy as np

from bigsf import console
from bigsf.arrays import BoolArray, IntArray
from bigsf.folds.folds import Folds
from bigsf.metrics.threshold_curve import ThresholdCurve
from bigsf.metrics.thresholds import Thresholds
from bigsf.models.sliding_window import SlidingWindowPredictor

_MOST_PIXELS = 2_000_000  # of the validation folds of each model


def find_mask_thresholds(
    predictor: SlidingWindowPredictor, folds: Folds, most_pixels: int = _MOST_PIXELS
) -> list[Thresholds]:
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
        Where the validation folds of a split hold more pixels, about this number of them is predicted: those of every
        n-th area, when areas are sorted by their number of target pixels, largest first.
    """
    target, labelled = folds.patch_file.labels()
    true = folds.areas.sums(target)
    areas = [_sample(folds, split.validation, true, most_pixels) for split in folds.splits]

    def pixel_mask(y0: int, y1: int) -> BoolArray:
        return np.stack([folds.areas.rows(chosen, y0, y1) > 0 for chosen in areas]) & folds.areas.first_sky

    curves = [{kind: ThresholdCurve() for kind in ("whole", "labelled")} for _ in areas]
    with console.progress("thresholds", folds.patch_file.shape[0], "rows") as advance:
        for y0, y1, probabilities in predictor.predict_bands(folds.patch_file, pixel_mask, advance):
            truth, known = target[y0:y1] > 0, labelled[y0:y1] > 0
            for by_kind, probability in zip(curves, probabilities, strict=True):
                predicted = np.isfinite(probability)
                for kind, where in (("whole", predicted), ("labelled", predicted & known)):
                    by_kind[kind].update(probability[where], truth[where])
    return [Thresholds(**{kind: curve.best_dice().threshold for kind, curve in each.items()}) for each in curves]


def _sample(folds: Folds, which: list[int], true: IntArray, most_pixels: int) -> IntArray:
    """Return 1 for the areas of some folds that are predicted, 0 for others, `(areas down, areas across)`.

    Parameters
    ----------
    folds
        All folds.
    which
        The folds to sample.
    true
        Target pixels in each area, `(areas down, areas across)`.
    most_pixels
        As for `find_mask_thresholds`.
    """
    areas = folds.areas
    of_folds = np.flatnonzero(np.isin(folds.grid, which))
    pixels = np.outer(np.diff(areas.y_edges), np.diff(areas.x_edges)).flat[of_folds].sum()
    by_target = of_folds[np.argsort(-true.flat[of_folds], kind="stable")]
    chosen = np.zeros(areas.shape, np.int64)
    chosen.flat[by_target[:: -(-pixels // most_pixels)]] = 1
    return chosen
