"""The state of a training between two steps, and its way to a snapshot and back."""

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import torch
from torch.optim import Optimizer

from bigsf.errors import ConfigError, SnapshotError, TrainingError, out_of_memory
from bigsf.metrics.thresholds import Thresholds
from bigsf.models.segmentation_model import SegmentationModel
from bigsf.training.components.early_stopping import Directions, EarlyStopping
from bigsf.training.components.muon import Muon
from bigsf.training.components.schedules import Scheduler
from bigsf.training.snapshot import Snapshot
from bigsf.training.training_maps import TrainingMap

_ELEMENTWISE = (torch.optim.Adam, torch.optim.AdamW, Muon, torch.optim.SGD, torch.optim.RMSprop)
"""Optimizers whose states are numbers, or arrays of the shape of a parameter."""


class Best(NamedTuple):
    """The model that best.pt holds."""

    value: float
    """Its value of the quantity that chooses best.pt."""
    epoch: int
    """The epoch after which it was saved, from 1."""


@dataclass
class TrainingState:
    """A run between two steps.

    Randomness is a function of (seed, epoch, step), so that a run has no other state.
    """

    model: SegmentationModel
    """The model that is trained."""
    optimizer: Optimizer
    """What changes its weights."""
    scheduler: Scheduler | None
    """What sets the learning rate; None: it is constant."""
    early_stopping: EarlyStopping | None
    """What ends the run before its last epoch; None: nothing does."""
    scaler: torch.amp.GradScaler
    """What scales the loss in fp16."""
    epochs_run: int = 0
    """Completed epochs."""
    steps_run: int = 0
    """Completed steps of the epoch after them."""
    partial_loss: tuple[float, float] = (0.0, 0.0)
    """Loss sum and weight of those steps, over all processes."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """Logged quantities, one row per completed epoch."""
    best: Best | None = None
    """The best model so far; None before the first."""
    thresholds: Thresholds = field(default_factory=lambda: Thresholds(whole=0.5, labelled=0.5))
    """Thresholds of best Dice in the last validation."""
    stopped_early: bool = False
    """Whether early stopping has ended the run."""
    training_maps: list[TrainingMap] = field(default_factory=list)
    """Fingerprints of the maps that the model was trained on, that of this run last."""

    @property
    def is_new(self) -> bool:
        """Whether no step was taken yet."""
        return not self.epochs_run and not self.steps_run

    @property
    def is_best(self) -> bool:
        """Whether the epoch that ended last is the best so far."""
        return self.best is not None and self.best.epoch == self.epochs_run

    @property
    def is_at_best(self) -> bool:
        """Whether the weights are those of the best model so far: no step was taken after its epoch."""
        return self.is_best and not self.steps_run

    def set_learning_rate(self, epoch: float) -> None:
        """Set the learning rate of the schedule at a time in epochs.

        Raises
        ------
        TrainingError
            Where it is no number, or too large for float32.
        """
        if self.scheduler:
            factor = float(self.scheduler.factor(epoch))
            for group in self.optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor
                if not abs(group["lr"]) <= torch.finfo(torch.float32).max:
                    raise TrainingError(
                        f"The learning rate of epoch {int(epoch) + 1} would be {group['lr']:.3g}. Check the gamma of "
                        "trainer.scheduler, or train anew where the snapshot is damaged."
                    )

    def end_epoch(
        self, quantities: dict[str, float], thresholds: Thresholds, best_by: str, directions: Directions
    ) -> None:
        """Log an epoch, and note its model as the best so far where it is; without a validation loss it is not.

        Raises
        ------
        ConfigError
            Where other quantities were logged in the epochs before.
        """
        row = {"epoch": self.epochs_run + 1, "lr": self.optimizer.param_groups[0]["lr"], **quantities}
        if self.history and row.keys() != self.history[0].keys():
            raise ConfigError(
                f"This epoch logs {', '.join(row)}, but the epochs before logged {', '.join(self.history[0])}. "
                "Hand in the metrics that the run was started with."
            )
        self.epochs_run, self.steps_run, self.partial_loss = self.epochs_run + 1, 0, (0.0, 0.0)
        self.history.append(row)
        self.thresholds = thresholds
        if self.scheduler:
            self.scheduler.end_of_epoch(quantities)
        if self.early_stopping:
            self.stopped_early = bool(self.early_stopping.should_stop(quantities))
        value = self.history[-1][best_by]
        sign = 1 if directions[best_by] else -1
        better = self.best is None or sign * value > sign * self.best.value
        if better and math.isfinite(value) and math.isfinite(quantities["val_loss"]):
            self.best = Best(value, self.epochs_run)

    def snapshot(self, **identity: Any) -> Snapshot:
        """Return the run as a snapshot; `identity` holds the fields that are not part of the state."""
        return Snapshot(
            model_state=self.model.state_dict(),
            optimizer_state=self.optimizer.state_dict(),
            scheduler_state=self.scheduler.state() if self.scheduler else {},
            early_stopping_state=self.early_stopping.state() if self.early_stopping else {},
            scaler_state=self.scaler.state_dict(),
            epochs_run=self.epochs_run,
            steps_run=self.steps_run,
            partial_loss=self.partial_loss,
            history=self.history,
            best={} if self.best is None else self.best._asdict(),
            thresholds=self.thresholds,
            stopped_early=self.stopped_early,
            training_maps=self.training_maps,
            **identity,
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Take up the state of a snapshot.

        Raises
        ------
        SnapshotError
            Where it is not a state of this model, optimizer and scheduler.
        """
        snapshot.load_weights(self.model)
        try:
            _restore_optimizer(self.optimizer, snapshot.optimizer_state)
            if self.scheduler:
                self.scheduler.load_state(snapshot.scheduler_state)
            if self.early_stopping:
                self.early_stopping.load_state(snapshot.early_stopping_state)
            self.scaler.load_state_dict(snapshot.scaler_state)
        except Exception as error:  # each part raises another kind for a state that is not its own
            if out_of_memory(error):
                raise
            raise SnapshotError(
                f"The optimizer, scheduler or early stopping cannot go on from the snapshot's state: {error!r}. "
                "trainer.start_from takes its weights alone."
            ) from error
        self.epochs_run, self.steps_run, self.partial_loss = (
            snapshot.epochs_run,
            snapshot.steps_run,
            snapshot.partial_loss,
        )
        self.history = list(snapshot.history)
        self.best = Best(snapshot.best["value"], int(snapshot.best["epoch"])) if snapshot.best else None
        self.thresholds, self.stopped_early = snapshot.thresholds, snapshot.stopped_early
        self.training_maps = [*snapshot.training_maps[:-1], *self.training_maps[-1:]]  # its own is the newer record


