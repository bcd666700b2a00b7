"""Probabilities and labels -> one number: the interface of metrics, and the metrics of BigSF.

The interface is that of torchmetrics (update, compute, reset) and, for several processes, `state` and `merge`. Metrics
count labelled pixels only and pool their counts over the whole set. They get maps that are blended from overlapping
windows, so that each pixel counts once.
"""

from collections.abc import Mapping
from typing import Any, Literal, Protocol, cast

import numpy as np
import numpy.typing as npt
from skimage.metrics import structural_similarity
from typing_extensions import override

from bigsf.arrays import BoolArray, FloatArray
from bigsf.metrics.skeleton_score import SkeletonScore
from bigsf.metrics.threshold_curve import ThresholdCurve

State = Mapping[str, npt.ArrayLike]
"""What a metric has counted: numbers, or arrays of numbers, by name."""

SentState = Mapping[str, npt.NDArray[Any]]
"""The state of the metric of another process: arrays, without axes where there were numbers."""


class Counts(Protocol):
    """What is counted in parts of a map, by several processes."""

    def state(self) -> State:
        """Return what was counted so far, for the other processes: numbers and arrays, as no objects are sent."""
        ...

    def merge(self, state: SentState) -> None:
        """Add what another process has counted."""
        ...


class Metric(Counts, Protocol):
    """A score of maps, pooled over all of them into one number.

    `state` and `merge` are needed only where several processes train together.
    """

    higher_is_better: bool | None = None
    """Whether higher scores are better. A metric that does not say (None, or no such attribute) cannot choose best.pt,
    stop a run or set its learning rate, except for what `trainer.early_stopping.mode` says in its place."""

    def update(self, probability: FloatArray, target: BoolArray, labelled: BoolArray) -> None:
        """Add a part of a map to the pooled counts.

        Parameters
        ----------
        probability
            float32 `(ny, nx)`; NaN where the map was not predicted.
        target
            True on known structures, `(ny, nx)`.
        labelled
            True on the pixels that count, `(ny, nx)`.
        """
        ...

    def compute(self) -> float:
        """Return the score of all parts that were added; NaN where it is not defined."""
        ...

    def reset(self) -> None:
        """Forget all parts that were added."""
        ...


class CountRatio(Metric):
    """A ratio of weighted counts of true positive, false positive and false negative pixels.

    Parameters
    ----------
    threshold
        Pixels with at least this probability are marked.
    numerator, denominator
        Weights of (TP, FP, FN).
    """

    higher_is_better = True

    def __init__(self, threshold: float, numerator: tuple[int, int, int], denominator: tuple[int, int, int]) -> None:
        self.threshold, self.numerator, self.denominator = threshold, numerator, denominator
        self.reset()

    @override
    def update(self, probability: FloatArray, target: BoolArray, labelled: BoolArray) -> None:
        counted = labelled & np.isfinite(probability)
        marked, truth = probability[counted] >= self.threshold, target[counted]
        self.counts += [(marked & truth).sum(), (marked & ~truth).sum(), (~marked & truth).sum()]

    @override
    def compute(self) -> float:
        below = float(self.counts @ np.array(self.denominator))
        return float(self.counts @ np.array(self.numerator)) / below if below else float("nan")

    @override
    def reset(self) -> None:
        self.counts = np.zeros(3, np.int64)

    @override
    def state(self) -> State:
        return {"counts": self.counts}

    @override
    def merge(self, state: SentState) -> None:
        self.counts += state["counts"]


class CurveMetric(Metric):
    """A score that a `ThresholdCurve` computes over all thresholds.

    Parameters
    ----------
    name
        The method of `ThresholdCurve` that computes it.
    """

    higher_is_better = True

    def __init__(self, name: Literal["average_precision", "roc_auc"]) -> None:
        self.name = name
        self.curve = ThresholdCurve()

    @override
    def update(self, probability: FloatArray, target: BoolArray, labelled: BoolArray) -> None:
        counted = labelled & np.isfinite(probability)
        self.curve.update(probability[counted], target[counted])

    @override
    def compute(self) -> float:
        return cast(float, getattr(self.curve, self.name)())

    @override
    def reset(self) -> None:
        self.curve.reset()

    @override
    def state(self) -> State:
        return self.curve.state()

    @override
    def merge(self, state: SentState) -> None:
        self.curve.merge(state)


class MSSIM(Metric):
    """Mean structural similarity (Wang et al. 2004) of probability and target, at the labelled pixels.

    The similarity is that of windows of 7 x 7 pixels. Pixels that were not predicted are 0 in probability and target.
    """

    higher_is_better = True

    def __init__(self) -> None:
        self.reset()

    @override
    def update(self, probability: FloatArray, target: BoolArray, labelled: BoolArray) -> None:
        predicted = np.isfinite(probability)
        labelled = labelled & predicted
        if min(probability.shape) < 7 or not labelled.any():
            return
        pair = np.where(predicted, probability, 0).astype(np.float64), (target & predicted).astype(np.float64)
        similarity = structural_similarity(*pair, win_size=7, data_range=1.0, full=True)[1]
        self.total += float(similarity[labelled].sum())
        self.count += int(labelled.sum())

    @override
    def compute(self) -> float:
        return self.total / self.count if self.count else float("nan")

    @override
    def reset(self) -> None:
        self.total, self.count = 0.0, 0

    @override
    def state(self) -> State:
        return {"total": self.total, "count": self.count}

    @override
    def merge(self, state: SentState) -> None:
        self.total, self.count = self.total + float(state["total"]), self.count + int(state["count"])


class CLDiceMetric(Metric):
    """Centreline Dice (Shit et al. 2021) of the labelled pixels.

    It is the harmonic mean of two fractions: of the found skeleton inside the target, and of the target's skeleton
    inside the found mask.

    Parameters
    ----------
    threshold
        Pixels with at least this probability are marked.
    """

    higher_is_better = True

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self.skeletons = SkeletonScore(radii_px=())

    @override
    def update(self, probability: FloatArray, target: BoolArray, labelled: BoolArray) -> None:
        counted = labelled & np.isfinite(probability)
        self.skeletons.update(np.nan_to_num(probability) >= self.threshold, target, counted)

    @override
    def compute(self) -> float:
        return self.skeletons.cldice

    @override
    def reset(self) -> None:
        self.skeletons.reset()

    @override
    def state(self) -> State:
        return self.skeletons.state()

    @override
    def merge(self, state: SentState) -> None:
        self.skeletons.merge(state)
