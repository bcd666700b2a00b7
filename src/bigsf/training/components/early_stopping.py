"""Logged quantities -> whether to stop before the last epoch: the family of early stopping."""

import math
from typing import Annotated, Literal, Protocol

from pydantic import Field, NonNegativeFloat, PositiveInt
from typing_extensions import override

from bigsf.config import Component, CustomConfig, ignore_tag_case

Mode = Literal["auto", "min", "max"]


def higher_is_better(quantity: str, mode: Mode = "auto") -> bool:
    """Return whether higher values of a logged quantity are better; `auto`: those of losses are not, all others are."""
    return mode == "max" or (mode == "auto" and not quantity.endswith("loss"))


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
    min_delta
        The least change that counts.
    mode
        Whether lower ("min") or higher ("max") is better; "auto": losses are to fall, all else to rise.
    """

    def __init__(self, monitor: str, patience: int, min_delta: float = 0.0, mode: Mode = "auto") -> None:
        self.monitor, self.patience, self.min_delta = monitor, patience, min_delta
        self.higher = higher_is_better(monitor, mode)
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


class PatienceConfig(Component[EarlyStopping], builds=Patience):
    """Stop when a quantity has not become better for some epochs."""

    type: Literal["patience"] = "patience"

    monitor: str = "val_loss"
    """The logged quantity, e.g. val_loss, val_dice, val_whole_average_precision."""

    patience: PositiveInt = 10
    """Epochs to wait for a better value."""

    min_delta: NonNegativeFloat = 0.0
    """The least change that counts as better."""

    mode: Mode = "auto"
    """Whether lower or higher is better; `auto`: losses are to fall, all else to rise."""


class CustomEarlyStoppingConfig(CustomConfig[EarlyStopping]):
    """An `EarlyStopping` of your own: called with `kwargs`."""


EarlyStoppingConfig = Annotated[
    Annotated[PatienceConfig | CustomEarlyStoppingConfig, Field(discriminator="type")],
    ignore_tag_case,
]
