"""Lines of known length and bend, and the distance of pixels from them."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

Line = npt.NDArray[np.float64]


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
