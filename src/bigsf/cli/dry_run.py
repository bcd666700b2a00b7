"""What a run will take: the time of a step and of a window, times their numbers."""

from typing import TYPE_CHECKING

from bigsf import console
from bigsf.console import print_line

if TYPE_CHECKING:
    from bigsf.folds.folds import Folds
    from bigsf.training.trainer import Trainer
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

from bigsf.arrays import IntArray
from bigsf.folds.folds import Folds
from bigsf.maps.tiling import window_starts
from bigsf.models.device import autocast
from bigsf.models.segmentation_model import with_folded_norms

if TYPE_CHECKING:
    from bigsf.training.trainer import Trainer


def describe(trainer: "Trainer", kfold: bool = False, only: int | None = None) -> None:
    """Show the resolved configuration of a run, of the runs of a k-fold or `only` one of them, and what they cost."""
    from bigsf.cli.dry_run import count_windows, seconds_per_step, seconds_per_window

    config, folds = trainer.config.trainer, trainer.folds
    print_line(trainer.config.to_yaml())
    parameters = sum(parameter.numel() for parameter in trainer.model.parameters())
    for fold, count in folds.counts.items():
        print_line(f"# fold {fold}: {count['patches']:,} patches, {count['labelled']:,} labelled pixels")
    chosen = only or (None if kfold else trainer.config.split.use)
    numbers = [chosen] if chosen else range(1, len(folds.splits) + 1)
    splits = [folds.splits[number - 1] for number in numbers]
    for number, split in zip(numbers, splits, strict=True):
        patches = len(folds.training_patches(split.train, trainer.config.data.straddle))
        print_line(f"# split {number} of {len(folds.splits)} [train, valid, test]: {list(split)}, {patches:,} patches")
    print_line(f"# {trainer.dataset.samples:,} training patches and {trainer.dataset.steps:,} steps an epoch")
    print_line(
        f"# network of {parameters:,} parameters in {str(trainer.dtype).removeprefix('torch.')} on {trainer.device}"
    )
    batch = trainer.dataset.batch(0, 0)
    memory = trainer.model.training_bytes(batch.image, batch.position)
    print_line(f"# a step of {config.batch_size} patches takes about {console.size(memory)} of memory")
    of_runs = f" of {len(splits)} runs" if len(splits) > 1 else ""
    training = seconds_per_step(trainer) * trainer.dataset.steps * trainer.epochs * len(splits)
    window = seconds_per_window(trainer)
    validation = (
        window
        * trainer.epochs
        * sum(count_windows(folds, split.validation, trainer.predictor.stride) for split in splits)
    )
    steps, validations = console.duration(training), console.duration(validation)
    print_line(f"# {trainer.epochs} epochs{of_runs} take about {steps}, and {validations} of validation")
    if kfold and not only:
        looks = trainer.config.out_of_fold
        stride = looks.stride_of(trainer.patch_file.patch_size)
        windows = sum(count_windows(folds, split.test, stride) for split in splits)
        seconds = window * windows * (8 if looks.tta else 1)
        print_line(f"# the out-of-fold map takes about {console.duration(seconds)} (see out_of_fold), its report more")
    print_line(f"# a snapshot takes {console.size(12 * parameters)}")
    names = [f"split_{number}" for number in numbers]
    names += [] if only else ["out_of_fold.fits", "out_of_fold.png", "summary.json", "report.html"]
    print_line(f"Would write {trainer.folder.path}{': ' + ', '.join(names) if kfold else ''}.")


def seconds_per_step(trainer: "Trainer") -> float:
    """Return the time of a training step, taking two."""
    return _time_second_call(lambda number: trainer.step(0, number % trainer.dataset.steps))


def seconds_per_window(trainer: "Trainer") -> float:
    """Return the time in which a window is predicted, predicting a batch twice."""
    batch = trainer.dataset.batch(0, 0)
    model = with_folded_norms(trainer.model)

    def look(number: int) -> None:
        with torch.inference_mode(), autocast(trainer.device, trainer.dtype):
            model.probabilities(batch.image, batch.position).cpu()

    return _time_second_call(look) / len(batch.image)


def count_windows(folds: Folds, which: list[int], stride: int) -> int:
    """Return how many windows show a pixel of some folds, as if none were missing.

    Parameters
    ----------
    folds
        How the map is cut; windows are as wide as its patches.
    which
        Numbers of the folds.
    stride
        Pixels from one window to the next.
    """
    shape, window = folds.patch_file.shape, folds.patch_file.patch_size
    chosen = np.pad(np.isin(folds.grid, which).cumsum(axis=0).cumsum(axis=1), (1, 0))  # above and left of a corner
    starts = (window_starts(pixels, window, stride) for pixels in shape)
    top, bottom = _areas_shown(folds.areas.y_edges, next(starts), window)
    left, right = _areas_shown(folds.areas.x_edges, next(starts), window)
    shown = chosen[bottom][:, right] - chosen[top][:, right] - chosen[bottom][:, left] + chosen[top][:, left]
    return int((shown > 0).sum())


def _areas_shown(edges: tuple[int, ...], starts: IntArray, window: int) -> tuple[IntArray, IntArray]:
    """Return the first area that each window shows along an axis, and the one after the last."""
    after = np.searchsorted(edges, starts + window).clip(max=len(edges) - 1)
    return np.searchsorted(edges, starts, "right") - 1, after


def _time_second_call(act: Callable[[int], object]) -> float:
    """Return the seconds that the second of two acts takes: the first is slow."""
    act(0)
    started = time.monotonic()
    act(1)
    return time.monotonic() - started
