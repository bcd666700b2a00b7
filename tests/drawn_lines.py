"""Filaments of known shape: lines of known length and bend, and a bar on a flat map."""

from collections.abc import Callable

import numpy as np
from scipy.spatial import cKDTree

from bigsf.arrays import Float64Array, FloatArray, MaskArray

Line = Float64Array


def line(length: float, angle_deg: float, bend: Callable[[Line], Line] = np.zeros_like) -> Line:
    """Return points (y, x) of a line around (0, 0); `bend` turns its heading, in radians, along it."""
    along = np.linspace(0, length, int(10 * length))
    heading = np.deg2rad(angle_deg) + bend(along)
    steps = np.stack([np.sin(heading), np.cos(heading)], axis=1) * (along[1] - along[0])
    points = np.cumsum(steps, axis=0)
    return np.asarray(points - points[len(points) // 2])


def distance_map(points: Line, size: int, offset: tuple[float, float] = (0.0, 0.0)) -> Line:
    """Return the distance of each pixel from a line in the middle of a square map."""
    pixels = np.argwhere(np.ones((size, size)))
    distance, _ = cKDTree(points + size / 2 + offset).query(pixels)
    return np.asarray(distance).reshape(size, size)


def bar(ny: int = 40, nx: int = 60) -> tuple[MaskArray, FloatArray]:
    """Return a mask of 5 x 20 pixels and a map that is 3 on it and 2 around it."""
    mask = np.zeros((ny, nx), np.uint8)
    mask[10:15, 20:40] = 1
    return mask, np.where(mask == 1, np.float32(3), np.float32(2))
