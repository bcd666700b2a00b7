"""A metric of torchmetrics -> a metric of BigSF."""

import warnings
from typing import Any

import numpy as np
import torch
from typing_extensions import override

from bigsf.arrays import BoolArray, FloatArray
from bigsf.errors import ConfigError, needing
from bigsf.metrics.metric import Metric, SentState, State

_PIXELS = "labelled_pixels"
"""Name of the number of pixels among the numbers that processes exchange."""


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

    Examples
    --------
    >>> metric = bigsf.TorchMetric("BinaryF1Score")  # doctest: +SKIP
    """

    def __init__(self, name: str, **kwargs: Any) -> None:
        with needing(f"The metric {name}", "torchmetrics"):
            import torchmetrics
        kind = getattr(torchmetrics.classification, name, None) or getattr(torchmetrics, name, None)
        if kind is None:
            raise ConfigError(f"torchmetrics {torchmetrics.__version__} has no metric {name!r}.")
        self.metric = kind(**kwargs)
        self.higher_is_better = self.metric.higher_is_better
        self._pixels = 0  # many metrics are 0 where they have seen none

    @override
    def update(self, probability: FloatArray, target: BoolArray, labelled: BoolArray) -> None:
        labelled = labelled & np.isfinite(probability)
        if not labelled.any():
            return  # torchmetrics takes no empty arrays
        self._pixels += int(labelled.sum())
        self.metric.update(torch.from_numpy(probability[labelled]), torch.from_numpy(target[labelled].astype(int)))

    @override
    def compute(self) -> float:
        if not self._pixels:
            return float("nan")
        with warnings.catch_warnings():  # it does not count the updates of other processes
            warnings.filterwarnings("ignore", ".*was called before the ``update``", UserWarning)
            return float(self.metric.compute())

    @override
    def reset(self) -> None:
        self.metric.reset()
        self._pixels = 0

    @override
    def state(self) -> State:
        return {_PIXELS: np.array(self._pixels)} | {
            name: torch.cat([*map(torch.atleast_1d, value)]).numpy() if isinstance(value, list) else value.numpy()
            for name, value in self.metric.metric_state.items()
            if isinstance(value, torch.Tensor) or value  # an empty list has no number format yet
        }

    @override
    def merge(self, state: SentState) -> None:
        lists: dict[str, Any] = {
            name: [] for name, value in self.metric.metric_state.items() if isinstance(value, list)
        }
        self._pixels += int(state[_PIXELS])
        sent = {name: torch.from_numpy(values) for name, values in state.items() if name != _PIXELS}
        self.metric.merge_state(lists | {name: [value] if name in lists else value for name, value in sent.items()})
