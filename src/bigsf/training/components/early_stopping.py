"""Logged quantities -> whether to stop before the last epoch: the family of early stopping."""

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Protocol

from pydantic import Field, NonNegativeFloat, PositiveInt
from typing_extensions import override

from bigsf.config import Component, CustomConfig, ignore_tag_case

Directions = Mapping[str, bool]
"""Whether higher values are better, by the name of each logged quantity that has better and worse values."""


class EarlyStopping(Protocol):
    """Decides after each epoch whether to stop."""

    def should_stop(self, quantities: dict[str, float]) -> bool:
        """Return whether to stop, from the quantities that are logged for an epoch."""
        ...

    def state(self) -> dict[str, float]:
        """Return the state that a resumed run needs."""
        ...

    def load_state(self, state: dict[str, float]) -> None:
        """Continue from a saved state."""
        ...


class Patience(EarlyStopping):
    """Counts epochs without a better value.

    Parameters
    ----------
    monitor
        The logged quantity.
    patience
        Epochs to wait.
    directions
        Whether higher is better, by the name of each logged quantity.
    min_delta
        The least change that counts.
    """

    def __init__(self, monitor: str, patience: int, directions: Directions, min_delta: float = 0.0) -> None:
        self.monitor, self.patience, self.min_delta = monitor, patience, min_delta
        self.higher = directions[monitor]
        self._state = {"best_cost": math.inf, "waited": 0.0}

    @override
    def should_stop(self, quantities: dict[str, float]) -> bool:
        value = quantities[self.monitor]
        cost = -value if self.higher else value
        if cost < self._state["best_cost"] - self.min_delta:
            self._state = {"best_cost": cost, "waited": 0.0}
        else:  # also where the value is NaN
            self._state["waited"] += 1
        return self._state["waited"] >= self.patience

    @override
    def state(self) -> dict[str, float]:
        return dict(self._state)

    @override
    def load_state(self, state: dict[str, float]) -> None:
        self._state |= state


class EarlyStoppingComponent(Component[EarlyStopping]):
    """The part common to the configurations of all members."""

    @override
    def build(self, directions: Directions) -> EarlyStopping:
        """Return the early stopping of a run, given the directions of its logged quantities."""
        return super().build(directions=directions)


class PatienceConfig(EarlyStoppingComponent, builds=Patience):
    """Stop when a quantity has not become better for some epochs."""

    not_arguments: ClassVar[frozenset[str]] = frozenset({"type", "mode"})

    type: Literal["patience"] = "patience"

    monitor: str = "val_loss"
    """The logged quantity, e.g. val_loss, val_dice, val_whole_average_precision."""

    patience: PositiveInt = 10
    """Epochs to wait for a better value."""

    min_delta: NonNegativeFloat = 0.0
    """The least change that counts as better."""

    mode: Literal["auto", "min", "max"] = "auto"
    """Whether lower or higher is better. `auto`: losses are to fall, and a metric says it itself. `min` and `max` are
    for a metric of your own that does not say; they hold wherever its values are compared."""


class CustomEarlyStoppingConfig(EarlyStoppingComponent, CustomConfig[EarlyStopping]):
    """An `EarlyStopping` of your own: called with `kwargs`."""

    methods: ClassVar[tuple[str, ...]] = ("should_stop", "state", "load_state")

    @override
    def build(self, directions: Directions) -> EarlyStopping:
        return CustomConfig.build(self)


EarlyStoppingConfig = Annotated[
    Annotated[PatienceConfig | CustomEarlyStoppingConfig, Field(discriminator="type")],
    ignore_tag_case,
]
