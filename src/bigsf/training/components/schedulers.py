"""Epoch -> learning rate: the family of schedulers.

A schedule is a factor on the learning rate of the optimizer. It is a function of time alone, so that a resumed run has
the learning rates of a run that was never stopped. Only `plateau` has a state, which is saved in the snapshot.
"""

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Literal, Protocol

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from typing_extensions import override

from bigsf.config import Component, CustomConfig, ignore_tag_case


class Scheduler(Protocol):
    """A factor on the learning rate."""

    def factor(self, epoch: float) -> float:
        """Return the factor at a time in epochs, e.g. 1.5 in the middle of the second epoch."""
        ...

    def end_of_epoch(self, quantities: dict[str, float]) -> None:
        """Take the quantities that are logged for an epoch."""
        return

    def state(self) -> dict[str, float]:
        """Return the state that a resumed run needs."""
        return {}

    def load_state(self, state: dict[str, float]) -> None:
        """Continue from a saved state."""
        return


class Schedule(Scheduler):
    """A factor that is a function of time alone.

    Parameters
    ----------
    warmup
        Epochs of linear growth from 0.
    curve
        The factor as a function of the time in epochs.
    """

    def __init__(self, warmup: float, curve: Callable[[float], float]) -> None:
        self.warmup, self.curve = warmup, curve

    @override
    def factor(self, epoch: float) -> float:
        return self.curve(epoch) * (min(1.0, epoch / self.warmup) if self.warmup else 1.0)


def step_schedule(epochs: int, warmup: float, every: int, gamma: float) -> Scheduler:
    """Return a schedule that multiplies the learning rate by `gamma` every `every` epochs."""
    return Schedule(warmup, lambda epoch: gamma ** (math.floor(epoch) // every))


def multistep_schedule(epochs: int, warmup: float, milestones: Sequence[int], gamma: float) -> Scheduler:
    """Return a schedule that multiplies the learning rate by `gamma` at each milestone."""
    return Schedule(warmup, lambda epoch: gamma ** sum(epoch >= milestone for milestone in milestones))


def exponential_schedule(epochs: int, warmup: float, gamma: float) -> Scheduler:
    """Return a schedule that multiplies the learning rate by `gamma` each epoch."""
    return Schedule(warmup, lambda epoch: gamma ** math.floor(epoch))


def cosine_schedule(epochs: int, warmup: float, final: float) -> Scheduler:
    """Return a schedule that falls along half a cosine to `final` at the end of the run."""
    return Schedule(warmup, lambda epoch: _cosine(1.0, final, epoch / epochs))


def onecycle_schedule(epochs: int, warmup: float, rise: float, initial: float, final: float) -> Scheduler:
    """Return a schedule that grows from `initial` to 1 in a part `rise` of the run, and then falls to `final`."""

    def curve(epoch: float) -> float:
        done = epoch / epochs
        if done < rise:
            return _cosine(initial, 1.0, done / rise)
        return _cosine(1.0, final, (done - rise) / (1 - rise))

    return Schedule(warmup, curve)


def _cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(done, 1.0))) / 2


class Plateau(Scheduler):
    """A factor that falls when a logged quantity does not become better.

    Parameters
    ----------
    epochs
        Epochs of the run; they have no effect.
    warmup
        Epochs of linear growth from 0.
    monitor
        The logged quantity.
    patience
        Epochs to wait for a better value.
    gamma
        Factor of each step.
    """

    def __init__(self, epochs: int, warmup: float, monitor: str, patience: int, gamma: float) -> None:
        self.warmup, self.monitor, self.patience, self.gamma = warmup, monitor, patience, gamma
        self._state = {"factor": 1.0, "best": math.inf, "waited": 0.0}

    @override
    def factor(self, epoch: float) -> float:
        return self._state["factor"] * (min(1.0, epoch / self.warmup) if self.warmup else 1.0)

    @override
    def end_of_epoch(self, quantities: dict[str, float]) -> None:
        value = quantities[self.monitor]
        cost = value if self.monitor.endswith("loss") else -value
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


class SchedulerConfig(Component[Scheduler]):
    """The part common to all schedulers."""

    warmup: NonNegativeFloat = 0.0
    """Epochs during which the learning rate grows linearly from 0."""

    @property
    def depends_on_total(self) -> bool:
        """Whether the schedule depends on the number of epochs, so that extending a run changes it."""
        return False


class StepConfig(SchedulerConfig, builds=step_schedule):
    """Multiply the learning rate by `gamma` every `every` epochs."""

    type: Literal["step"]

    every: PositiveInt = 10
    """Epochs between two steps."""

    gamma: PositiveFloat = 0.1
    """Factor of each step."""


class MultiStepConfig(SchedulerConfig, builds=multistep_schedule):
    """Multiply the learning rate by `gamma` at each milestone."""

    type: Literal["multistep"]

    milestones: list[PositiveInt] = [10, 20]
    """Completed epochs after which a step is made."""

    gamma: PositiveFloat = 0.1
    """Factor of each step."""


class ExponentialConfig(SchedulerConfig, builds=exponential_schedule):
    """Multiply the learning rate by `gamma` each epoch."""

    type: Literal["exponential"]

    gamma: PositiveFloat = 0.95
    """Factor of each epoch."""


class CosineConfig(SchedulerConfig, builds=cosine_schedule):
    """Lower the learning rate along half a cosine to `final` (Loshchilov & Hutter 2017)."""

    type: Literal["cosine"]

    final: NonNegativeFloat = 0.0
    """The factor at the end."""

    @property
    def depends_on_total(self) -> bool:
        """It ends with the run."""
        return True


class OneCycleConfig(SchedulerConfig, builds=onecycle_schedule):
    """Raise the learning rate from `initial` to 1, then lower it to `final` (Smith & Topin 2019), along cosines."""

    type: Literal["onecycle"]

    rise: float = Field(default=0.3, gt=0, lt=1)
    """Fraction of the run in which the learning rate grows."""

    initial: PositiveFloat = 0.04
    """The factor at the start."""

    final: NonNegativeFloat = 0.0
    """The factor at the end."""

    @property
    def depends_on_total(self) -> bool:
        """It ends with the run."""
        return True


class PlateauConfig(SchedulerConfig, builds=Plateau):
    """Multiply the learning rate by `gamma` when a quantity has not become better for `patience` epochs."""

    type: Literal["plateau"]

    monitor: str = "val_loss"
    """The logged quantity; losses are to fall, all else to rise."""

    patience: PositiveInt = 5
    """Epochs to wait."""

    gamma: PositiveFloat = 0.1
    """Factor of each step."""


class CustomSchedulerConfig(CustomConfig[Scheduler]):
    """A `Scheduler` of your own: called with `epochs` and `kwargs`."""

    @property
    def depends_on_total(self) -> bool:
        """It is told the number of epochs."""
        return True


AnySchedulerConfig = Annotated[
    Annotated[
        StepConfig
        | MultiStepConfig
        | ExponentialConfig
        | CosineConfig
        | OneCycleConfig
        | PlateauConfig
        | CustomSchedulerConfig,
        Field(discriminator="type"),
    ],
    ignore_tag_case,
]
