"""Probability map and mask -> scores at every threshold, from one pass over the pixels.

Probabilities are counted in bins of their logit. Bins of the probability itself would put most pixels of a good map
into the first and the last bin, and give an average precision of 0.50 where 0.60 is right.
"""

from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from bigsf.arrays import BoolArray, Float64Array, IntArray

BINS = 65536  # narrow enough also for an almost untrained model, whose logits hardly differ


_LOGIT_LIMIT = 20.0  # the logits of float32 probabilities end near 17


_SCORES = ("dice", "iou", "precision", "recall", "marked_ratio")


class BestDice(NamedTuple):
    """The highest Dice of a threshold curve."""

    dice: float
    """2 TP / (marked + positive) pixels; NaN where there is no positive pixel."""
    threshold: float
    """The threshold with this Dice; 0.5 where there is no positive pixel."""


class Calibration(NamedTuple):
    """Probabilities compared with frequencies, in equal ranges of probability; all arrays are `(groups,)`."""

    probability: Float64Array
    """Mean probability of the pixels in each range, to the width of a bin; NaN where there are none."""
    frequency: Float64Array
    """Fraction of positive pixels in each range; NaN where there are none."""
    pixels: IntArray
    """Number of pixels in each range."""


class ThresholdCurve:
    """Counts of positive and negative pixels in bins of their score. All scores at all thresholds follow from them.

    Parameters
    ----------
    edges
        Lower edges of all bins but the first, increasing; by default they are evenly spaced in logit. Scores that are
        not probabilities, such as column densities, need edges of their own: see `quantile_edges`.
    """

    def __init__(self, edges: npt.NDArray[np.floating] | None = None) -> None:
        self.edges = edges
        self.reset()

    def reset(self) -> None:
        """Forget all pixels that were added."""
        n = BINS if self.edges is None else len(self.edges) + 1
        self.positives: IntArray = np.zeros(n, np.int64)
        self.negatives: IntArray = np.zeros(n, np.int64)

    def update(self, score: npt.NDArray[np.floating], truth: BoolArray) -> None:
        """Add pixels.

        Parameters
        ----------
        score
            Finite scores, `(n,)`.
        truth
            True on positive pixels, `(n,)`.
        """
        if self.edges is None:
            p = np.clip(score.astype(np.float64), 1e-9, 1 - 1e-9)
            position = (np.log(p) - np.log1p(-p) + _LOGIT_LIMIT) * (BINS / (2 * _LOGIT_LIMIT))
            index = np.clip(position, 0, BINS - 1).astype(np.int64)
        else:
            index = np.searchsorted(self.edges, score, side="right")
        n = len(self.positives)
        positives = np.bincount(index[truth], minlength=n)
        self.positives += positives
        self.negatives += np.bincount(index, minlength=n) - positives

    def merge(self, other: Self) -> None:
        """Add the counts of another curve with the same edges."""
        self.positives += other.positives
        self.negatives += other.negatives

    @property
    def thresholds(self) -> Float64Array:
        """The lower edge of each bin. Pixels at or above a threshold are marked; the first one marks all pixels."""
        if self.edges is not None:
            return np.concatenate([[-np.inf], self.edges])
        logit = (np.arange(BINS) / BINS * 2 - 1) * _LOGIT_LIMIT
        return np.asarray(1 / (1 + np.exp(-logit)))

    @property
    def true_positives(self) -> IntArray:
        """Positive pixels marked at each threshold."""
        return np.cumsum(self.positives[::-1])[::-1]

    @property
    def false_positives(self) -> IntArray:
        """Negative pixels marked at each threshold."""
        return np.cumsum(self.negatives[::-1])[::-1]

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

    def calibration(self, groups: int = 10) -> Calibration:
        """Compare probabilities with frequencies, in `groups` equal ranges of probability.

        Raises
        ------
        ValueError
            Where the scores of the curve are not probabilities.
        """
        if self.edges is not None:
            raise ValueError("only probabilities can be calibrated")
        middle = 1 / (1 + np.exp(-((np.arange(BINS) + 0.5) / BINS * 2 - 1) * _LOGIT_LIMIT))
        group = np.minimum((middle * groups).astype(int), groups - 1)
        counts = self.positives + self.negatives
        pixels = np.bincount(group, counts, groups)
        with np.errstate(invalid="ignore"):
            probability = np.bincount(group, counts * middle, groups) / pixels
            frequency = np.bincount(group, self.positives, groups) / pixels
        return Calibration(probability, frequency, pixels.astype(np.int64))

    def best_dice(self) -> BestDice:
        """Return the highest Dice and its threshold."""
        if not self.positives.any():
            return BestDice(float("nan"), 0.5)
        dice = self.dice
        ties = np.flatnonzero(dice == dice.max())
        best = int(ties[len(ties) // 2])  # the middle one of the thresholds that mark the same pixels
        return BestDice(float(dice[best]), float(self.thresholds[best]))

    def average_precision(self) -> float:
        """Return the sum of precision times the steps of recall, as scikit-learn does; NaN without positive pixels."""
        if not self.positives.any():
            return float("nan")
        steps = self.positives / self.positives.sum()
        return float(np.sum(steps * self.precision))

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
        index = np.searchsorted(self.thresholds, thresholds, side="right") - 1
        return {"threshold": thresholds.tolist()} | {name: getattr(self, name)[index].tolist() for name in _SCORES}

    def by_recall(self, recalls: npt.NDArray[np.floating]) -> dict[str, list[float]]:
        """Return the precision at the highest threshold that reaches each of the recalls."""
        recall = self.recall
        index = len(recall) - 1 - np.searchsorted(recall[::-1], recalls)
        return {"recall": recalls.tolist(), "precision": self.precision[np.maximum(index, 0)].tolist()}


def quantile_edges(scores: npt.NDArray[np.floating]) -> Float64Array:
    """Return bin edges that spread a sample of finite scores evenly over the bins of a `ThresholdCurve`."""
    ordered = np.sort(scores.astype(np.float64), axis=None, kind="stable")  # the default is slow for many equal values
    edges = ordered[np.linspace(0, len(ordered) - 1, BINS + 1)[1:-1].astype(np.int64)]
    return np.asarray(edges[np.concatenate([[True], edges[1:] > edges[:-1]])])
