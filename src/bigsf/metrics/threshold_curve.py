"""Probabilities and ground truth -> scores at every threshold, in one pass over the pixels.

Pixels are counted in bins of the logit of their probability. Bins of the probability itself would hold most pixels of a
good map in the first and the last bin: the average precision of such a map came out as 0.50 in place of 0.60.
"""

from typing import Self

import numpy as np
import numpy.typing as npt

from bigsf.arrays import BoolArray, Float64Array, IntArray

BINS = 65536  # the logits of a model that has just begun to learn hardly differ, so bins must be narrow


_LIMIT = 20.0  # the logit of the largest float32 below 1 is about 17


_AT = ("dice", "iou", "precision", "recall", "marked_ratio")


class ThresholdCurve:
    """Numbers of positive and negative pixels in bins of their score. Scores at every threshold follow from them.

    Parameters
    ----------
    edges
        The lower edges of all bins except the first, in increasing order. By default they are evenly spaced in logit.
        Scores that are no probabilities (a column density, the output of a filter) need other edges, as those of
        `quantile_edges`.
    """

    def __init__(self, edges: npt.NDArray[np.floating] | None = None) -> None:
        self.edges = edges
        self.reset()

    def reset(self) -> None:
        """Drop all counts."""
        n = BINS if self.edges is None else len(self.edges) + 1
        self.positives: IntArray = np.zeros(n, np.int64)
        self.negatives: IntArray = np.zeros(n, np.int64)

    def update(self, score: npt.NDArray[np.floating], truth: BoolArray) -> None:
        """Count pixels by their finite scores `(n,)` and their ground truth `(n,)`."""
        if self.edges is None:
            p = np.clip(score.astype(np.float64), 1e-9, 1 - 1e-9)
            position = (np.log(p) - np.log1p(-p) + _LIMIT) * (BINS / (2 * _LIMIT))
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
        """The lower edge of each bin, `(bins,)`. Pixels at or above it are marked; the first is below every score."""
        if self.edges is not None:
            return np.concatenate([[-np.inf], self.edges])
        logit = (np.arange(BINS) / BINS * 2 - 1) * _LIMIT
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
        """2 TP / (marked + positive) at each threshold."""
        tp, fp = self.true_positives, self.false_positives
        return np.asarray(2 * tp / np.maximum(tp + fp + self.positives.sum(), 1))

    @property
    def precision(self) -> Float64Array:
        """TP / marked at each threshold; 1 where nothing is marked."""
        tp, fp = self.true_positives, self.false_positives
        return np.asarray(np.where(tp + fp > 0, tp / np.maximum(tp + fp, 1), 1.0))

    @property
    def recall(self) -> Float64Array:
        """TP / positive at each threshold."""
        return np.asarray(self.true_positives / max(int(self.positives.sum()), 1))

    @property
    def iou(self) -> Float64Array:
        """TP / (marked or positive) at each threshold."""
        tp, fp = self.true_positives, self.false_positives
        return np.asarray(tp / np.maximum(fp + self.positives.sum(), 1))

    @property
    def marked_ratio(self) -> Float64Array:
        """Pixels marked over positive pixels at each threshold."""
        return np.asarray((self.true_positives + self.false_positives) / max(int(self.positives.sum()), 1))

    def calibration(self, groups: int = 10) -> tuple[Float64Array, Float64Array, IntArray]:
        """Compare predicted probabilities with the frequencies of positive pixels.

        Parameters
        ----------
        groups
            Number of equal ranges of probability.

        Returns
        -------
        probability, frequency, pixels : ndarray
            For each range, `(groups,)` each: the mean probability (to the width of a bin), the fraction of positive
            pixels, and the number of pixels. The first two are NaN where a range has no pixel.

        Raises
        ------
        ValueError
            Where the scores of the curve are no probabilities.
        """
        if self.edges is not None:
            raise ValueError("only probabilities can be calibrated")
        middle = 1 / (1 + np.exp(-((np.arange(BINS) + 0.5) / BINS * 2 - 1) * _LIMIT))
        group = np.minimum((middle * groups).astype(int), groups - 1)
        counts = self.positives + self.negatives
        pixels = np.bincount(group, counts, groups)
        with np.errstate(invalid="ignore"):
            probability = np.bincount(group, counts * middle, groups) / pixels
            frequency = np.bincount(group, self.positives, groups) / pixels
        return probability, frequency, pixels.astype(np.int64)

    def best_dice(self) -> tuple[float, float]:
        """Return the highest Dice and its threshold; (NaN, 0.5) where there is no positive pixel."""
        if not self.positives.any():
            return float("nan"), 0.5
        dice = self.dice
        ties = np.flatnonzero(dice == dice.max())
        best = int(ties[len(ties) // 2])  # thresholds that mark the same pixels tie: take the middle one
        return float(dice[best]), float(self.thresholds[best])

    def average_precision(self) -> float:
        """Return the sum of precision times the steps of recall, as scikit-learn does; NaN without positive pixels."""
        if not self.positives.any():
            return float("nan")
        steps = self.positives / self.positives.sum()
        return float(np.sum(steps * self.precision))

    def roc_auc(self) -> float:
        """Return the area under the ROC curve; NaN where all pixels are positive, or all negative."""
        positives, negatives = self.positives.sum(), self.negatives.sum()
        if not positives or not negatives:
            return float("nan")
        below = np.cumsum(self.negatives) - self.negatives
        return float(np.sum(self.positives * (below + self.negatives / 2)) / positives / negatives)

    def at(self, threshold: float) -> dict[str, float]:
        """Return Dice, IoU, precision, recall and the ratio of marked to positive pixels at a threshold."""
        return {name: values[0] for name, values in self.by_threshold(np.array([threshold])).items() if name in _AT}

    def by_threshold(self, thresholds: npt.NDArray[np.floating]) -> dict[str, list[float]]:
        """Return the scores of `at` at several thresholds, and the thresholds: one list for each."""
        index = np.searchsorted(self.thresholds, thresholds, side="right") - 1
        return {"threshold": thresholds.tolist()} | {name: getattr(self, name)[index].tolist() for name in _AT}

    def by_recall(self, recalls: npt.NDArray[np.floating]) -> dict[str, list[float]]:
        """Return the precision at the highest threshold that reaches each recall."""
        recall = self.recall
        index = len(recall) - 1 - np.searchsorted(recall[::-1], recalls)
        return {"recall": recalls.tolist(), "precision": self.precision[np.maximum(index, 0)].tolist()}


def quantile_edges(scores: npt.NDArray[np.floating]) -> Float64Array:
    """Return bin edges for a `ThresholdCurve` over which a sample of finite scores is spread evenly."""
    ordered = np.sort(
        scores.astype(np.float64), axis=None, kind="stable"
    )  # numpy's default is slow for many equal values
    edges = ordered[np.linspace(0, len(ordered) - 1, BINS + 1)[1:-1].astype(np.int64)]
    return np.asarray(edges[np.concatenate([[True], edges[1:] > edges[:-1]])])
