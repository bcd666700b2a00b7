"""Probability map and mask -> scores at every threshold, from one pass over the pixels.

Probabilities are counted in bins of their logit. Bins of the probability itself would put most pixels of a good map
into the first and the last bin, and give an average precision of 0.50 where 0.60 is right. The bins are as narrow as
memory allows, because the probabilities of a model that has learnt nearly nothing differ by less than 1e-4.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bigsf.arrays import BoolArray, Float64Array, IntArray

BINS = 65536
"""The most bins that may hold pixels."""

_FINEST = 2**32  # bins of logit in the beginning, so narrow that float32 probabilities hardly share one
_LOGIT_LIMIT = 20.0  # the logits of float32 probabilities end near 17

_SCORES = ("dice", "iou", "precision", "recall", "marked_ratio")


class BestDice(NamedTuple):
    """The highest Dice of a threshold curve."""

    dice: float
    """2 TP / (marked + positive) pixels; NaN where all pixels are positive, or none is."""
    threshold: float
    """The threshold with this Dice; 0.5 where Dice is NaN."""


class CalibrationPoints(NamedTuple):
    """Probabilities compared with frequencies, in equal ranges of probability; all arrays are `(groups,)`."""

    probability: Float64Array
    """Mean probability of the pixels in each range, to the width of a bin; NaN where there are none."""
    frequency: Float64Array
    """Fraction of positive pixels in each range; NaN where there are none."""
    pixels: IntArray
    """Number of pixels in each range."""


class ThresholdCurve:
    """Counts of positive and negative pixels in bins of their score. All scores at all thresholds follow from them.

    Bins of logit are narrow in the beginning. Whenever more than `BINS` of them hold pixels, pairs of neighbours become
    one bin. Their final width follows from all pixels together, in whatever order they were added or merged.

    Parameters
    ----------
    edges
        Lower edges of all bins but the first, increasing; by default bins are evenly spaced in logit. Scores that are
        not probabilities, such as column densities, need edges of their own: see `quantile_edges`.
    """

    def __init__(self, edges: npt.NDArray[np.floating] | None = None) -> None:
        self.edges = edges
        self.reset()

    def reset(self) -> None:
        """Forget all pixels that were added."""
        self._halvings = 0  # how often pairs of bins became one
        self._bins: IntArray = np.zeros(0, np.int64)  # those that hold pixels, increasing
        self._counts: IntArray = np.zeros((2, 0), np.int64)  # positive and negative pixels in each of them

    def update(self, score: npt.NDArray[np.floating], truth: BoolArray) -> None:
        """Add pixels.

        Parameters
        ----------
        score
            Finite scores, `(n,)`.
        truth
            True on positive pixels, `(n,)`.
        """
        if len(score):
            self._add(*_counts_of(self._bin_of(score), truth), self._halvings)

    def state(self) -> dict[str, IntArray]:
        """Return the counts, the bins that hold them, and the width of these bins, by name."""
        return {"bins": self._bins, "counts": self._counts, "halvings": np.array(self._halvings)}

    def merge(self, state: Mapping[str, IntArray]) -> None:
        """Add the counts of another curve with the same edges, as its `state` returns them."""
        self._add(state["bins"], state["counts"], int(state["halvings"]))

    def _bin_of(self, score: npt.NDArray[np.floating]) -> IntArray:
        """Return the bin of each score."""
        if self.edges is not None:
            return np.searchsorted(self.edges, score, side="right")
        p = np.clip(score.astype(np.float64), 1e-9, 1 - 1e-9)
        position = (np.log(p) - np.log1p(-p) + _LOGIT_LIMIT) * (_FINEST / (2 * _LOGIT_LIMIT))
        return np.clip(position, 0, _FINEST - 1).astype(np.int64) >> self._halvings

    def _edge_of(self, bins: npt.NDArray[np.number]) -> Float64Array:
        """Return the lower edges of bins. Those of logit may be numbered by fractions."""
        if self.edges is not None:
            return np.concatenate([[-np.inf], self.edges, [np.inf]])[bins.astype(np.int64)]
        logit = (bins * 2.0**self._halvings / _FINEST * 2 - 1) * _LOGIT_LIMIT
        return np.asarray(1 / (1 + np.exp(-logit)))

    def _add(self, bins: IntArray, counts: IntArray, halvings: int) -> None:
        """Add the counts `(2, n)` of bins `(n,)` whose number was halved `halvings` times."""
        wider = max(self._halvings, halvings)
        bins = np.concatenate([self._bins >> (wider - self._halvings), bins >> (wider - halvings)])
        order = np.argsort(bins, kind="stable")
        bins = bins[order]
        while self.edges is None and np.count_nonzero(np.diff(bins)) >= BINS:
            bins, wider = bins >> 1, wider + 1
        first = np.flatnonzero(np.diff(bins, prepend=-1))
        counts = np.concatenate([self._counts, counts], axis=1)[:, order]
        self._halvings, self._bins, self._counts = wider, bins[first], np.add.reduceat(counts, first, axis=1)

    @property
    def positives(self) -> IntArray:
        """Positive pixels in each bin that holds pixels, from low to high scores, `(bins,)`."""
        return np.asarray(self._counts[0])

    @property
    def negatives(self) -> IntArray:
        """Negative pixels in each bin that holds pixels, from low to high scores, `(bins,)`."""
        return np.asarray(self._counts[1])

    @property
    def thresholds(self) -> Float64Array:
        """The lower edge of each bin that holds pixels, and infinity, `(bins + 1,)`.

        Pixels at or above a threshold are marked: all of them at the first threshold, and none at the last. All arrays
        of scores have one value for each threshold.
        """
        return np.append(self._edge_of(self._bins), np.inf)

    @property
    def true_positives(self) -> IntArray:
        """Positive pixels marked at each threshold."""
        return _sums_from_above(self.positives)

    @property
    def false_positives(self) -> IntArray:
        """Negative pixels marked at each threshold."""
        return _sums_from_above(self.negatives)

    @property
    def dice(self) -> Float64Array:
        """2 TP / (marked + positive pixels) at each threshold."""
        tp, fp = self.true_positives, self.false_positives
        return np.asarray(2 * tp / np.maximum(tp + fp + self.positives.sum(), 1))

    @property
    def precision(self) -> Float64Array:
        """TP / marked pixels at each threshold; 1 where no pixel is marked."""
        tp, fp = self.true_positives, self.false_positives
        return np.asarray(np.where(tp + fp > 0, tp / np.maximum(tp + fp, 1), 1.0))

    @property
    def recall(self) -> Float64Array:
        """TP / positive pixels at each threshold."""
        return np.asarray(self.true_positives / max(int(self.positives.sum()), 1))

    @property
    def iou(self) -> Float64Array:
        """TP / (marked or positive pixels) at each threshold."""
        tp, fp = self.true_positives, self.false_positives
        return np.asarray(tp / np.maximum(fp + self.positives.sum(), 1))

    @property
    def marked_ratio(self) -> Float64Array:
        """Marked pixels / positive pixels at each threshold."""
        return np.asarray((self.true_positives + self.false_positives) / max(int(self.positives.sum()), 1))

    def calibration(self, groups: int = 10) -> CalibrationPoints:
        """Compare probabilities with frequencies, in `groups` equal ranges of probability.

        Raises
        ------
        ValueError
            Where the scores of the curve are not probabilities.
        """
        if self.edges is not None:
            raise ValueError("only probabilities can be calibrated")
        middle = self._edge_of(self._bins + 0.5)
        group = np.minimum((middle * groups).astype(int), groups - 1)
        counts = self.positives + self.negatives
        pixels = np.bincount(group, counts, groups)
        with np.errstate(invalid="ignore"):
            probability = np.bincount(group, counts * middle, groups) / pixels
            frequency = np.bincount(group, self.positives, groups) / pixels
        return CalibrationPoints(probability, frequency, pixels.astype(np.int64))

    def best_dice(self) -> BestDice:
        """Return the highest Dice and its threshold."""
        if not self.positives.any() or not self.negatives.any():
            return BestDice(float("nan"), 0.5)
        dice = self.dice
        ties = np.flatnonzero(dice == dice.max())
        best = int(ties[len(ties) // 2])
        lowest = self._bins[best - 1] + 1 if best else 0
        middle = (lowest + self._bins[best] + 1) // 2  # of the bins at whose edges the same pixels are marked
        everything = self.edges is None and middle == 0
        return BestDice(float(dice[best]), 0.0 if everything else float(self._edge_of(middle)))

    def average_precision(self) -> float:
        """Return the sum of precision times the steps of recall, as scikit-learn does; NaN without positive pixels."""
        if not self.positives.any():
            return float("nan")
        steps = self.positives / self.positives.sum()
        return float(np.sum(steps * self.precision[:-1]))

    def roc_auc(self) -> float:
        """Return the area under the ROC curve; NaN without positive or without negative pixels."""
        positives, negatives = self.positives.sum(), self.negatives.sum()
        if not positives or not negatives:
            return float("nan")
        below = np.cumsum(self.negatives) - self.negatives
        return float(np.sum(self.positives * (below + self.negatives / 2)) / positives / negatives)

    def at(self, threshold: float) -> dict[str, float]:
        """Return Dice, IoU, precision, recall and marked ratio (marked pixels / positive pixels) at a threshold."""
        return {name: values[0] for name, values in self.by_threshold(np.array([threshold])).items() if name in _SCORES}

    def by_threshold(self, thresholds: npt.NDArray[np.floating]) -> dict[str, list[float]]:
        """Return the thresholds and the scores of `at` for each of them, one list per score."""
        upper = self._edge_of(self._bins + 1)  # a bin that holds the threshold is marked
        index = np.searchsorted(upper, thresholds, side="right")
        return {"threshold": thresholds.tolist()} | {name: getattr(self, name)[index].tolist() for name in _SCORES}

    def by_recall(self, recalls: npt.NDArray[np.floating]) -> dict[str, list[float]]:
        """Return the precision at the highest threshold that reaches each of the recalls."""
        recall = self.recall
        index = len(recall) - 1 - np.searchsorted(recall[::-1], recalls)
        return {"recall": recalls.tolist(), "precision": self.precision[np.maximum(index, 0)].tolist()}


def _counts_of(index: IntArray, truth: BoolArray) -> tuple[IntArray, IntArray]:
    """Return the bins that hold pixels, increasing, and the numbers of positive and negative pixels in each."""
    lowest, highest = index.min(), index.max()
    if highest - lowest < 16 * BINS:
        bins, place = np.arange(lowest, highest + 1), index - lowest
    else:
        bins, place = np.unique(index, return_inverse=True)  # much slower, but needed until bins are wide enough
    counts = np.stack([np.bincount(place[where], minlength=len(bins)) for where in (truth, ~truth)])
    held = counts.any(axis=0)
    return bins[held], counts[:, held]


def _sums_from_above(counts: IntArray) -> IntArray:
    """Return the sums of each count and all that follow it, and 0."""
    return np.append(np.cumsum(counts[::-1])[::-1], 0)


def quantile_edges(scores: npt.NDArray[np.floating]) -> Float64Array:
    """Return bin edges that spread a sample of finite scores evenly over the bins of a `ThresholdCurve`."""
    ordered = np.sort(scores.astype(np.float64), axis=None, kind="stable")  # the default is slow for many equal values
    edges = ordered[np.linspace(0, len(ordered) - 1, BINS)[1:].astype(np.int64)]
    return np.asarray(edges[np.concatenate([[True], edges[1:] > edges[:-1]])])
