"""Masks of filaments -> their outlines as polygons."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from skimage.measure import find_contours

from bigsf.arrays import BoolArray, Float64Array
from bigsf.filaments.spine import Points

_TOLERANCE_PX = 0.4


def outer_contour(mask: BoolArray) -> Points:
    """Return the border of a mask in steps of half a pixel, (y, x) in pixels, `(n, 2)`; the last is the first.

    It is the largest contour: those of holes lie inside it. The pixels at the edge of the mask must be False.
    """
    contours = find_contours(mask.astype(np.uint8), 0.5, fully_connected="high")
    largest: Points = max(contours, key=lambda points: float(np.ptp(points, axis=0).prod()))
    return largest


def simplified(lines: Sequence[Points]) -> list[Points]:
    """Return lines without the points that lie within 0.4 pixels of what remains (Douglas & Peucker 1973).

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
