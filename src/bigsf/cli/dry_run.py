"""A run or k-fold that is not started yet -> what it would do, and the time, memory and disk that its steps take."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from rich.filesize import decimal

from bigsf.cli.measured_time import seconds_of_baselines, seconds_per_predicted_window, seconds_per_step
from bigsf.console import duration, print_line
from bigsf.evaluation.injected_planes import TILE_PX
from bigsf.evaluation.mask_thresholds import MOST_PIXELS, sampled_areas
from bigsf.evaluation.predictions import MOST_PLUMMER_TILES, most_tiles_to_inject
from bigsf.evaluation.records import RunScores
from bigsf.evaluation.stored_baselines import BASELINE_NAMES
from bigsf.evaluation.summary import finished_summary, left_to_draw, outputs_of
from bigsf.folds.folds import Folds
from bigsf.models.orientations import VIEWS
from bigsf.segmentation.config import SegmentConfig
from bigsf.segmentation.memory import mask_bytes
from bigsf.training.checks import check_labels, warn_of_untested_folds
from bigsf.training.kfold_plan import count_windows, predicted_windows
from bigsf.training.run_folder import RunFolder

if TYPE_CHECKING:
    from bigsf.training.run_config import RunConfig
    from bigsf.training.trainer import Trainer


_AS_CATALOGUE = SegmentConfig(products=["catalog"])
_OUTPUT_BYTES = 6  # per pixel of the out-of-fold map: probability, MASK and FOLD


class Step(NamedTuple):
    """What a step of a run or a k-fold takes; None: little, or not known beforehand."""

    name: str
    seconds: float | None = None
    memory_bytes: int | None = None
    disk_bytes: int | None = None


def describe_run(trainer: "Trainer") -> None:
    """Print the resolved configuration of a run, its data, and what it costs.

    Raises
    ------
    UsageError
        Where a run lies there that may not be replaced.
    """
    trainer.folder.check(trainer.overwrite)
    number = trainer.run.config.split.use
    _describe(trainer, [number])
    _print_steps(_training_steps(trainer, [number], seconds_per_predicted_window(trainer)))
    former = ", in place of the run that lies there" if trainer.folder.config.exists() else ""
    print_line(f"Would write {trainer.folder.path}{former}.")


def trainer_of_split(config: "RunConfig", number: int, device: str | None) -> "Trainer":
    """Return a trainer of a split of a k-fold, from 1, that writes nothing; `split.use` has no effect."""
    from bigsf.training.trainer import Trainer

    split = config.split.model_copy(update={"use": number})
    return Trainer.from_config(config.model_copy(update={"split": split}), device=device, dry_run=True)


def describe_kfold(trainer: "Trainer", only: int | None = None, overwrite: bool = False) -> None:
    """Print the resolved configuration of a k-fold, its data, and what its steps cost; or those of `only` one run.

    Parameters
    ----------
    trainer
        Of any of the splits: all of its runs take about the same time. Its `out_of_fold` holds no null.
    only
        The number of a split, from 1.
    overwrite
        Whether splits that are done are trained again.
    """
    folds, config = trainer.run.folds, trainer.run.config
    numbers = [only] if only else list(range(1, len(folds.splits) + 1))
    check_labels(config, folds, [folds.splits[number - 1] for number in numbers])
    done = [n for n in numbers if RunFolder(trainer.folder.path / f"split_{n}").complete and not overwrite]
    numbers = [number for number in numbers if number not in done]
    _describe(trainer, numbers)
    for number in done:
        print_line(f"# split_{number} is done")
    names, window_s = [f"split_{number}" for number in numbers], seconds_per_predicted_window(trainer)
    steps = _training_steps(trainer, numbers, window_s)
    if not only:
        warn_of_untested_folds(folds)
        steps += _prediction_steps(trainer, window_s)
        names += outputs_of(config.trainer.figures)
    if not numbers and not only and _is_finished(trainer.folder.path, config, done):
        left = left_to_draw(trainer.folder.path, config.trainer.figures)
        print_line(f"Would write {trainer.folder.path}: {', '.join(left)}." if left else "Nothing is left to do.")
        return
    if steps:
        _print_steps(steps)
    if not only:
        print_line(f"# until all is done, the predicted maps take {decimal(_bytes_until_done(folds))} of disk")
    print_line(f"Would write {trainer.folder.path}: {', '.join(names) or 'nothing'}.")


def _is_finished(path: Path, config: "RunConfig", numbers: list[int]) -> bool:
    """Tell whether a k-fold, of which the splits of all numbers are done, has its out-of-fold map and summary."""
    names = [f"split_{number}" for number in numbers]
    runs = {name: RunScores.load(RunFolder(path / name).scores) for name in names}
    return finished_summary(path, runs, config.out_of_fold) is not None


def _describe(trainer: "Trainer", numbers: list[int]) -> None:
    """Print the configuration, the folds, and the splits of these numbers, from 1."""
    run = trainer.run
    folds, dataset, parameters = run.folds, run.dataset, sum(p.numel() for p in run.model.parameters())
    print_line(run.config.to_yaml())
    for fold, count in folds.counts.items():
        print_line(f"# fold {fold}: {count.patches:,} patches, {count.labelled:,} labelled pixels")
    for number in numbers:
        split = folds.splits[number - 1]
        patches = len(folds.training_patches(split.train, run.config.data.straddle))
        print_line(f"# split {number} of {len(folds.splits)} [train, valid, test]: {list(split)}, {patches:,} patches")
    print_line(f"# {dataset.samples:,} training patches and {dataset.steps:,} steps per epoch")
    dtype = str(run.dtype).removeprefix("torch.")
    print_line(f"# network of {parameters:,} parameters in {dtype} on {run.device}")


def _training_steps(trainer: "Trainer", numbers: list[int], window_s: float) -> list[Step]:
    """Return what it takes to train and to validate the splits of these numbers, from 1."""
    if not numbers:
        return []
    run, folds, predictor = trainer.run, trainer.run.folds, trainer.validator.predictor
    batch, parameters = run.dataset.batch(0, 0), sum(p.numel() for p in run.model.parameters())
    parts = run.config.trainer.accumulate
    image, position = batch.image[::parts], None if batch.position is None else batch.position[::parts]
    training_s = seconds_per_step(trainer) * run.dataset.steps * run.epochs * len(numbers)
    validated = [np.isin(folds.grid, folds.splits[number - 1].validation) for number in numbers]
    windows = sum(count_windows(folds, areas, predictor.stride, predictor.scales) for areas in validated)
    snapshots = 2 * 12 * parameters * len(numbers)  # two of a weight and two moments, of 4 bytes each
    runs = f" of {len(numbers)} runs" if len(numbers) > 1 else ""
    return [
        Step(
            f"training{runs}, {run.epochs} epochs",
            training_s,
            run.model.training_bytes(image, position),
            snapshots,
        ),
        Step("validation", window_s * run.epochs * windows),
    ]


def _prediction_steps(trainer: "Trainer", window_s: float) -> list[Step]:
    """Return what it takes to predict and to score the maps of a k-fold."""
    folds, config = trainer.run.folds, trainer.run.config
    file, plan = folds.patch_file, config.out_of_fold
    assert plan.stride is not None
    views, orientations = (VIEWS, f"{VIEWS} orientations") if plan.tta else (1, "one orientation")
    window_s *= views
    chosen = sampled_areas(folds, folds.splits, MOST_PIXELS)
    thresholds = sum(count_windows(folds, areas > 0, plan.stride, config.trainer.model.scales) for areas in chosen)
    whole = predicted_windows(plan, config, folds) // views
    windows_per_tile = math.ceil((TILE_PX + file.patch_size) / plan.stride) ** 2
    most = most_tiles_to_inject(file)
    injected = sum(min(whole, tiles * windows_per_tile) for tiles in (most, min(most, MOST_PLUMMER_TILES)))
    pixels = file.shape[0] * file.shape[1]
    return [
        Step("thresholds of MASK", window_s * thresholds),
        Step(f"out-of-fold map, stride {plan.stride}, {orientations}", window_s * whole),
        Step("injected filaments, at most", window_s * injected),
        Step("baselines of the map", seconds_of_baselines(file)),
        Step("scores, catalogue and report", None, mask_bytes(_AS_CATALOGUE, file.shape), _OUTPUT_BYTES * pixels),
    ]


def _print_steps(steps: list[Step]) -> None:
    """Print what steps take, as a table of comments."""
    width = max(len(step.name) for step in steps)
    print_line(f"# {'step':{width}}  {'time':>10}  {'memory':>10}  {'disk':>10}")
    for step in steps:
        time = "" if step.seconds is None else duration(step.seconds)
        memory, disk = ("" if size is None else decimal(size) for size in (step.memory_bytes, step.disk_bytes))
        print_line(f"# {step.name:{width}}  {time:>10}  {memory:>10}  {disk:>10}".rstrip())


def _bytes_until_done(folds: Folds) -> int:
    """Return the disk that the parts of the predicted maps take until a k-fold is done: float32, and one plane more."""
    planes = 4 * (len(folds.splits) + 1) + len(BASELINE_NAMES) + 1
    return 4 * planes * folds.patch_file.shape[0] * folds.patch_file.shape[1]
