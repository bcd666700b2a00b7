"""Time in epochs -> factor on the learning rate.

A schedule is a function of the time alone, so that a resumed run cannot differ from an uninterrupted one. Only
`Plateau` has a state, which is saved.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from typing_extensions import override

from bigsf.training.components.early_stopping import Directions


class Scheduler(Protocol):
    """A factor on the learning rate of the optimizer."""

    def factor(self, epoch: float) -> float:
        """Return the factor at a time in epochs, e.g. 1.5 in the middle of the second epoch."""
        ...

    def end_of_epoch(self, quantities: dict[str, float]) -> None:
        """Take note of the quantities logged for an epoch."""
        return

    def state(self) -> dict[str, float]:
        """Return the state that a resumed run needs."""
        return {}

    def load_state(self, state: dict[str, float]) -> None:
        """Continue from a saved state."""
        return


@dataclass(kw_only=True)
class WarmUp(Scheduler):
    """The base of the schedulers: a linear rise from 0 during the first epochs, times a factor."""

    warmup: float
    """Epochs of the linear rise; 0: none."""

    @override
    def factor(self, epoch: float) -> float:
        return self.warm_factor(epoch) * (min(1.0, epoch / self.warmup) if self.warmup else 1.0)

    def warm_factor(self, epoch: float) -> float:
        """Return the factor without the rise."""
        return 1.0


@dataclass(kw_only=True)
class Step(WarmUp):
    """Multiply the learning rate by `gamma` every `every` epochs."""

    every: int
    gamma: float

    @override
    def warm_factor(self, epoch: float) -> float:
        return self.gamma ** (math.floor(epoch) // self.every)


@dataclass(kw_only=True)
class MultiStep(WarmUp):
    """Multiply the learning rate by `gamma` after each of the epochs `milestones`."""

    milestones: Sequence[int]
    gamma: float

    @override
    def warm_factor(self, epoch: float) -> float:
        return self.gamma ** sum(epoch >= milestone for milestone in self.milestones)


@dataclass(kw_only=True)
class Exponential(WarmUp):
    """Multiply the learning rate by `gamma` each epoch."""

    gamma: float

    @override
    def warm_factor(self, epoch: float) -> float:
        return self.gamma ** math.floor(epoch)


@dataclass(kw_only=True)
class Cosine(WarmUp):
    """Lower the learning rate along half a cosine to the factor `final` after `epochs` epochs."""

    epochs: int
    final: float

    @override
    def warm_factor(self, epoch: float) -> float:
        return _cosine(1.0, self.final, epoch / self.epochs)


@dataclass(kw_only=True)
class OneCycle(WarmUp):
    """Raise the learning rate from the factor `initial` to 1, then lower it to `final`, along cosines.

    The rise takes a fraction `rise` of the `epochs` epochs of the run.
    """

    epochs: int
    rise: float
    initial: float
    final: float

    @override
    def warm_factor(self, epoch: float) -> float:
        done = epoch / self.epochs
        if done < self.rise:
            return _cosine(self.initial, 1.0, done / self.rise)
        return _cosine(1.0, self.final, (done - self.rise) / (1 - self.rise))


class Plateau(WarmUp):
    """Multiply the learning rate by `gamma` when a quantity has not become better for `patience` epochs.

    Parameters
    ----------
    monitor
        The logged quantity.
    directions
        Whether higher is better, by the name of each logged quantity.
    patience
        Epochs to wait for a better value.
    gamma
        Factor of each step.
    warmup
        Epochs of the linear rise.
    """

    def __init__(self, monitor: str, directions: Directions, patience: int, gamma: float, warmup: float) -> None:
        super().__init__(warmup=warmup)
        self.monitor, self.patience, self.gamma = monitor, patience, gamma
        self.higher = directions[monitor]
        self._state = {"factor": 1.0, "best": math.inf, "waited": 0.0}

    @override
    def warm_factor(self, epoch: float) -> float:
        return self._state["factor"]

    @override
    def end_of_epoch(self, quantities: dict[str, float]) -> None:
        value = quantities[self.monitor]
        cost = -value if self.higher else value
        if cost < self._state["best"]:
            self._state |= {"best": cost, "waited": 0.0}
        else:
            self._state["waited"] += 1
        if self._state["waited"] >= self.patience:
            self._state |= {"factor": self._state["factor"] * self.gamma, "waited": 0.0}

    @override
    def state(self) -> dict[str, float]:
        return dict(self._state)

    @override
    def load_state(self, state: dict[str, float]) -> None:
        self._state |= state


def _cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(done, 1.0))) / 2
