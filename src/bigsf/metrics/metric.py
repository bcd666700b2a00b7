"""How good a map is: the family of metrics.

The interface is that of torchmetrics (update, compute, reset) and `merge`. Metrics count labelled pixels only, pool
their counts over the whole set, and see each pixel once, on maps blended from overlapping windows.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Protocol, Self, cast

import numpy as np
import numpy.typing as npt
from pydantic import Field
from skimage.metrics import structural_similarity

from bigsf.config import Config, CustomConfig, ignore_tag_case
from bigsf.errors import ConfigError
from bigsf.metrics.skeleton_score import SkeletonScore
from bigsf.metrics.threshold_curve import ThresholdCurve

Probability = npt.NDArray[np.float32]


Mask = npt.NDArray[np.bool_]


class Metric(Protocol):
    """Pools maps into one number."""

    def update(self, probability: Probability, target: Mask, labelled: Mask) -> None:
        """Take a piece of map, each array `(ny, nx)`; `labelled` says which pixels count."""
        ...

    def compute(self) -> float:
        """Return the value over all that was taken; NaN where it is not defined."""
        ...

    def reset(self) -> None:
        """Forget all that was taken."""
        ...

    def merge(self, other: Any) -> None:
        """Take all that another metric of the same kind has taken."""
        ...


class _Thresholded(Config):
    threshold: float = Field(default=0.5, gt=0, lt=1)
    """Pixels with at least this probability are marked."""


class DiceConfig(_Thresholded):
    """2 TP / (2 TP + FP + FN), the F1 score."""

    type: Literal["dice"] = "dice"

    def build(self) -> Metric:
        """Return the metric."""
        return CountRatio(self.threshold, numerator=(2, 0, 0), denominator=(2, 1, 1))


class IoUConfig(_Thresholded):
    """TP / (TP + FP + FN), the Jaccard index."""

    type: Literal["iou"]

    def build(self) -> Metric:
        """Return the metric."""
        return CountRatio(self.threshold, numerator=(1, 0, 0), denominator=(1, 1, 1))


class PrecisionConfig(_Thresholded):
    """TP / (TP + FP), the purity."""

    type: Literal["precision"]

    def build(self) -> Metric:
        """Return the metric."""
        return CountRatio(self.threshold, numerator=(1, 0, 0), denominator=(1, 1, 0))


class RecallConfig(_Thresholded):
    """TP / (TP + FN), the completeness."""

    type: Literal["recall"]

    def build(self) -> Metric:
        """Return the metric."""
        return CountRatio(self.threshold, numerator=(1, 0, 0), denominator=(1, 0, 1))


class CountRatio(Metric):
    """A ratio of weighted counts of true positive, false positive and false negative pixels.

    Parameters
    ----------
    threshold
        Pixels with at least this probability are marked.
    numerator, denominator
        Weights of (TP, FP, FN).
    """

    def __init__(self, threshold: float, numerator: tuple[int, int, int], denominator: tuple[int, int, int]) -> None:
        self.threshold, self.numerator, self.denominator = threshold, numerator, denominator
        self.reset()

    def update(self, probability: Probability, target: Mask, labelled: Mask) -> None:  # noqa: D102
        marked, truth = probability[labelled] >= self.threshold, target[labelled]
        self.counts += [(marked & truth).sum(), (marked & ~truth).sum(), (~marked & truth).sum()]

    def compute(self) -> float:  # noqa: D102
        below = float(self.counts @ np.array(self.denominator))
        return float(self.counts @ np.array(self.numerator)) / below if below else float("nan")

    def reset(self) -> None:  # noqa: D102
        self.counts = np.zeros(3, np.int64)

    def merge(self, other: Self) -> None:  # noqa: D102
        self.counts += other.counts


class AveragePrecisionConfig(Config):
    """Area under the precision-recall curve, the papers' mAP."""

    type: Literal["average_precision", "map", "ap"]

    def build(self) -> Metric:
        """Return the metric."""
        return CurveMetric("average_precision")


class ROCAUCConfig(Config):
    """Area under the receiver operating characteristic."""

    type: Literal["roc_auc"]

    def build(self) -> Metric:
        """Return the metric."""
        return CurveMetric("roc_auc")


