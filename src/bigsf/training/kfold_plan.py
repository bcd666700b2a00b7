"""Configuration + folds -> how a k-fold predicts its out-of-fold map, and how many windows its predictions take."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bigsf.arrays import BoolArray, IntArray
from bigsf.config.paths import flat
from bigsf.console import logger
from bigsf.folds.folds import Folds
from bigsf.maps.tiling import window_starts
from bigsf.models.orientations import VIEWS
from bigsf.training.build import PATCHES_SEEN, default_epochs
from bigsf.training.run_config import OutOfFoldConfig, RunConfig

_WINDOWS_PER_PATCH = 3  # windows that are predicted in the time of training on a patch: gradients take twice as long


KEYS_BESIDE_TRAINING = {"data": {"in_memory"}, "split": {"use"}, "trainer": {"figures", "save_every", "trackers"}}
"""The keys of each block that change no training."""


def with_keys_beside(config: RunConfig, other: RunConfig | None) -> RunConfig:
    """Return the configuration of a run with `KEYS_BESIDE_TRAINING` of another one, if given; the split is its own."""
    if other is None:
        return config
    blocks = {}
    for name in ("data", "trainer"):
        block, there = getattr(config, name), getattr(other, name)
        keys = [key for key in KEYS_BESIDE_TRAINING[name] if hasattr(block, key)]
        blocks[name] = block.model_copy(update={key: getattr(there, key) for key in keys})
    return config.model_copy(update=blocks)


def training_keys_that_differ(one: RunConfig, other: RunConfig) -> list[str]:
    """Return the keys in which two configurations differ, of those that change the training of a split."""
    beside: Any = {"out_of_fold": True, **KEYS_BESIDE_TRAINING}
    first, second = (flat(config.model_dump(exclude=beside)) for config in (one, other))
    absent = object()
    return [key for key in {**first, **second} if first.get(key, absent) != second.get(key, absent)]


def plan_out_of_fold(config: RunConfig, folds: Folds) -> OutOfFoldConfig:
    """Return how the out-of-fold map is predicted; keys that the configuration leaves open are filled in.

    They are a quarter of a window and eight orientations; where that would take longer than the training, half a window
    and eight orientations; where that would too, half a window and one orientation. A shorter training counts
    as the default: 8000 patches per split.

    Parameters
    ----------
    config
        The configuration of the k-fold.
    folds
        Its folds.
    """
    asked, window = config.out_of_fold, folds.patch_file.patch_size
    if asked.stride is not None and asked.tta is not None:
        return asked
    plans = [
        OutOfFoldConfig(stride=asked.stride or max(1, stride), tta=tta if asked.tta is None else asked.tta)
        for stride, tta in ((window // 4, True), (window // 2, True), (window // 2, False))
    ]
    affordable = _WINDOWS_PER_PATCH * PATCHES_SEEN * len(folds.splits)
    if predicted_windows(plans[0], config, folds) <= affordable:
        return plans[0]
    affordable = max(affordable, _WINDOWS_PER_PATCH * _patches_trained(config, folds))
    plan = next((plan for plan in plans if predicted_windows(plan, config, folds) <= affordable), plans[-1])
    if plan != plans[0]:
        views = f"{VIEWS} orientations" if plan.tta else "one orientation"
        logger.info(
            "The map is large for this training: the out-of-fold map is predicted with a stride of %d pixels in %s, "
            "to save time (see out_of_fold).",
            plan.stride,
            views,
        )
    return plan


def _patches_trained(config: RunConfig, folds: Folds) -> int:
    """Return how many patches all runs of a k-fold see in all their epochs, if none stops early."""
    patches = 0
    for split in folds.splits:
        available = len(folds.training_patches(split.train, config.data.straddle))
        samples = min(config.data.samples_per_epoch or available, available)
        patches += samples * (config.trainer.epochs or default_epochs(samples))
    return patches


def predicted_windows(plan: OutOfFoldConfig, config: RunConfig, folds: Folds) -> int:
    """Return how many times a network predicts a window for the out-of-fold map, as if no data were missing.

    Parameters
    ----------
    plan
        How the map is predicted, see `plan_out_of_fold`.
    config
        The configuration of the k-fold.
    folds
        Its folds.
    """
    assert plan.stride is not None
    scales = config.trainer.model.scales
    windows = sum(count_windows(folds, np.isin(folds.grid, split.test), plan.stride, scales) for split in folds.splits)
    return windows * (VIEWS if plan.tta else 1)


def count_windows(folds: Folds, areas: BoolArray, stride: int, scales: Sequence[int] = (1,)) -> int:
    """Return how many windows are predicted for some areas, as if no data were missing.

    They are those that show a pixel of the areas and, in a binned map, also those that show a square beside one.

    Parameters
    ----------
    folds
        The folds of a map; the windows are as wide as its patches.
    areas
        Which areas are predicted, `(areas down, areas across)`.
    stride
        Pixels from one window to the next.
    scales
        Factors by which the map is binned.
    """
    # areas above and to the left of each corner of the grid: a window shows a difference of four sums
    sums = np.pad(areas.cumsum(axis=0).cumsum(axis=1), (1, 0))
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
