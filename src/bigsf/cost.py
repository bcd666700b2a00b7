"""What a run will take: the time of a step and of a window, times their numbers."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

from bigsf.folds import Folds
from bigsf.models.folding import with_folded_norms
from bigsf.precision import autocast
from bigsf.tiling import IntArray, window_starts

if TYPE_CHECKING:
    from bigsf.trainer import Trainer


def seconds_a_step(trainer: "Trainer") -> float:
    """Return the time of a training step, taking two."""
    return _second_of(lambda number: trainer.step(0, number % trainer.dataset.steps))


def seconds_a_window(trainer: "Trainer") -> float:
    """Return the time in which a window is judged, judging a batch twice."""
    batch = trainer.dataset.batch(0, 0)
    model = with_folded_norms(trainer.model)

    def look(number: int) -> None:
        with torch.inference_mode(), autocast(trainer.device, trainer.dtype):
            model.probabilities(batch.image, batch.position).cpu()

    return _second_of(look) / len(batch.image)


def windows_over(folds: Folds, which: list[int], stride: int) -> int:
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


def _second_of(act: Callable[[int], object]) -> float:
    """Return the seconds that the second of two acts takes: the first is slow."""
    act(0)
    started = time.monotonic()
    act(1)
    return time.monotonic() - started
