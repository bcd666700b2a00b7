"""Config + patch file -> the parts of a training run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn
from torch.optim import Optimizer

from bigsf.metrics import Metric
from bigsf.training.components.losses import Loss
from bigsf.training.components.optimizers import Parameters


@dataclass(frozen=True)
class Parts:
    """Objects handed to a trainer in place of what the config would build."""

    network: nn.Module | None = None
    """A network, as `trainer.model` describes; a snapshot keeps its weights only."""
    loss: Loss | None = None
    """A loss; `trainer.loss.unlabelled_weight` still holds."""
    optimizer: Callable[[Parameters], Optimizer] | None = None
    """From the parameters to an optimizer."""
    metrics: Mapping[str, Metric] | None = None
    """Metrics by name."""
