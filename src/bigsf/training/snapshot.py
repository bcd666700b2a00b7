"""The snapshot of a run: a trained model, and all that training needs to go on."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

from bigsf.config import Config
from bigsf.errors import ConfigError, SnapshotError
from bigsf.metrics.thresholds import Thresholds
from bigsf.models.model_config import build_model
from bigsf.models.network import check_patch_size
from bigsf.models.pretrained import snapshot_path
from bigsf.models.segmentation_model import SegmentationModel
from bigsf.training.run_config import RunConfig
from bigsf.training.snapshot_file import read_fields, write_fields
from bigsf.training.training_maps import TrainingMap, is_sound
from bigsf.training.training_windows import are_sound
from bigsf.training.trust import reaches, refuse_untrusted

_LARGEST_PATCH = 2**14


@dataclass(repr=False)
class Snapshot:
    """The state of a run that survives a restart, and a self-contained model.

    Randomness is a function of (seed, epoch, step), so that the state of no random generator is needed.

    Examples
    --------
    >>> bigsf.Snapshot.load("higal-small").patch_size
    64
    """

    model_state: dict[str, torch.Tensor]
    """Weights of the network and statistics of the normalization."""
    optimizer_state: dict[str, Any]
    """State of the optimizer."""
    scheduler_state: dict[str, float]
    """State of the scheduler."""
    early_stopping_state: dict[str, float]
    """State of the early stopping."""
    scaler_state: dict[str, Any]
    """State of the gradient scaler of fp16; empty elsewhere."""
    global_config: dict[str, Any]
    """The whole resolved config."""
    epochs_run: int
    """Completed epochs."""
    steps_run: int
    """Completed steps of the epoch after them."""
    partial_loss: tuple[float, float]
    """Loss sum and weight of those steps, over all processes."""
    history: list[dict[str, Any]]
    """Logged quantities, one row per completed epoch."""
    best: dict[str, float]
    """`value` of the quantity that chooses best.pt, and its `epoch`; empty before the first best.pt."""
    thresholds: Thresholds
    """Thresholds of best Dice on the validation folds."""
    patch_size: int
    """Side in pixels of the windows that the model was trained on."""
    data_identity: str
    """Identity of the patch file."""
    folds_identity: str
    """Identity of the folds."""
    training_maps: list[TrainingMap]
    """Fingerprints of the map that the model was trained on, and of those of the model that it started from."""
    stopped_early: bool
    """Whether early stopping has ended the run."""
    machine: dict[str, Any]
    """The conditions for repeating the run bit for bit: device, processes, threads, number format, version of torch."""
    handed_in: list[str]
    """The names of the `Parts` that were handed to the trainer, so that the config cannot build them."""
    window_ranges: dict[str, tuple[float, float, float]]
    """5 % quantile, median and 95 % quantile of noise, smoothness, skewness and contrast over training patches
    (`models.window_statistics`); empty in snapshots of former formats."""
    beam_px: float | None
    """FWHM of the beam of the map in pixels, where its header says it."""

    def __repr__(self) -> str:
        weights = sum(tensor.numel() for tensor in self.model_state.values())
        return f"<bigsf.Snapshot after {self.epochs_run} epochs, {weights:,} weights, windows of {self.patch_size} px>"

    def save(self, path: Path) -> None:
        """Write the snapshot, whole or not at all.

        Raises
        ------
        ConfigError
            Where it holds what could not be read again, e.g. the state of a part of the user's own that is not plain.
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        write_fields(path, values | {"thresholds": asdict(self.thresholds)}, type(self))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a snapshot, or the model of a name such as "higal-small"; nothing in it is executed.

        Raises
        ------
        SnapshotError
            Where the file is no snapshot, is cut short, holds more than plain data, or has a newer format.
        """
        path = snapshot_path(path)
        snapshot = cls(**read_fields(path, cls))
        if odd := next(snapshot._odd_values(), None):
            raise SnapshotError(f"{path} is damaged: {odd}.")
        return snapshot

    def _odd_values(self) -> Iterator[str]:
        """Yield what cannot be in the snapshot of any run."""
        if not 1 <= self.patch_size <= _LARGEST_PATCH:
            yield f"its patch size is {self.patch_size}"
        if min(self.epochs_run, self.steps_run) < 0:
            yield f"it has run {self.epochs_run} epochs and {self.steps_run} steps"
        epochs = [row.get("epoch") for row in self.history]
        if len(epochs) != self.epochs_run or epochs != list(range(1, len(epochs) + 1)):
            yield f"its history is not of {self.epochs_run} epochs"
        if any(row.keys() != self.history[0].keys() for row in self.history):
            yield "the rows of its history have different names"
        if not all(isinstance(value, int | float) for row in self.history for value in row.values()):
            yield "its history holds what is no number"
        if not all(0 <= threshold <= 1 for threshold in asdict(self.thresholds).values()):
            yield f"its thresholds are {self.thresholds.whole} and {self.thresholds.labelled}"
        if self.best and (self.best.keys() != {"value", "epoch"} or not 1 <= self.best["epoch"] <= self.epochs_run):
            yield f"its best model is {self.best}"
        if not all(map(is_sound, self.training_maps)):
            yield "the fingerprints of its training maps cannot be read"
        if not are_sound(self.window_ranges):
            yield f"its ranges of windows are {self.window_ranges}"
        if self.beam_px is not None and not 0 < self.beam_px < math.inf:
            yield f"its beam is {self.beam_px} pixels"

    @property
    def config(self) -> RunConfig:
        """The configuration, validated again."""
        try:
            return RunConfig.from_dict(self.global_config)
        except ConfigError as error:
            raise SnapshotError(f"The configuration in the snapshot cannot be used: {error}") from None

    def build_model(self, network: nn.Module | None = None, trust: bool | Config = False) -> SegmentationModel:
        """Return the trained model.

        Parameters
        ----------
        network
            The network, where it was handed to the trainer as an object; its weights are replaced.
        trust
            Run the code that the snapshot names, or only what of it a config names too.

        Raises
        ------
        SnapshotError
            Where the weights do not fit the architecture of the config, the network must be handed in, or a custom
            target is not trusted.
        """
        config = self.config.trainer.model
        refuse_untrusted(config, "The snapshot", trust)
        if network is None:
            self.check_network()
        model = build_model(config, network)
        self.load_weights(model)
        return model

    def check_network(self) -> None:
        """Check, before the network of the config is made, that it is that of the weights: it may take all memory.

        Raises
        ------
        SnapshotError
            Where it has other weights, does not take patches of this size, or was handed to the trainer.
        """
        if "network" in self.handed_in:
            raise SnapshotError(
                "This snapshot's network was handed to the Trainer as an object. Use it in Python, and hand the "
                "network in again: network=..."
            )
        config = self.config.trainer.model
        if config.type == "custom":
            return
        try:
            check_patch_size(self.patch_size, config.patch_multiple, config.type)
        except ConfigError as error:
            raise SnapshotError(f"The snapshot is damaged. {error}") from None
        if not reaches(config):  # code of others may compute with its tensors, which meta tensors cannot
            with torch.device("meta"):
                self._check_shapes(build_model(config))

    def load_weights(self, model: SegmentationModel) -> None:
        """Give a model the weights.

        Raises
        ------
        SnapshotError
            Where they do not fit its architecture.
        """
        self._check_shapes(model)
        model.load_state_dict(self.model_state)

    def _check_shapes(self, model: SegmentationModel) -> None:
        """Raise `SnapshotError` where the weights have other names or shapes than those of a model."""
        here = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        there = {name: tuple(tensor.shape) for name, tensor in self.model_state.items()}
        if odd := [name for name in {**there, **here} if here.get(name) != there.get(name)]:
            raise SnapshotError(
                f"The weights of the snapshot do not fit the network of the config: {odd[0]} is "
                f"{there.get(odd[0], 'absent')} there and {here.get(odd[0], 'absent')} here, and {len(odd) - 1} more "
                f"of {len({**there, **here})} differ."
            )