def _restore_optimizer(optimizer: Optimizer, saved: dict[str, Any]) -> None:
    """Give an optimizer a saved state, e.g. the mean gradient of each parameter, and its learning rate.

    All other settings stay those of the configuration. Optimizers of other families may keep states of other shapes,
    e.g. Adafactor those of rows and columns, and change their settings: they take all that was saved.

    Raises
    ------
    ValueError
        Where the learning rate is no number, or the state of a parameter is no array of real numbers, or has not the
        shape of the parameter.
    """
    settings = [{**group} for group in optimizer.param_groups]
    optimizer.load_state_dict(saved)
    if type(optimizer) not in _ELEMENTWISE:
        return
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        group.update({name: value for name, value in own.items() if name not in ("params", "lr")})
        if not isinstance(group["lr"], float | int) or not 0 <= group["lr"] < math.inf:
            raise ValueError(f"the learning rate is {group['lr']!r}")
    names = _state_names(optimizer)
    for parameter, state in optimizer.state.items():
        if missing := ", ".join(sorted(names[parameter] - state.keys())):
            raise ValueError(f"{missing} is missing")
        for name, value in state.items():
            if value is None and isinstance(optimizer, torch.optim.SGD):  # its momentum before its first step
                continue
            if not isinstance(value, torch.Tensor) or not value.is_floating_point():
                raise ValueError(f"{name} is no array of real numbers")
            shape = torch.Size() if name == "step" else parameter.shape
            if value.shape != shape:
                raise ValueError(f"{name} has the shape {tuple(value.shape)} instead of {tuple(shape)}")
            if name == "step" and not value >= 0:
                raise ValueError(f"{name} is {float(value)}")
            state[name] = value.clone()  # those of a file may share memory


def _state_names(optimizer: Optimizer) -> dict[torch.Tensor, set[str]]:
    """Return what an optimizer keeps of each parameter, from a step of another one with its settings."""
    copies = {p: torch.zeros_like(p, requires_grad=True) for group in optimizer.param_groups for p in group["params"]}
    for copy in copies.values():
        copy.grad = torch.zeros_like(copy)
    groups = [{**group, "params": [copies[p] for p in group["params"]]} for group in optimizer.param_groups]
    other = cast(Any, type(optimizer))(groups)
    other.step()
    return {parameter: set(other.state[copy]) for parameter, copy in copies.items()}
