"""The family of schedulers of the learning rate, and their configurations."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from typing_extensions import override

from bigsf.config import Component, CustomConfig, ignore_tag_case
from bigsf.training.components.early_stopping import Directions
from bigsf.training.components.schedules import Cosine, Exponential, MultiStep, OneCycle, Plateau, Scheduler, Step


class SchedulerComponent(Component[Scheduler]):
    """The part common to the configurations of all schedulers."""

    depends_on_total: ClassVar[bool] = False
    """Whether the schedule depends on the number of epochs, so that extending a run changes it."""

    @override
    def build(self, epochs: int, directions: Directions) -> Scheduler:
        """Return the scheduler of a run of `epochs` epochs, given the directions of its logged quantities."""
        return super().build(epochs=epochs, directions=directions)


class SchedulerConfig(SchedulerComponent):
    """The part common to all schedulers of BigSF."""

    warmup: NonNegativeFloat = 0.0
    """Epochs during which the learning rate grows linearly from 0."""


class StepConfig(SchedulerConfig, builds=Step):
    """Multiply the learning rate by `gamma` every `every` epochs."""

    type: Literal["step"]

    every: PositiveInt = 10
    """Epochs between two steps."""

    gamma: PositiveFloat = 0.1
    """Factor of each step."""


class MultiStepConfig(SchedulerConfig, builds=MultiStep):
    """Multiply the learning rate by `gamma` at each milestone."""

    type: Literal["multistep"]

    milestones: list[PositiveInt] = [10, 20]
    """Completed epochs after which a step is made."""

    gamma: PositiveFloat = 0.1
    """Factor of each step."""


class ExponentialConfig(SchedulerConfig, builds=Exponential):
    """Multiply the learning rate by `gamma` each epoch."""

    type: Literal["exponential"]

    gamma: PositiveFloat = 0.95
    """Factor of each epoch."""


class CosineConfig(SchedulerConfig, builds=Cosine):
    """Lower the learning rate along half a cosine to `final` (Loshchilov & Hutter 2017)."""

    depends_on_total: ClassVar[bool] = True

    type: Literal["cosine"]

    final: NonNegativeFloat = 0.0
    """The factor at the end."""


class OneCycleConfig(SchedulerConfig, builds=OneCycle):
    """Raise the learning rate from `initial` to 1, then lower it to `final` (Smith & Topin 2019), along cosines."""

    depends_on_total: ClassVar[bool] = True

    type: Literal["onecycle"]

    rise: float = Field(default=0.3, gt=0, lt=1)
    """Fraction of the run in which the learning rate grows."""

    initial: PositiveFloat = 0.04
    """The factor at the start."""

    final: NonNegativeFloat = 0.0
    """The factor at the end."""


class PlateauConfig(SchedulerConfig, builds=Plateau):
    """Multiply the learning rate by `gamma` when a quantity has not become better for `patience` epochs."""

    type: Literal["plateau"]

    monitor: str = "val_loss"
    """The logged quantity. Losses are to fall, and a metric says itself whether higher is better."""

    patience: PositiveInt = 5
    """Epochs to wait."""

    gamma: PositiveFloat = 0.1
    """Factor of each step."""


class CustomSchedulerConfig(SchedulerComponent, CustomConfig[Scheduler]):
    """A `Scheduler` of your own: called with `epochs` and `kwargs`."""

    depends_on_total: ClassVar[bool] = True
    methods: ClassVar[tuple[str, ...]] = ("factor", "end_of_epoch", "state", "load_state")

    @override
    def build(self, epochs: int, directions: Directions) -> Scheduler:
        return CustomConfig.build(self, epochs=epochs)


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
