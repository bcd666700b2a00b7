"""Gradients -> weights: the family of optimizers."""

from collections.abc import Iterable
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator
from torch import nn
from torch.optim import Optimizer
from typing_extensions import override

from bigsf.config import Component, CustomConfig, ignore_tag_case
from bigsf.training.components.muon import Muon

Parameters = Iterable[nn.Parameter]


class OptimizerComponent(Component[Optimizer]):
    """The part common to the configurations of all optimizers."""

    @override
    def build(self, parameters: Parameters) -> Optimizer:
        """Return the optimizer of the parameters of a network."""
        return super().build(parameters)


class AdamConfig(OptimizerComponent, builds=torch.optim.Adam):
    """Adam (Kingma & Ba 2015)."""

    type: Literal["adam"] = "adam"

    lr: PositiveFloat = 0.001
    """Learning rate; a scheduler may change it."""

    weight_decay: NonNegativeFloat = 0.0
    """L2 penalty on the weights, added to the gradients."""


class AdamWConfig(OptimizerComponent, builds=torch.optim.AdamW):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    type: Literal["adamw"]

    lr: PositiveFloat = 0.003
    """Learning rate; a scheduler may change it."""

    weight_decay: NonNegativeFloat = 0.01
    """Fraction by which weights shrink per step, times the learning rate."""


class MuonConfig(OptimizerComponent, builds=Muon):
    """Muon (Jordan et al. 2024) for the weights of convolutions, AdamW for the rest.

    A network needs about half as many patches as with AdamW alone. A step takes up to 1.5 times as long.
    """

    type: Literal["muon"]

    lr: PositiveFloat = 0.01
    """Learning rate; a scheduler may change it."""

    weight_decay: NonNegativeFloat = 0.01
    """Fraction by which weights shrink per step, times the learning rate."""

    momentum: float = Field(default=0.95, ge=0, lt=1)
    """Memory of past gradients."""


class SGDConfig(OptimizerComponent, builds=torch.optim.SGD):
    """Stochastic gradient descent."""

    type: Literal["sgd"]

    lr: PositiveFloat = 0.01
    """Learning rate; a scheduler may change it."""

    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Memory of past gradients."""

    nesterov: bool = False
    """Take the gradient ahead along the momentum (Nesterov 1983)."""

    weight_decay: NonNegativeFloat = 0.0
    """L2 penalty on the weights, added to the gradients."""

    @model_validator(mode="after")
    def _has_momentum(self) -> Self:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0.")
        return self


class RMSpropConfig(OptimizerComponent, builds=torch.optim.RMSprop):
    """RMSprop (Hinton 2012)."""

    type: Literal["rmsprop"]

    lr: PositiveFloat = 0.001
    """Learning rate; a scheduler may change it."""

    momentum: float = Field(default=0.0, ge=0, lt=1)
    """Memory of past gradients."""

    weight_decay: NonNegativeFloat = 0.0
    """L2 penalty on the weights, added to the gradients."""


class CustomOptimizerConfig(OptimizerComponent, CustomConfig[Optimizer]):
    """An optimizer of your own: called with the parameters and `kwargs`."""


OptimizerConfig = Annotated[
    Annotated[
        AdamConfig | AdamWConfig | MuonConfig | SGDConfig | RMSpropConfig | CustomOptimizerConfig,
        Field(discriminator="type"),
    ],
    ignore_tag_case,
]
