"""The spine of one filament: from a mask to its skeleton, the longest path through it, and the length of that path."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree
from skimage.morphology import skeletonize

BoolArray = npt.NDArray[np.bool_]


Points = npt.NDArray[np.float64]


Pixels = npt.NDArray[np.integer[Any]]


_SMOOTHING_PX = 1.5  # standard deviation: takes out the stairs of pixels, and hardly the bends of a filament


_STEPS = ((0, 1), (1, -1), (1, 0), (1, 1))  # to half of the eight neighbours


class Spine(NamedTuple):
    """The line along a filament."""

    path: Points
    """Points (y, x) in pixels, `(n, 2)`, about one a pixel; smooth."""
    length_px: float
    """Length of the line whose dilation is the mask, so without the two half widths that the mask reaches beyond it."""

    @property
    def middle(self) -> Points:
        """The point (y, x) half-way along the path."""
        return _at(self.path, 0.5 * _along(self.path)[-1])


def skeleton_of(mask: BoolArray) -> BoolArray:
    """Return the skeleton of a mask, one pixel wide and connected as the mask is.

    The thinning is that of Lee, Kashyap & Chu (1994, CVGIP 56, 462). The default of scikit-image (Zhang & Suen 1984)
    erases oblique filaments of an even width from their ends, at times wholly.
    """
    skeleton: BoolArray = skeletonize(np.pad(mask, 1), method="lee")[1:-1, 1:-1] > 0
    return skeleton


def measure_spine(pixels: Pixels, skeleton: Pixels) -> Spine:
    """Measure the longest line along a filament.

    The line is the longest shortest path through the skeleton, smoothed, for a chain of pixels is up to 8 % longer than
    the oblique line that it stands for. A skeleton ends anywhere between the end of the line and the border of the
    mask. So its last half widths are cut off, the line is taken on straight to the border, and the half width is taken
    off there. The half width is half the area that lies nearest to the inner path, over the length of that path.

    Parameters
    ----------
    pixels
        The pixels (y, x) of the filament, `(n, 2)`, in any order.
    skeleton
        Those of its skeleton, `(m, 2)`, m > 0, connected.

    Returns
    -------
    Spine
        Within 2 pixels in length for filaments 3 to 9 pixels wide, except where they bend within a few widths. A
        skeleton of one pixel has length 0.
    """
    chain = _longest_path(skeleton)
    path = _smooth(skeleton[chain].astype(np.float64))
    along = _along(path)
    total = along[-1]
    if len(path) < 3:
        return Spine(path, float(total))
    cut = min(len(pixels) / (2 * len(skeleton)), total / 4)
    place = np.full(len(skeleton), np.nan)  # along the path; branches have none
    place[chain] = along
    place = place[cKDTree(skeleton).query(pixels)[1]]  # now of the pixels of the mask
    inner = (along >= cut) & (along <= total - cut)
    half_width = ((place >= cut) & (place <= total - cut)).sum() / (2 * np.gradient(along)[inner].sum())
    length = total - 2 * cut
    for end, before, tip in (
        (cut, min(2 * cut + half_width + 2, total / 2), place < cut),
        (total - cut, max(total - 2 * cut - half_width - 2, total / 2), place > total - cut),
    ):
        start = _at(path, end)
        direction = start - _at(path, before)
        direction /= np.hypot(*direction)
        length += ((pixels[tip] - start) @ direction).max(initial=0) + 0.5 - half_width  # 0.5: to the pixel's edge
    return Spine(path, max(0.0, float(length)))


def _longest_path(skeleton: Pixels) -> npt.NDArray[np.intp]:
    """Return the numbers of the pixels, in order, of the longest shortest path through a skeleton.

    It is found by two sweeps, from any pixel to the farthest, and from there to the farthest: exact without loops.
    """
    n = len(skeleton)
    pixels = skeleton - skeleton.min(axis=0) + 1
    width = int(pixels[:, 1].max()) + 2
    flat = pixels[:, 0].astype(np.int64) * width + pixels[:, 1]
    order = np.argsort(flat)
    edges = []
    for dy, dx in _STEPS:
        wanted = flat + dy * width + dx
        found = np.minimum(np.searchsorted(flat, wanted, sorter=order), n - 1)
        here = np.flatnonzero(flat[order[found]] == wanted)
        edges.append((np.full(len(here), np.hypot(dy, dx)), here, order[found[here]]))
    length, start, end = (np.concatenate(parts) for parts in zip(*edges, strict=True))
    graph = csr_array((length, (start, end)), shape=(n, n))
    first = int(np.argmax(dijkstra(graph, directed=False, indices=0)))
    distance, previous = dijkstra(graph, directed=False, indices=first, return_predecessors=True)
    chain = [int(np.argmax(distance))]
    while chain[-1] != first:
        chain.append(int(previous[chain[-1]]))
    return np.array(chain)


def _smooth(path: Points) -> Points:
    """Return a path smoothed along its length, its ends kept: it is continued by its mirror image in them."""
    reach = min(len(path) - 1, 6)
    if reach < 2:
        return path
    before, after = 2 * path[0] - path[reach:0:-1], 2 * path[-1] - path[-2 : -reach - 2 : -1]
    longer = np.concatenate([before, path, after])
    smooth: Points = gaussian_filter1d(longer, _SMOOTHING_PX, axis=0, mode="nearest")[reach : reach + len(path)]
    return smooth


def _along(path: Points) -> Points:
    """Return the length from the first point to each, `(n,)`."""
    steps = np.hypot(*np.diff(path, axis=0).T)
    return np.concatenate([[0.0], np.cumsum(steps)])


def _at(path: Points, length: float) -> Points:
    """Return the point at a length along a path."""
    along = _along(path)
    return np.array([np.interp(length, along, axis) for axis in path.T])
