"""How far patches of different folds stay from each other: part of the proof that a split leaks nothing."""

import math

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from bigsf.tiling import IntArray


def clear_pixels(
    positions: npt.NDArray[np.integer],
    groups: IntArray,
    these: npt.NDArray[np.bool_],
    others: npt.NDArray[np.bool_],
    patch_size: int,
    period_px: float = np.inf,
) -> int | None:
    """Return the least number of clear pixels, along y or x, between the patches of two sets.

    Parameters
    ----------
    positions
        Top-left pixels (y, x) of all patches, `(n, 2)`.
    groups
        The area of each patch, `(n,)`. Areas are rectangles that share no pixel.
    these, others
        Which patches belong to either set, `(n,)`; no area holds patches of both.
    patch_size
        Side of a patch in pixels.
    period_px
        Columns after which the sky repeats.

    Returns
    -------
    int or None
        0 where patches touch or overlap; None where a set is empty.

    Notes
    -----
    Two rectangles are apart along y or along x. Then a nearest pair is found among the first and last patches of the
    columns, or of the rows, of either: all others need not be looked at.
    """
    near = [_outermost(positions[which], groups[which]) for which in (these, others)]
    if not len(near[0]) or not len(near[1]):
        return None
    if np.isfinite(period_px):
        near[1] = np.concatenate([near[1] + [0, turn * period_px] for turn in (-1, 0, 1)])
    distance, _ = cKDTree(near[1]).query(near[0], p=np.inf)
    return max(0, math.floor(float(distance.min()) - patch_size + 1e-6))


def _outermost(positions: npt.NDArray[np.integer], groups: IntArray) -> npt.NDArray[np.int64]:
    """Return the first and last patches of each row and each column of each group."""
    kept = np.zeros(len(positions), np.bool_)
    for along, across in ((0, 1), (1, 0)):
        order = np.lexsort((positions[:, across], positions[:, along], groups))
        line = np.stack([groups[order], positions[order, along]])
        new = np.any(line[:, 1:] != line[:, :-1], axis=0)
        kept[order[np.concatenate([[True], new])] if len(order) else order] = True
        kept[order[np.concatenate([new, [True]])] if len(order) else order] = True
    return positions[kept].astype(np.int64)