class CurveMetric(Metric):
    """A number of a `ThresholdCurve`.

    Parameters
    ----------
    name
        The method of `ThresholdCurve` that computes it.
    """

    def __init__(self, name: Literal["average_precision", "roc_auc"]) -> None:
        self.name = name
        self.curve = ThresholdCurve()

    def update(self, probability: Probability, target: Mask, labelled: Mask) -> None:  # noqa: D102
        self.curve.update(probability[labelled], target[labelled])

    def compute(self) -> float:  # noqa: D102
        return cast(float, getattr(self.curve, self.name)())

    def reset(self) -> None:  # noqa: D102
        self.curve.reset()

    def merge(self, other: Self) -> None:  # noqa: D102
        self.curve.merge(other.curve)


class MSSIMConfig(Config):
    """Mean structural similarity (Wang et al. 2004) of probability and target, in windows about labelled pixels."""

    type: Literal["mssim"]

    def build(self) -> Metric:
        """Return the metric."""
        return MSSIM()


class MSSIM(Metric):
    """Mean of the structural similarity index in 7 x 7 windows; pixels that were not predicted count as 0 in both."""

    def __init__(self) -> None:
        self.reset()

    def update(self, probability: Probability, target: Mask, labelled: Mask) -> None:  # noqa: D102
        if min(probability.shape) < 7 or not labelled.any():
            return
        predicted = np.isfinite(probability)
        pair = np.where(predicted, probability, 0).astype(np.float64), (target & predicted).astype(np.float64)
        similarity = structural_similarity(*pair, win_size=7, data_range=1.0, full=True)[1]
        self.total += float(similarity[labelled].sum())
        self.count += int(labelled.sum())

    def compute(self) -> float:  # noqa: D102
        return self.total / self.count if self.count else float("nan")

    def reset(self) -> None:  # noqa: D102
        self.total, self.count = 0.0, 0

    def merge(self, other: Self) -> None:  # noqa: D102
        self.total, self.count = self.total + other.total, self.count + other.count


class CLDiceMetricConfig(_Thresholded):
    """Centreline Dice (Shit et al. 2021): do skeletons lie in the other mask, on labelled pixels."""

    type: Literal["cldice"]

    def build(self) -> Metric:
        """Return the metric."""
        return CLDiceMetric(self.threshold)


class CLDiceMetric(Metric):
    """Harmonic mean of the shares of the found skeleton in the target and of the true skeleton in the found mask.

    Parameters
    ----------
    threshold
        Pixels with at least this probability are marked.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self.skeletons = SkeletonScore(radii_px=())

    def update(self, probability: Probability, target: Mask, labelled: Mask) -> None:  # noqa: D102
        self.skeletons.update(np.nan_to_num(probability) >= self.threshold, target, labelled)

    def compute(self) -> float:  # noqa: D102
        return self.skeletons.cldice

    def reset(self) -> None:  # noqa: D102
        self.skeletons.reset()

    def merge(self, other: Self) -> None:  # noqa: D102
        self.skeletons.merge(other.skeletons)


class CustomMetricConfig(CustomConfig):
    """A metric of your own: called with `kwargs`. For those of torchmetrics see `TorchMetric`."""

    def build(self) -> Metric:
        """Import and call the target."""
        return cast(Metric, self.call())


MetricConfig = Annotated[
    Annotated[
        DiceConfig
        | IoUConfig
        | PrecisionConfig
        | RecallConfig
        | AveragePrecisionConfig
        | ROCAUCConfig
        | MSSIMConfig
        | CLDiceMetricConfig
        | CustomMetricConfig,
        Field(discriminator="type"),
    ],
    ignore_tag_case,
]


def metric_name(config: MetricConfig) -> str:
    """Return the name of a metric in logs and scores."""
    if isinstance(config, CustomMetricConfig):
        return str(config.kwargs.get("name", config.target.split(":")[1]))
    if isinstance(config, _Thresholded) and config.threshold != 0.5:
        return f"{config.type}_{config.threshold:g}"
    return "average_precision" if config.type in ("map", "ap") else config.type


def build_metrics(configs: Sequence[MetricConfig]) -> dict[str, Metric]:
    """Return metrics by name.

    Raises
    ------
    ConfigError
        Where two have one name.
    """
    names = [metric_name(config) for config in configs]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"trainer.metrics holds {', '.join(sorted(twice))} more than once.")
    return {name: config.build() for name, config in zip(names, configs, strict=True)}
