"""All of a run that survives a restart, alive: the bridge between the trainer and its snapshots."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch.optim import Optimizer

from bigsf.errors import SnapshotError, out_of_memory
from bigsf.metrics.thresholds import Thresholds
from bigsf.models.segmentation_model import SegmentationModel
from bigsf.training.components.early_stopping import EarlyStopping, higher_is_better
from bigsf.training.components.schedulers import Scheduler
from bigsf.training.snapshot import Snapshot


@dataclass
class TrainingState:
    """A run between two steps.

    Randomness is a function of (seed, epoch, step), so that this is all there is.
    """

    model: SegmentationModel
    optimizer: Optimizer
    scheduler: Scheduler | None
    early_stopping: EarlyStopping | None
    scaler: torch.amp.GradScaler
    epochs_run: int = 0
    """Completed epochs."""
    steps_run: int = 0
    """Completed steps of the epoch after them."""
    partial_loss: tuple[float, float] = (0.0, 0.0)
    """Loss sum and weight of those steps, over all processes."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """Logged quantities, a row a completed epoch."""
    best: dict[str, float] = field(default_factory=dict)
    """Value and epoch of the best model so far; empty before the first."""
    thresholds: dict[str, float] = field(default_factory=lambda: {"whole": 0.5, "labelled": 0.5})
    """Thresholds of best Dice in the last validation."""
    stopped_early: bool = False
    """Whether early stopping has ended the run."""

    @property
    def is_new(self) -> bool:
        """Whether no step was taken yet."""
        return not self.epochs_run and not self.steps_run

    def set_learning_rate(self, epoch: float) -> None:
        """Set the learning rate to the schedule's at a time in epochs."""
        if self.scheduler:
            factor = self.scheduler.factor(epoch)
            for group in self.optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor

    def end_epoch(self, quantities: dict[str, float], thresholds: dict[str, float], best_by: str) -> bool:
        """Log an epoch and say whether its model is the best so far; one without a validation loss is not."""
        self.epochs_run, self.steps_run, self.partial_loss = self.epochs_run + 1, 0, (0.0, 0.0)
        self.history.append({"epoch": self.epochs_run, "lr": self.optimizer.param_groups[0]["lr"], **quantities})
        self.thresholds = thresholds
        if self.scheduler:
            self.scheduler.end_of_epoch(quantities)
        if self.early_stopping:
            self.stopped_early = self.early_stopping.should_stop(quantities)
        value = self.history[-1][best_by]
        sign = 1 if higher_is_better(best_by) else -1
        better = not self.best or sign * value > sign * self.best["value"]
        improved = better and math.isfinite(value) and math.isfinite(quantities["val_loss"])
        if improved:
            self.best = {"value": value, "epoch": self.epochs_run}
        return improved

    def snapshot(self, **identity: Any) -> Snapshot:
        """Return the run as a snapshot; `identity` are the fields of it that a state does not know."""
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
            best=self.best,
            thresholds=Thresholds(**self.thresholds),
            stopped_early=self.stopped_early,
            **identity,
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Go to where a snapshot stands.

        Raises
        ------
        SnapshotError
            Where its states are not those of this model, optimizer and scheduler.
        """
        snapshot.load_weights(self.model)
        try:
            self.optimizer.load_state_dict(snapshot.optimizer_state)
            if self.scheduler:
                self.scheduler.load_state(snapshot.scheduler_state)
            if self.early_stopping:
                self.early_stopping.load_state(snapshot.early_stopping_state)
            self.scaler.load_state_dict(snapshot.scaler_state)
        except Exception as error:  # each part has its own way of not finding what it expects
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
        self.history, self.best = list(snapshot.history), dict(snapshot.best)
        self.thresholds, self.stopped_early = asdict(snapshot.thresholds), snapshot.stopped_early
