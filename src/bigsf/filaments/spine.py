"""The mask of one filament -> its skeleton, the longest path through it, and the length of that path."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree
from skimage.morphology import skeletonize

from bigsf.arrays import BoolArray, Float64Array

Points = Float64Array
"""Points (y, x) in pixels, `(n, 2)`, or one of them, `(2,)`."""

Pixels = npt.NDArray[np.integer[Any]]
"""Pixels (y, x), `(n, 2)`."""

_SMOOTHING_PX = 1.5  # standard deviation: removes the stairs of pixels, and hardly changes the bends of a filament
_REACH = 6  # pixels; gaussian_filter1d leaves out what is farther than four standard deviations
_STEPS = ((0, 1), (1, -1), (1, 0), (1, 1))  # to half of the eight neighbours; the other half are the same pairs
_STEP_PX = np.hypot(*np.array(_STEPS).T)


class Spine(NamedTuple):
    """The line along a filament."""

    path: Points
    """Points (y, x) in pixels along a smooth line, `(n, 2)`, about one per pixel. The last is the first of a ring."""
    length_px: float
    """Length of the line whose dilation is the mask. The mask reaches half a width farther at both ends.

    Of a ring: its circumference.
    """
    chain: npt.NDArray[np.intp]
    """The pixels of the skeleton along the line, as indices, in order, `(m,)`; each once."""

    @property
    def is_ring(self) -> bool:
        """Whether the line is closed."""
        return len(self.path) > 1 and bool((self.path[0] == self.path[-1]).all())

    @property
    def middle(self) -> Points:
        """The point (y, x) half-way along the path."""
        along = along_path(self.path)
        return _at(self.path, along, 0.5 * along[-1])

    @property
    def straightness(self) -> float:
        """The distance between the ends of the path over its length: 0 for a ring, NaN for a path of one point."""
        length = along_path(self.path)[-1]
        return float(np.hypot(*(self.path[-1] - self.path[0])) / length) if length > 0 else np.nan


def skeleton_of(mask: BoolArray) -> BoolArray:
    """Return the skeleton of a mask, one pixel wide and connected as the mask is.

    The thinning is that of Lee, Kashyap & Chu (1994, CVGIP 56, 462). The default of scikit-image (Zhang & Suen 1984)
    shortens oblique filaments of an even width from their ends, and sometimes removes them completely.
    """
    skeleton: BoolArray = skeletonize(np.pad(mask, 1), method="lee")[1:-1, 1:-1] > 0
    return skeleton


def measure_spine(pixels: Pixels, skeleton: Pixels) -> Spine:
    """Measure the longest line along a filament.

    The line is the longest of the shortest paths between two pixels of the skeleton. It is smoothed, because a chain of
    pixels is up to 8 % longer than the oblique line that it stands for.

    A skeleton ends anywhere between the end of the line and the border of the mask. Therefore, at each end,

    1. about half a width of the path is left out;
    2. the rest is continued in a straight line to the border of the mask;
    3. the half width is subtracted from its length.

    Where two paths of a loop lead from one end of the longest to the other, the line is closed: its length is that of
    the whole loop, and it has no ends.

    The half width is measured on the inner path that step 1 leaves: half the area of the pixels nearest to it, over its
    length.

    Parameters
    ----------
    pixels
        The pixels (y, x) of the filament, `(n, 2)`, in any order.
    skeleton
        The pixels of its skeleton, `(m, 2)`, m > 0, connected.

    Returns
    -------
    Spine
        The length is accurate to 2 pixels for filaments 3 to 9 pixels wide, except where they bend within a few widths.
        A skeleton of one pixel has length 0.
    """
    graph = _graph(skeleton)
    chain = _longest_path(graph)
    if len(back := _way_back(graph, chain, skeleton)):
        path = smooth_ring(skeleton[np.append(chain, back)])
        return Spine(path, float(along_path(path)[-1]), np.append(chain, back[:-1]))
    (path,) = smooth([skeleton[chain]])
    along = along_path(path)
    total = along[-1]
    if len(path) < 3:
        return Spine(path, float(total), chain)
    omitted = min(len(pixels) / (2 * len(skeleton)), total / 4)  # at each end, about half a width
    place = np.full(len(skeleton), np.nan)  # position along the path; NaN for branches
    place[chain] = along
    place = place[cKDTree(skeleton).query(pixels)[1]]  # now for each pixel of the mask
    inner = (along >= omitted) & (along <= total - omitted)
    on_inner = (place >= omitted) & (place <= total - omitted)
    half_width = on_inner.sum() / (2 * np.gradient(along)[inner].sum())
    length = total - 2 * omitted
    for end, inside, tip in (
        (omitted, min(2 * omitted + half_width + 2, total / 2), place < omitted),
        (total - omitted, max(total - 2 * omitted - half_width - 2, total / 2), place > total - omitted),
    ):
        start = _at(path, along, end)
        direction = start - _at(path, along, inside)
        direction /= np.hypot(*direction)
        to_border = ((pixels[tip] - start) @ direction).max(initial=0) + 0.5  # 0.5: from the pixel's centre to its edge
        length += to_border - half_width
    return Spine(path, max(0.0, float(length)), chain)


def neighbours(pixels: Pixels, steps: Sequence[tuple[int, int]]) -> npt.NDArray[np.intp]:
    """Return the index of the pixel at each step (y, x) from each pixel, `(steps, n)`; -1 where there is none."""
    shifted = pixels - pixels.min(axis=0, initial=0) + 1
    width = int(shifted[:, 1].max(initial=0)) + 2
    flat = shifted[:, 0].astype(np.int64) * width + shifted[:, 1]
    order = np.argsort(flat)
    found = np.full((len(steps), len(flat)), -1, np.intp)
    for number, (dy, dx) in enumerate(steps if len(flat) else ()):
        neighbour = flat + dy * width + dx
        at = order[np.minimum(np.searchsorted(flat, neighbour, sorter=order), len(flat) - 1)]
        found[number] = np.where(flat[at] == neighbour, at, -1)
    return found


def _graph(skeleton: Pixels) -> csr_array:
    """Return the distances between neighbouring pixels of a skeleton, each pair once."""
    n = len(skeleton)
    found = neighbours(skeleton, _STEPS).T
    exists = found >= 0
    first = np.append(0, np.cumsum(exists.sum(axis=1)))
    return csr_array((np.broadcast_to(_STEP_PX, exists.shape)[exists], found[exists], first), shape=(n, n))


def _longest_path(graph: csr_array) -> npt.NDArray[np.intp]:
    """Return the indices, in order, of the pixels of the longest of the shortest paths through a skeleton.

    Two searches find it: from any pixel to the farthest, and from there to the farthest again. This is exact for
    skeletons without loops.
    """
    first = int(np.argmax(dijkstra(graph, directed=False, indices=0)))
    distance, previous = dijkstra(graph, directed=False, indices=first, return_predecessors=True)
    return _chain(previous, first, int(np.argmax(distance)))


def _chain(previous: npt.NDArray[np.integer[Any]], first: int, last: int) -> npt.NDArray[np.intp]:
    """Return the indices of the pixels from the last back to the first."""
    chain = [last]
    while chain[-1] != first:
        chain.append(int(previous[chain[-1]]))
    return np.array(chain)


def _way_back(graph: csr_array, chain: npt.NDArray[np.intp], skeleton: Pixels) -> npt.NDArray[np.intp]:
    """Return the pixels by which a path closes to a ring, from its end to its start; none where it does not.

    A ring shares no other pixel with the path, and encloses pixels: corners of a skeleton are no rings.
    """
    last, first = int(chain[0]), int(chain[-1])
    ends = np.bincount(graph.indices, minlength=graph.shape[0])[[last, first]] + np.diff(graph.indptr)[[last, first]]
    if len(chain) < 3 or ends.min() < 2:  # the path itself is all that leads to one of its ends
        return np.array([], np.intp)
    free = np.ones(graph.shape[0])
    free[chain[1:-1]] = 0
    kept = graph.multiply(free[:, None]).multiply(free).tocsr()
    kept.eliminate_zeros()
    distance, previous = dijkstra(kept, directed=False, indices=last, return_predecessors=True)
    if not np.isfinite(distance[first]):
        return np.array([], np.intp)
    back = _chain(previous, last, first)[1:]
    ring = skeleton[np.append(chain[:-1], np.append(first, back[:-1]))]
    return back if pixels_inside(ring) > 0 else np.array([], np.intp)


def pixels_inside(ring: Pixels) -> int:
    """Return how many pixels a chain of neighbouring pixels (y, x) encloses, by its area (Pick 1899)."""
    y, x = ring.T
    doubled = abs(int((x * np.roll(y, 1) - y * np.roll(x, 1)).sum()))
    return (doubled - len(x)) // 2 + 1


def smooth_ring(path: Points | Pixels) -> Points:
    """Return a closed path, whose last point is its first, smoothed along its length."""
    path = path.astype(np.float64)
    spread = min(_SMOOTHING_PX, len(path) / 30)  # smoothing shrinks a ring that is not much larger than its spread
    smoothed = gaussian_filter1d(path[:-1], spread, axis=0, mode="wrap")
    return np.concatenate([smoothed, smoothed[:1]])


def smooth(paths: Sequence[Points | Pixels]) -> list[Points]:
    """Return paths smoothed along their length. Their ends stay: there, each is continued by its mirror image."""
    if not paths:
        return []
    length = np.array([len(path) for path in paths])
    points = np.concatenate(paths).astype(np.float64)
    of_path = np.repeat(np.arange(len(paths)), length + 2 * _REACH)
    continued = length + 2 * _REACH
    along = np.arange(len(of_path)) - (np.cumsum(continued) - continued + _REACH)[of_path]
    nearest = np.clip(along, 0, (length - 1)[of_path])
    reach = np.minimum(length - 1, _REACH)[of_path]
    mirrored = nearest + np.clip(nearest - along, -reach, reach)
    start = (np.cumsum(length) - length)[of_path]
    longer = 2 * points[start + nearest] - points[start + mirrored]
    smoothed = gaussian_filter1d(longer, _SMOOTHING_PX, axis=0, mode="nearest")[nearest == along]
    short = np.repeat(length < 3, length)
    smoothed[short] = points[short]
    return np.split(smoothed, np.cumsum(length)[:-1])


def lengths_px(paths: Sequence[Points]) -> Float64Array:
    """Return the length of each path from its first point to its last, `(paths,)`."""
    return sums_of_steps(paths, np.hypot(*np.diff(points_of(paths), axis=0).T))


def points_of(paths: Sequence[Points]) -> Points:
    """Return the points of all paths, one path behind the other."""
    return np.concatenate([*paths, np.empty((0, 2))])


def sums_of_steps(paths: Sequence[Points], steps: Float64Array) -> Float64Array:
    """Return the sum of the lengths of the steps of each path, `(paths,)`.

    Parameters
    ----------
    paths
        The paths.
    steps
        The lengths of the steps between the points of `points_of`, `(points - 1,)`. Those from one path to the next do
        not count.
    """
    owner = np.repeat(np.arange(len(paths)), [len(path) for path in paths])
    same = owner[1:] == owner[:-1]
    return np.asarray(np.bincount(owner[1:][same], steps[same], len(paths)), np.float64)


def along_path(path: Points) -> Float64Array:
    """Return the length of the path from its first point to each point, `(n,)`."""
    steps = np.hypot(*np.diff(path, axis=0).T)
    return np.concatenate([[0.0], np.cumsum(steps)])


def _at(path: Points, along: Float64Array, length: float) -> Points:
    """Return the point (y, x) at a length along a path, whose points are `along` it."""
    return np.array([np.interp(length, along, axis) for axis in path.T])
