"""Everything that one training needs, in one place."""

from dataclasses import dataclass
from typing import Any

import torch

from bigsf.folds.folds import Folds
from bigsf.folds.splits import Split
from bigsf.metrics import Metric
from bigsf.models.segmentation_model import SegmentationModel
from bigsf.models.window_statistics import Quantity, Range
from bigsf.patches.patch_file import PatchFile
from bigsf.training.components.early_stopping import Directions
from bigsf.training.components.losses import Loss
from bigsf.training.dataset import PatchDataset
from bigsf.training.distributed import World
from bigsf.training.run_config import RunConfig, TrainerConfig
from bigsf.training.state import TrainingState


@dataclass(frozen=True)
class TrainingRun:
    """Everything that one training needs; only `state` changes while it runs."""

    config: RunConfig
    """The resolved configuration: with the parameters of the folds, the number of epochs, and what chooses best.pt."""
    world: World
    """The processes that train together."""
    device: torch.device
    """Where the network runs."""
    dtype: torch.dtype
    """The number format in which it runs."""
    patch_file: PatchFile
    """The data."""
    folds: Folds
    """The spatial folds of the data."""
    split: Split
    """The folds that train, validate and test this model."""
    dataset: PatchDataset
    """The batches of this process."""
    loss: Loss
    """The loss."""
    metrics: dict[str, Metric]
    """Metrics by name."""
    directions: Directions
    """Whether higher values are better, by the name of each logged quantity that has better and worse values."""
    state: TrainingState
    """Model, optimizer and scheduler, and how far they have come."""
    handed_in: list[str]
    """The names of the `Parts` from the caller, which the configuration cannot build."""
    window_ranges: dict[Quantity, Range]
    """What the model can learn of noise, smoothness, skewness and contrast, see `training_ranges`."""

    @property
    def environment(self) -> dict[str, Any]:
        """What is recorded of the run beside its configuration."""
        return {**self.machine, "handed_in": self.handed_in}

    @property
    def model(self) -> SegmentationModel:
        """The model that is trained."""
        return self.state.model

    @property
    def epochs(self) -> int:
        """The number of epochs of the run."""
        epochs = self.config.trainer.epochs
        assert epochs is not None, "build_run fills it in"
        return epochs

    @property
    def best_by(self) -> str:
        """The logged quantity that chooses best.pt."""
        return chosen_by(self.config.trainer)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train."""
        return self.state.stopped_early or self.state.epochs_run >= self.epochs

    @property
    def machine(self) -> dict[str, Any]:
        """The conditions under which the run can be repeated bit for bit."""
        on_gpu = self.device.type == "cuda"
        return {
            "device": torch.cuda.get_device_name(self.device) if on_gpu else torch.backends.cpu.get_cpu_capability(),
            "processes": self.world.size,
            "threads": torch.get_num_threads(),
            "precision": str(self.dtype).removeprefix("torch."),
            "torch": str(torch.__version__),
        }


def chosen_by(config: TrainerConfig) -> str:
    """Return the logged quantity that chooses best.pt: `epoch`, the last, where early stopping watches `train_loss`."""
    if config.best_by is None and config.early_stopping:
        monitor = str(getattr(config.early_stopping, "monitor", "val_loss"))
        return "epoch" if monitor.startswith("train_") else monitor
    return config.best_by or "epoch"
