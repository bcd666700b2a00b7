"""A run or k-fold that is not started yet -> what it would do, and its time and memory."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from rich.filesize import decimal

from bigsf.arrays import IntArray
from bigsf.console import duration, print_line
from bigsf.evaluation.summary import outputs_of
from bigsf.folds.folds import Folds
from bigsf.folds.splits import Split
from bigsf.maps.tiling import window_starts
from bigsf.models.device import autocast
from bigsf.models.segmentation_model import with_folded_norms
from bigsf.training.checks import check_labels, warn_of_untested_folds
from bigsf.training.run_folder import RunFolder

if TYPE_CHECKING:
    from bigsf.training.trainer import Trainer


def describe_run(trainer: "Trainer") -> None:
    """Print the resolved configuration of a run, its data, and what it costs.

    Raises
    ------
    UsageError
        Where a run lies there that may not be replaced.
    """
    trainer.folder.check(trainer.overwrite)
    _describe(trainer, [trainer.run.config.split.use], seconds_per_window(trainer))
    former = ", in place of the run that lies there" if trainer.folder.config.exists() else ""
    print_line(f"Would write {trainer.folder.path}{former}.")


def describe_kfold(trainer: "Trainer", only: int | None = None, overwrite: bool = False) -> None:
    """Print the same for the runs of a k-fold, or for `only` one of them.

    Parameters
    ----------
    trainer
        Of any of the splits: all of its runs take about the same time.
    only
        The number of a split, from 1.
    overwrite
        Whether splits that are done are trained again.
    """
    folds, config = trainer.run.folds, trainer.run.config
    numbers = [only] if only else list(range(1, len(folds.splits) + 1))
    check_labels(config, folds, [folds.splits[number - 1] for number in numbers])
    window_s = seconds_per_window(trainer)
    done = [n for n in numbers if RunFolder(trainer.folder.path / f"split_{n}").complete and not overwrite]
    numbers = [number for number in numbers if number not in done]
    _describe(trainer, numbers, window_s)
    for number in done:
        print_line(f"# split_{number} is done")
    names = [f"split_{number}" for number in numbers]
    if not only:
        warn_of_untested_folds(folds)
        stride = config.out_of_fold.stride_of(trainer.run.patch_file.patch_size)
        scales = config.trainer.model.scales
        windows = sum(count_windows(folds, split.test, stride, scales) for split in folds.splits)
        seconds = window_s * windows * (8 if config.out_of_fold.tta else 1)
        print_line(f"# the out-of-fold map takes about {duration(seconds)} (see out_of_fold), its report more")
        names += outputs_of(config.figures)
    print_line(f"Would write {trainer.folder.path}: {', '.join(names) or 'nothing'}.")


def _describe(trainer: "Trainer", numbers: list[int], window_s: float) -> None:
    """Print the configuration, the folds, the splits of these numbers (from 1), and the cost of training on them."""
    run = trainer.run
    folds, dataset, parameters = run.folds, run.dataset, sum(p.numel() for p in run.model.parameters())
    splits = [folds.splits[number - 1] for number in numbers]
    print_line(run.config.to_yaml())
    for fold, count in folds.counts.items():
        print_line(f"# fold {fold}: {count.patches:,} patches, {count.labelled:,} labelled pixels")
    for number, split in zip(numbers, splits, strict=True):
        patches = len(folds.training_patches(split.train, run.config.data.straddle))
        print_line(f"# split {number} of {len(folds.splits)} [train, valid, test]: {list(split)}, {patches:,} patches")
    print_line(f"# {dataset.samples:,} training patches and {dataset.steps:,} steps per epoch")
    dtype = str(run.dtype).removeprefix("torch.")
    print_line(f"# network of {parameters:,} parameters in {dtype} on {run.device}")
    batch = dataset.batch(0, 0)
    memory = decimal(run.model.training_bytes(batch.image, batch.position))
    print_line(f"# a step of {run.config.trainer.batch_size} patches takes about {memory} of memory")
    _print_time(trainer, splits, window_s)
    print_line(f"# a snapshot takes {decimal(12 * parameters)}")  # a weight and two moments, 4 bytes each


def _print_time(trainer: "Trainer", splits: list[Split], window_s: float) -> None:
    run, predictor = trainer.run, trainer.validator.predictor
    training = seconds_per_step(trainer) * run.dataset.steps * run.epochs * len(splits)
    windows = sum(count_windows(run.folds, split.validation, predictor.stride, predictor.scales) for split in splits)
    validation = window_s * run.epochs * windows
    runs = f" of {len(splits)} runs" if len(splits) > 1 else ""
    print_line(f"# {run.epochs} epochs{runs} take about {duration(training)}, and {duration(validation)} of validation")


def seconds_per_step(trainer: "Trainer") -> float:
    """Return the time that a training step takes, measured by taking two."""
    return _time_second_call(lambda number: trainer.step(0, number % trainer.run.dataset.steps))


def seconds_per_window(trainer: "Trainer") -> float:
    """Return the time in which a window is predicted, measured by predicting a batch twice."""
    batch = trainer.run.dataset.batch(0, 0)
    model = with_folded_norms(trainer.run.model)

    def predict(number: int) -> None:
        with torch.inference_mode(), autocast(trainer.run.device, trainer.run.dtype):
            model.probabilities(batch.image, batch.position).cpu()

    return _time_second_call(predict) / len(batch.image)


def count_windows(folds: Folds, which: list[int], stride: int, scales: Sequence[int] = (1,)) -> int:
    """Return how many windows are predicted for some folds, as if no data were missing.

    They are those that show a pixel of the folds and, in a binned map, also those that show a square beside one.

    Parameters
    ----------
    folds
        The folds of a map; the windows are as wide as its patches.
    which
        Numbers of the folds that are predicted.
    stride
        Pixels from one window to the next.
    scales
        Factors by which the map is binned.
    """
    # areas of these folds above and to the left of each corner of the grid: a window shows a difference of four sums
    sums = np.pad(np.isin(folds.grid, which).cumsum(axis=0).cumsum(axis=1), (1, 0))
    window, windows = folds.patch_file.patch_size, 0
    for n in scales:
        top, bottom = _areas_shown(folds.areas.y_edges, window, stride, n)
        left, right = _areas_shown(folds.areas.x_edges, window, stride, n)
        shown = sums[bottom][:, right] - sums[top][:, right] - sums[bottom][:, left] + sums[top][:, left]
        windows += int((shown > 0).sum())
    return windows


def _areas_shown(edges: tuple[int, ...], window: int, stride: int, n: int) -> tuple[IntArray, IntArray]:
    """Return the first area that each window of a map binned by n shows along an axis, and the one after the last."""
    starts = window_starts(-(-edges[-1] // n), window, stride)
    beside = 0 if n == 1 else 1
    first = np.searchsorted(edges, n * (starts - beside), "right") - 1
    end = np.searchsorted(edges, n * (starts + window + beside))
    return first.clip(min=0), end.clip(max=len(edges) - 1)


def _time_second_call(action: Callable[[int], object]) -> float:
    """Return the seconds that the second of two calls takes; the first one is slower, as it allocates and compiles."""
    action(0)
    started = time.monotonic()
    action(1)
    return time.monotonic() - started
