"""YAML -> metrics by name: the family of metrics."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from bigsf.config import Component, CustomConfig, ignore_tag_case
from bigsf.errors import ConfigError
from bigsf.metrics.metric import MSSIM, CLDiceMetric, CountRatio, CurveMetric, Metric


class _Thresholded(Component[Metric]):
    threshold: float = Field(default=0.5, gt=0, lt=1)
    """Pixels with at least this probability are marked."""


class DiceConfig(_Thresholded, builds=partial(CountRatio, numerator=(2, 0, 0), denominator=(2, 1, 1))):
    """2 TP / (2 TP + FP + FN), the F1 score."""

    type: Literal["dice"] = "dice"


class IoUConfig(_Thresholded, builds=partial(CountRatio, numerator=(1, 0, 0), denominator=(1, 1, 1))):
    """TP / (TP + FP + FN), the Jaccard index."""

    type: Literal["iou"]


class PrecisionConfig(_Thresholded, builds=partial(CountRatio, numerator=(1, 0, 0), denominator=(1, 1, 0))):
    """TP / (TP + FP), the purity."""

    type: Literal["precision"]


class RecallConfig(_Thresholded, builds=partial(CountRatio, numerator=(1, 0, 0), denominator=(1, 0, 1))):
    """TP / (TP + FN), the completeness."""

    type: Literal["recall"]


class AveragePrecisionConfig(Component[Metric], builds=partial(CurveMetric, "average_precision")):
    """Area under the precision-recall curve, the papers' mAP."""

    type: Literal["average_precision", "map", "ap"]


class ROCAUCConfig(Component[Metric], builds=partial(CurveMetric, "roc_auc")):
    """Area under the receiver operating characteristic."""

    type: Literal["roc_auc"]


class MSSIMConfig(Component[Metric], builds=MSSIM):
    """Mean structural similarity (Wang et al. 2004) of probability and target, in windows about labelled pixels."""

    type: Literal["mssim"]


class CLDiceMetricConfig(_Thresholded, builds=CLDiceMetric):
    """Centreline Dice (Shit et al. 2021): do skeletons lie in the other mask, on labelled pixels."""

    type: Literal["cldice"]


class CustomMetricConfig(CustomConfig[Metric]):
    """A metric of your own: called with `kwargs`. For those of torchmetrics see `TorchMetric`."""

    methods: ClassVar[tuple[str, ...]] = ("update", "compute", "reset")


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
