"""How the learning rate changes: the family of schedulers.

A schedule is a factor on the optimizer's learning rate as a function of the step, so that a resumed run cannot differ
from an undisturbed one; only `plateau` keeps a state, which is saved.
"""

import math
from typing import Annotated, Literal, Protocol, cast

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from bigsf.config import Config, CustomConfig, ignore_tag_case


class Scheduler(Protocol):
    """A factor on the learning rate."""

    def factor(self, epoch: float) -> float:
        """Return the factor at a time in epochs, e.g. 1.5 in the middle of the second epoch."""
        ...

    def end_of_epoch(self, quantities: dict[str, float]) -> None:
        """Take note of the quantities logged for an epoch."""
        return

    def state(self) -> dict[str, float]:
        """Return what must survive a restart."""
        return {}

    def load_state(self, state: dict[str, float]) -> None:
        """Take up a saved state."""
        return


class SchedulerConfig(Config):
    """The part common to all schedulers."""

    warmup: NonNegativeFloat = 0.0
    """Epochs during which the learning rate grows linearly from 0."""

    @property
    def depends_on_total(self) -> bool:
        """Whether the schedule depends on the number of epochs, so that extending a run changes it."""
        return False


class StepConfig(SchedulerConfig):
    """Multiply the learning rate by `gamma` every `every` epochs."""

    type: Literal["step"]

    every: PositiveInt = 10
    """Epochs between two steps."""

    gamma: PositiveFloat = 0.1
    """Factor of each step."""

    def build(self, epochs: int) -> Scheduler:
        """Return the scheduler of a run of `epochs` epochs."""
        return Schedule(self.warmup, lambda epoch: self.gamma ** (math.floor(epoch) // self.every))


class MultiStepConfig(SchedulerConfig):
    """Multiply the learning rate by `gamma` at each milestone."""

    type: Literal["multistep"]

    milestones: list[PositiveInt] = [10, 20]
    """Completed epochs after which a step is made."""

    gamma: PositiveFloat = 0.1
    """Factor of each step."""

    def build(self, epochs: int) -> Scheduler:
        """Return the scheduler of a run of `epochs` epochs."""
        return Schedule(self.warmup, lambda epoch: self.gamma ** sum(epoch >= m for m in self.milestones))


class ExponentialConfig(SchedulerConfig):
    """Multiply the learning rate by `gamma` each epoch."""

    type: Literal["exponential"]

    gamma: PositiveFloat = 0.95
    """Factor of each epoch."""

    def build(self, epochs: int) -> Scheduler:
        """Return the scheduler of a run of `epochs` epochs."""
        return Schedule(self.warmup, lambda epoch: self.gamma ** math.floor(epoch))


class CosineConfig(SchedulerConfig):
    """Lower the learning rate along half a cosine to `final` (Loshchilov & Hutter 2017)."""

    type: Literal["cosine"]

    final: NonNegativeFloat = 0.0
    """The factor at the end."""

    @property
    def depends_on_total(self) -> bool:
        """It ends with the run."""
        return True

    def build(self, epochs: int) -> Scheduler:
        """Return the scheduler of a run of `epochs` epochs."""
        return Schedule(self.warmup, lambda epoch: _cosine(1.0, self.final, epoch / epochs))


class OneCycleConfig(SchedulerConfig):
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

    def build(self, epochs: int) -> Scheduler:
        """Return the scheduler of a run of `epochs` epochs."""

        def factor(epoch: float) -> float:
            done = epoch / epochs
            if done < self.rise:
                return _cosine(self.initial, 1.0, done / self.rise)
            return _cosine(1.0, self.final, (done - self.rise) / (1 - self.rise))

        return Schedule(self.warmup, factor)


class PlateauConfig(SchedulerConfig):
    """Multiply the learning rate by `gamma` when a quantity has not become better for `patience` epochs."""

    type: Literal["plateau"]

    monitor: str = "val_loss"
    """The logged quantity; losses are to fall, all else to rise."""

    patience: PositiveInt = 5
    """Epochs to wait."""

    gamma: PositiveFloat = 0.1
    """Factor of each step."""

    def build(self, epochs: int) -> Scheduler:
        """Return the scheduler of a run of `epochs` epochs."""
        return Plateau(self.warmup, self.monitor, self.patience, self.gamma)


class CustomSchedulerConfig(CustomConfig):
    """A `Scheduler` of your own: called with `epochs` and `kwargs`."""

    @property
    def depends_on_total(self) -> bool:
        """It is told the number of epochs."""
        return True

    def build(self, epochs: int) -> Scheduler:
        """Import and call the target."""
        return cast(Scheduler, self.call(epochs=epochs))


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


class _Curve(Protocol):
    def __call__(self, epoch: float, /) -> float: ...


class Schedule(Scheduler):
    """A factor that is a function of time alone.

    Parameters
    ----------
    warmup
        Epochs of linear growth from 0.
    curve
        The factor as a function of the time in epochs.
    """

    def __init__(self, warmup: float, curve: _Curve) -> None:
        self.warmup, self.curve = warmup, curve

    def factor(self, epoch: float) -> float:  # noqa: D102
        return self.curve(epoch) * (min(1.0, epoch / self.warmup) if self.warmup else 1.0)


class Plateau(Scheduler):
    """A factor that falls when a quantity stays.

    Parameters
    ----------
    warmup
        Epochs of linear growth from 0.
    monitor
        The logged quantity.
    patience
        Epochs to wait for a better value.
    gamma
        Factor of each step.
    """

    def __init__(self, warmup: float, monitor: str, patience: int, gamma: float) -> None:
        self.warmup, self.monitor, self.patience, self.gamma = warmup, monitor, patience, gamma
        self._state = {"factor": 1.0, "best": math.inf, "waited": 0.0}

    def factor(self, epoch: float) -> float:  # noqa: D102
        return self._state["factor"] * (min(1.0, epoch / self.warmup) if self.warmup else 1.0)

    def end_of_epoch(self, quantities: dict[str, float]) -> None:  # noqa: D102
        value = quantities[self.monitor]
        cost = value if self.monitor.endswith("loss") else -value
        if cost < self._state["best"]:
            self._state |= {"best": cost, "waited": 0.0}
        else:
            self._state["waited"] += 1
        if self._state["waited"] >= self.patience:
            self._state |= {"factor": self._state["factor"] * self.gamma, "waited": 0.0}

    def state(self) -> dict[str, float]:  # noqa: D102
        return dict(self._state)

    def load_state(self, state: dict[str, float]) -> None:  # noqa: D102
        self._state |= state


def _cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(done, 1.0))) / 2
