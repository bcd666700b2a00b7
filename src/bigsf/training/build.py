"""Configuration -> everything that a training needs: data, folds, model, optimizer, loss, metrics."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from bigsf.errors import ConfigError, DataError, SnapshotError, warn
from bigsf.folds.folds import Folds
from bigsf.folds.folds_file import load_or_make_folds
from bigsf.folds.splits import Split
from bigsf.maps.fingerprint import MapFingerprint, recognise
from bigsf.metrics import Metric, build_metrics
from bigsf.models.device import compile_network, pick_device, resolve_precision
from bigsf.models.model_config import build_model
from bigsf.models.positions import position_lookup, warn_if_beyond_training
from bigsf.models.pretrained import NAMES
from bigsf.models.segmentation_model import SegmentationModel
from bigsf.patches.patch_file import PatchFile
from bigsf.training.checks import (
    check_labels,
    check_model,
    check_position,
    check_states,
    directions_of,
    warn_if_no_threshold,
)
from bigsf.training.components.early_stopping import Directions
from bigsf.training.components.losses import Loss
from bigsf.training.components.optimizers import Parameters
from bigsf.training.dataset import PatchDataset
from bigsf.training.distributed import World
from bigsf.training.fit import fit_to_data
from bigsf.training.run import TrainingRun, chosen_by
from bigsf.training.run_config import RunConfig, TrainerConfig
from bigsf.training.snapshot import Snapshot
from bigsf.training.state import TrainingState
from bigsf.training.training_maps import TrainingMap, as_training_map, fingerprints
from bigsf.training.training_windows import training_ranges

PATCHES_SEEN = 8000
"""Patches of all epochs together, by default. Twice as many find no more filaments (one simulated map, one seed)."""


@dataclass(frozen=True)
class Parts:
    """Objects handed to a trainer in place of those that the configuration would build.

    Examples
    --------
    >>> parts = bigsf.Parts(optimizer=lambda weights: torch.optim.NAdam(weights, lr=2e-3))
    >>> config = {"data": {"path": "galaxy.h5"}}
    >>> type(bigsf.Trainer.from_config(config, parts=parts, dry_run=True).run.state.optimizer).__name__
    'NAdam'
    """

    network: nn.Module | None = None
    """A network, as `trainer.model` describes; a snapshot keeps its weights only."""
    loss: Loss | None = None
    """A loss; `trainer.loss.unlabelled_weight` still holds."""
    optimizer: Callable[[Parameters], Optimizer] | None = None
    """A function from the parameters to an optimizer."""
    metrics: Mapping[str, Metric] | None = None
    """Metrics by name."""

    @property
    def names(self) -> list[str]:
        """The names of those that there are."""
        return [name for name, part in vars(self).items() if part is not None]

    @staticmethod
    def go_on_with(names: Sequence[str], path: Path) -> str:
        """Return how a run with parts of these names goes on from a snapshot or a run folder, in Python."""
        return f"bigsf.Trainer.from_snapshot('{path}', parts=bigsf.Parts({', '.join(f'{name}=...' for name in names)}))"


def open_data(config: RunConfig, world: World, write: bool = True) -> tuple[PatchFile, Folds]:
    """Open the patch file, and read the folds or make them.

    Parameters
    ----------
    config
        The configuration.
    world
        The processes that train together. The first one makes the folds file and the others read it.
    write
        Write a folds file that is absent, or that was edited by hand.

    Raises
    ------
    DataError
        Where the patch file has no labels, or the folds belong to other data.
    """
    patch_file = config.data.build()
    patch_file.labels()
    if world.size > 1:
        world.first(lambda: load_or_make_folds(patch_file, config.split, write))
    return patch_file, load_or_make_folds(patch_file, config.split, write=write)


def build_run(
    config: RunConfig,
    device: str | None = None,
    parts: Parts | None = None,
    world: World | None = None,
    write_folds: bool = True,
    resumed: bool = False,
) -> TrainingRun:
    """Build a training from its configuration.

    Parameters
    ----------
    config
        The whole configuration.
    device
        Name of the device; by default the GPU where there is one.
    parts
        Objects in place of those that the configuration would build.
    world
        The processes that train together; by default this one alone.
    write_folds
        Write a folds file that is absent, or that was edited by hand.
    resumed
        The state will come from a snapshot, so that `trainer.start_from` has no effect.

    Raises
    ------
    ConfigError, DataError
        Where the data cannot be trained on as the configuration asks.
    """
    parts, world = parts or Parts(), world or World()
    torch_device = pick_device(device, world.gpu if world.size > 1 else None)
    dtype = resolve_precision(config.trainer.precision, torch_device)
    patch_file, folds = open_data(config, world, write=write_folds)
    check_model(config, patch_file)
    if not resumed:
        check_position(config.trainer.model)
    for tracker in config.trainer.trackers:
        tracker.check()
    config = config.model_copy(update={"split": folds.config})
    split = _used_split(config, folds)
    check_labels(config, folds, [split])
    warn_if_no_threshold(folds, split)
    dataset = _build_dataset(config, patch_file, folds, split, torch_device, world)
    epochs = config.trainer.epochs or default_epochs(dataset.samples)
    trainer = config.trainer.model_copy(update={"epochs": epochs, "best_by": chosen_by(config.trainer)})
    config = config.model_copy(update={"trainer": trainer})
    torch.manual_seed(trainer.seed)
    start = _load_start(trainer.start_from, patch_file) if trainer.start_from and not resumed else None
    model = _build_model(config, parts.network, dataset, torch_device, start)
    own_map = as_training_map(MapFingerprint.of(patch_file))
    metrics = dict(build_metrics(trainer.metrics) if parts.metrics is None else parts.metrics)
    if world.size > 1:
        check_states(metrics)
    directions = directions_of(trainer, metrics)
    return TrainingRun(
        config=config,
        world=world,
        device=torch_device,
        dtype=dtype,
        patch_file=patch_file,
        folds=folds,
        split=split,
        dataset=dataset,
        loss=parts.loss or trainer.loss.build(),
        metrics=metrics,
        directions=directions,
        state=_build_state(
            trainer,
            epochs,
            directions,
            model,
            parts.optimizer,
            torch_device,
            dtype,
            [*(start.training_maps if start else []), own_map],
        ),
        handed_in=parts.names,
        window_ranges=training_ranges(dataset, trainer.batch_size),
    )


def _used_split(config: RunConfig, folds: Folds) -> Split:
    number = config.split.use
    if number > len(folds.splits):
        raise ConfigError(f"split.use is {number}; {config.split.path} has {len(folds.splits)} splits.")
    return folds.splits[number - 1]


def _build_dataset(
    config: RunConfig, patch_file: PatchFile, folds: Folds, split: Split, device: torch.device, world: World
) -> PatchDataset:
    """Return the batches of the training folds."""
    trainer, data = config.trainer, config.data
    position = trainer.model.position
    dataset = PatchDataset(
        patch_file,
        folds.training_patches(split.train, data.straddle),
        trainer.batch_size,
        trainer.seed,
        data.samples_per_epoch,
        partial(folds.visible_pixels, folds=split.train) if data.straddle else None,
        [augmentation.build() for augmentation in trainer.augmentations],
        position_lookup(position.coordinates if position else None, patch_file.wcs),
        device,
        world.rank,
        world.size,
    )
    if not len(dataset.indices):
        raise DataError(f"No patch lies in the training folds {split.train}. Use larger areas or smaller patches.")
    return dataset


def _build_model(
    config: RunConfig, network: nn.Module | None, dataset: PatchDataset, device: torch.device, start: Snapshot | None
) -> SegmentationModel:
    """Return the model: fitted to the data, with the weights that it starts from, on its device."""
    model = build_model(config.trainer.model, network)
    fit_to_data(model, config.trainer, dataset)
    if start:
        start.load_weights(model)
        here, there = (used.trainer.model.normalization for used in (config, start.config))
        if here != there:
            warn(
                f"trainer.start_from {config.trainer.start_from} was trained behind the normalization {there.type}, "
                f"and this run has {here.type}: its weights expect other numbers. Choose the same in "
                "trainer.model.normalization."
            )
        file = dataset.patch_file
        warn_if_beyond_training([model], file.shape, file.wcs, file.path.name)
    model.to(device)
    if config.trainer.compile:
        compile_network(model.network)
    return model


def _load_start(path: str | Path, patch_file: PatchFile) -> Snapshot:
    """Return the snapshot whose weights, statistics of the normalization and origin of positions a run starts from."""
    if str(path) not in NAMES and not Path(path).exists():
        raise SnapshotError(f"trainer.start_from: {path} does not exist. Name a snapshot, or {' or '.join(NAMES)}.")
    snapshot = Snapshot.load(path)
    if found := recognise(patch_file.path.name, patch_file, fingerprints(snapshot.training_maps)):
        warn(
            f"trainer.start_from {path}: {found}. It may have seen the labels of the test folds, so that test scores "
            "would be too high."
        )
    return snapshot


def _build_state(
    config: TrainerConfig,
    epochs: int,
    directions: Directions,
    model: SegmentationModel,
    build_optimizer: Callable[[Parameters], Optimizer] | None,
    device: torch.device,
    dtype: torch.dtype,
    training_maps: list[TrainingMap],
) -> TrainingState:
    """Return the state of a run before its first step."""
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError("The network has no weights that could be trained. Look at trainer.model, or at the parts.")
    optimizer = (build_optimizer or config.optimizer.build)(model.parameters())
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise ConfigError(f"The optimizer {type(optimizer).__name__} computes the loss itself; it cannot be used here.")
    for group in optimizer.param_groups:
        if isinstance(group["lr"], np.number):
            group["lr"] = float(group["lr"])  # plain data, which a snapshot gives back
        group["initial_lr"] = group["lr"]
    return TrainingState(
        model,
        optimizer,
        config.scheduler.build(epochs, directions) if config.scheduler else None,
        config.early_stopping.build(directions) if config.early_stopping else None,
        torch.amp.GradScaler(device.type, enabled=dtype == torch.float16),
        training_maps=training_maps,
    )


def default_epochs(samples: int) -> int:
    """Return the number of epochs of a run whose configuration does not say it, from the patches of an epoch."""
    return int(np.clip(math.ceil(PATCHES_SEEN / samples), 4, 200))
