"""How weights follow gradients: the family of optimizers, torch's own."""

from collections.abc import Iterable
from typing import Annotated, Literal, cast

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import nn
from torch.optim import Optimizer

from bigsf.config import Config, CustomConfig, ignore_tag_case

Parameters = Iterable[nn.Parameter]


class AdamConfig(Config):
    """Adam (Kingma & Ba 2015)."""

    type: Literal["adam"] = "adam"

    lr: PositiveFloat = 0.001
    """Learning rate; a scheduler may change it."""

    weight_decay: NonNegativeFloat = 0.0
    """L2 penalty on the weights, added to the gradients."""

    def build(self, parameters: Parameters) -> Optimizer:
        """Return the optimizer."""
        return torch.optim.Adam(parameters, lr=self.lr, weight_decay=self.weight_decay)


class AdamWConfig(Config):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    type: Literal["adamw"]

    lr: PositiveFloat = 0.003
    """Learning rate; a scheduler may change it."""

    weight_decay: NonNegativeFloat = 0.01
    """Fraction by which weights shrink a step, times the learning rate."""

    def build(self, parameters: Parameters) -> Optimizer:
        """Return the optimizer."""
        return torch.optim.AdamW(parameters, lr=self.lr, weight_decay=self.weight_decay)


class SGDConfig(Config):
    """Stochastic gradient descent."""

    type: Literal["sgd"]

    lr: PositiveFloat = 0.01
    """Learning rate; a scheduler may change it."""

    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Memory of past gradients."""

    nesterov: bool = False
    """Look ahead along the momentum."""

    weight_decay: NonNegativeFloat = 0.0
    """L2 penalty on the weights, added to the gradients."""

    def build(self, parameters: Parameters) -> Optimizer:
        """Return the optimizer."""
        return torch.optim.SGD(
            parameters,
            lr=self.lr,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
        )


class RMSpropConfig(Config):
    """RMSprop (Hinton 2012)."""

    type: Literal["rmsprop"]

    lr: PositiveFloat = 0.001
    """Learning rate; a scheduler may change it."""

    momentum: float = Field(default=0.0, ge=0, lt=1)
    """Memory of past gradients."""

    weight_decay: NonNegativeFloat = 0.0
    """L2 penalty on the weights, added to the gradients."""

    def build(self, parameters: Parameters) -> Optimizer:
        """Return the optimizer."""
        return torch.optim.RMSprop(parameters, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)


class CustomOptimizerConfig(CustomConfig):
    """An optimizer of your own: called with the parameters and `kwargs`."""

    def build(self, parameters: Parameters) -> Optimizer:
        """Import and call the target."""
        return cast(Optimizer, self.call(parameters))


OptimizerConfig = Annotated[
    Annotated[
        AdamConfig | AdamWConfig | SGDConfig | RMSpropConfig | CustomOptimizerConfig,
        Field(discriminator="type"),
    ],
    ignore_tag_case,
]
