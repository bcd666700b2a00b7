"""A metric of torchmetrics -> a metric of BigSF."""

from typing import Any, Self

import torch
from typing_extensions import override

from bigsf.arrays import BoolArray, FloatArray
from bigsf.errors import ConfigError
from bigsf.metrics.metric import Metric


class TorchMetric(Metric):
    """A metric of torchmetrics, on labelled pixels.

    In a configuration it is a custom metric with ``target: bigsf.metrics:TorchMetric, kwargs: {name: ...}``.

    Parameters
    ----------
    name
        A class of `torchmetrics` or `torchmetrics.classification`, e.g. "BinaryF1Score".
    **kwargs
        Its arguments.

    Raises
    ------
    ConfigError
        Where torchmetrics is not installed or has no such class.
    """

    def __init__(self, name: str, **kwargs: Any) -> None:
        try:
            import torchmetrics
        except ImportError:
            raise ConfigError(
                f"The metric {name} needs a package that is not installed: pip install 'bigsf[torchmetrics]'."
            ) from None
        kind = getattr(torchmetrics.classification, name, None) or getattr(torchmetrics, name, None)
        if kind is None:
            raise ConfigError(f"torchmetrics {torchmetrics.__version__} has no metric {name!r}.")
        self.metric = kind(**kwargs)
        self.higher_is_better = self.metric.higher_is_better

    @override
    def update(self, probability: FloatArray, target: BoolArray, labelled: BoolArray) -> None:
        self.metric.update(torch.from_numpy(probability[labelled]), torch.from_numpy(target[labelled].astype(int)))

    @override
    def compute(self) -> float:
        return float(self.metric.compute())

    @override
    def reset(self) -> None:
        self.metric.reset()

    @override
    def merge(self, other: Self) -> None:
        self.metric.merge_state(other.metric)
