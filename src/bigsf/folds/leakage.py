"""Patches and their folds -> the leakage: shared pixels, uncovered labels, clear pixels."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from bigsf.arrays import BoolArray, IntArray
from bigsf.folds.areas import AreaGrid
from bigsf.folds.splits import Split
from bigsf.maps.tiling import CHUNK_PIXELS, row_chunks
from bigsf.patches.patch_file import PatchFile


class Leakage(NamedTuple):
    """How well the folds of a map are separated."""

    shared: int
    """Pixels that patches of several folds share."""
    labelled_uncovered: int
    """Labelled pixels that lie in no patch of a fold."""
    clear_px: int | None
    """Least number of clear pixels, along y or x, between a training and a test patch of any split.

    Only patches that lie whole in their areas count. Training patches that straddle areas show their pixels up to the
    gap, and the out-of-fold map has a prediction for every pixel. None where no split has patches on both sides.
    """


def measure_leakage(
    patch_file: PatchFile,
    areas: AreaGrid,
    area: IntArray,
    patch_fold: IntArray,
    splits: Sequence[Split],
    chunk_pixels: int = 4 * CHUNK_PIXELS,
) -> Leakage:
    """Count what the folds of a map share.

    Parameters
    ----------
    patch_file
        The patches.
    areas
        The areas of the map.
    area, patch_fold
        The area and the fold of each patch, `(n,)`; fold 0 is none.
    splits
        The splits of the folds.
    chunk_pixels
        Pixels that are held in memory at a time.
    """
    shared = uncovered = 0
    nx, size = patch_file.shape[1], patch_file.patch_size
    for y0, y1 in row_chunks(patch_file.shape, chunk_pixels, least_rows=size):
        folds_here = np.zeros((y1 - y0, nx), np.uint8)  # the number of folds that show each pixel
        for fold in np.unique(patch_fold[patch_fold > 0]):
            folds_here += covered(patch_file.positions[patch_fold == fold], size, y0, y1, nx)
        shared += int((folds_here > 1).sum())
        if patch_file.labelled is not None:
            uncovered += int(((folds_here == 0) & (patch_file.labelled[y0:y1] > 0)).sum())
    kept = np.flatnonzero(patch_fold)
    near = kept[outermost(patch_file.positions[kept], area[kept])]
    position, fold_near = patch_file.positions[near], patch_fold[near]
    clear = [
        clear_pixels(
            position[np.isin(fold_near, split.train)],
            position[np.isin(fold_near, split.test)],
            size,
            areas.period_px,
        )
        for split in splits
    ]
    return Leakage(shared, uncovered, min((pixels for pixels in clear if pixels is not None), default=None))


def covered(positions: npt.NDArray[np.integer], patch_size: int, y0: int, y1: int, nx: int) -> BoolArray:
    """Return which pixels of rows y0 to y1 lie in at least one patch, `(rows, nx)`."""
    near = positions[(positions[:, 0] < y1) & (positions[:, 0] + patch_size > y0)]
    steps = np.zeros((y1 - y0 + 1, nx + 1), np.int32)
    top = np.maximum(near[:, 0] - y0, 0)
    bottom = np.minimum(near[:, 0] + patch_size - y0, y1 - y0)
    left, right = near[:, 1], near[:, 1] + patch_size
    for y, x, step in ((top, left, 1), (top, right, -1), (bottom, left, -1), (bottom, right, 1)):
        np.add.at(steps, (y, x), step)
    return steps.cumsum(axis=0).cumsum(axis=1)[:-1, :-1] > 0


def outermost(positions: npt.NDArray[np.integer], groups: IntArray) -> BoolArray:
    """Say which patches are the first or the last of a row or a column of their group.

    Parameters
    ----------
    positions
        Top-left pixels (y, x), `(n, 2)`.
    groups
        The area of each patch, `(n,)`. Areas are rectangles that share no pixel.

    Notes
    -----
    Two rectangles that share no pixel are apart along y or along x. A nearest pair of patches of two areas is therefore
    always among the outermost patches, and the others can be left out.
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
        Top-left pixels (y, x) of either, `(n, 2)`; the `outermost` ones are enough.
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
