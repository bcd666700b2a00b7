"""How far patches of different folds stay from each other: part of the proof that a split leaks nothing."""

import math

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from bigsf.arrays import IntArray


def covered(positions: npt.NDArray[np.integer], patch_size: int, y0: int, y1: int, nx: int) -> npt.NDArray[np.bool_]:
    """Return which pixels of rows y0 to y1 lie in at least one patch, `(rows, nx)`."""
    near = positions[(positions[:, 0] < y1) & (positions[:, 0] + patch_size > y0)]
    steps = np.zeros((y1 - y0 + 1, nx + 1), np.int32)
    top = np.maximum(near[:, 0] - y0, 0)
    bottom = np.minimum(near[:, 0] + patch_size - y0, y1 - y0)
    left, right = near[:, 1], near[:, 1] + patch_size
    for y, x, step in ((top, left, 1), (top, right, -1), (bottom, left, -1), (bottom, right, 1)):
        np.add.at(steps, (y, x), step)
    return steps.cumsum(axis=0).cumsum(axis=1)[:-1, :-1] > 0


def outermost(positions: npt.NDArray[np.integer], groups: IntArray) -> npt.NDArray[np.bool_]:
    """Say which patches are the first or the last of a row or a column of their group.

    Parameters
    ----------
    positions
        Top-left pixels (y, x), `(n, 2)`.
    groups
        The area of each patch, `(n,)`. Areas are rectangles that share no pixel.

    Notes
    -----
    Two rectangles are apart along y or along x. Then a nearest pair of patches of two areas is found among these: all
    others need not be looked at.
    """
    kept = np.zeros(len(positions), np.bool_)
    for along, across in ((0, 1), (1, 0)):
        order = np.lexsort((positions[:, across], positions[:, along], groups))
        line = np.stack([groups[order], positions[order, along]])
        new = np.any(line[:, 1:] != line[:, :-1], axis=0)
        ends = np.ones(min(1, len(order)), np.bool_)
        kept[order[np.concatenate([ends, new])]] = True
        kept[order[np.concatenate([new, ends])]] = True
    return kept


def clear_pixels(
    these: npt.NDArray[np.integer], others: npt.NDArray[np.integer], patch_size: int, period_px: float = np.inf
) -> int | None:
    """Return the least number of clear pixels, along y or x, between two sets of patches.

    Parameters
    ----------
    these, others
        Top-left pixels (y, x) of either, `(n, 2)`; those that are `outermost` will do.
    patch_size
        Side of a patch in pixels.
    period_px
        Columns after which the sky repeats.

    Returns
    -------
    int or None
        0 where patches touch or overlap; None where a set is empty.
    """
    if not len(these) or not len(others):
        return None
    shifts = (-period_px, 0.0, period_px) if np.isfinite(period_px) else (0.0,)
    around = np.concatenate([np.add(others, [0.0, shift]) for shift in shifts])
    distance, _ = cKDTree(around).query(these, p=np.inf)
    return max(0, math.floor(float(distance.min()) - patch_size + 1e-6))
