"""Masks of filaments -> their outlines as polygons."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree
from skimage.measure import find_contours

from bigsf.arrays import BoolArray, Float64Array
from bigsf.filaments.spine import Points

_TOLERANCE_PX = 0.35  # centres of pixels lie 0.354 pixels from a diagonal border: none changes its side


def contours(mask: BoolArray) -> list[Points]:
    """Return the borders of a connected mask in steps of half a pixel: the outer one, then that of each hole.

    Each is a list of points (y, x) in pixels, `(n, 2)`, of which the last is the first. The pixels at the edge of the
    mask must be False.
    """
    found: list[Points] = find_contours(mask.astype(np.uint8), 0.5, fully_connected="high")
    return sorted(found, key=lambda points: float(np.ptp(points, axis=0).prod()), reverse=True)  # holes lie inside


def with_holes(borders: Sequence[Points]) -> Points:
    """Return an outer border and those of holes as one closed line, which leads to each hole and back on the same way.

    A polygon with these corners has the holes, as the ways there and back enclose nothing. They run along the edges of
    pixels, so that no centre of a pixel lies on them.
    """
    line, *holes = borders
    for hole in holes:
        distances, nearest = cKDTree(line).query(hole)
        start = int(np.argmin(distances))
        around, place = np.roll(hole[:-1], -start, axis=0), nearest[start]
        (y0, x0), (y1, x1) = (np.floor(end) + 0.5 for end in (line[place], around[0]))
        way = np.array([[y0, x0], [y0, x1], [y1, x1]])
        line = np.insert(line, place + 1, [*way, *around, around[0], *way[::-1], line[place]], axis=0)
    return line


def simplified(lines: Sequence[Points]) -> list[Points]:
    """Return lines without the points that lie within 0.35 pixels of what remains (Douglas & Peucker 1973).

    The result is that of `skimage.measure.approximate_polygon`, which takes 0.1 ms for each point of each line. Here
    one step splits the segments of all lines at a time.
    """
    if not lines:
        return []
    points = np.concatenate(lines)
    ends = np.cumsum([len(line) for line in lines])
    start, end = np.append(0, ends[:-1]), ends - 1
    kept = np.zeros(len(points), np.bool_)
    kept[start] = kept[end] = True
    while (open_ := end - start > 1).any():
        start, end = start[open_], end[open_]
        size = end - start - 1
        first = np.cumsum(size) - size
        segment = np.repeat(np.arange(len(start)), size)
        inside = np.arange(len(segment)) + (start + 1 - first)[segment]
        distance = _distances(points, start, end, segment, inside)
        farthest = np.maximum.reduceat(distance, first)
        at_farthest = np.flatnonzero(distance == farthest[segment])
        middle = inside[at_farthest[np.unique(segment[at_farthest], return_index=True)[1]]]
        split = farthest > _TOLERANCE_PX
        kept[middle[split]] = True
        start, end = np.append(start[split], middle[split]), np.append(middle[split], end[split])
    numbers = np.repeat(np.arange(len(lines)), [len(line) for line in lines])[kept]
    return np.split(points[kept], np.cumsum(np.bincount(numbers))[:-1])


def _distances(
    points: Points,
    start: npt.NDArray[np.intp],
    end: npt.NDArray[np.intp],
    segment: npt.NDArray[np.intp],
    inside: npt.NDArray[np.intp],
) -> Float64Array:
    """Return the distance of the points `inside` from the segments that they belong to."""
    y0, x0, y1, x1 = *points[start].T, *points[end].T
    dy, dx = y1 - y0, x1 - x0
    angle = -np.arctan2(dy, dx)
    cos, sin = np.cos(angle), np.sin(angle)
    offset = (x0 * sin + y0 * cos)[segment]
    y, x = points[inside].T
    from_start, to_end = (y - y0[segment], x - x0[segment]), (y - y1[segment], x - x1[segment])
    beside = from_start[0] * dy[segment] + from_start[1] * dx[segment] > 0
    beside &= to_end[0] * dy[segment] + to_end[1] * dx[segment] < 0
    across = np.abs(y * cos[segment] + x * sin[segment] - offset)
    from_ends = np.minimum(*(np.sqrt(y_step**2 + x_step**2) for y_step, x_step in (from_start, to_end)))
    distances: Float64Array = np.where(beside, across, from_ends)
    return distances
