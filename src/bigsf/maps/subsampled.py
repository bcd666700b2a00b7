"""Planes of a map, read by rows -> every n-th row and column of them, as many as a figure shows; and masks."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

_MOST_PIXELS = 1500 * 1500
"""Pixels of a plane as it is drawn, at most: about as many as a figure shows."""


def drawing_step(shape: tuple[int, int], most_pixels: int = _MOST_PIXELS) -> int:
    """Return n such that every n-th row and column of a plane (ny, nx) hold no more pixels than are drawn."""
    step = max(1, math.isqrt(math.prod(shape) // most_pixels))
    while math.prod(math.ceil(length / step) for length in shape) > most_pixels:
        step += 1
    return step


class SubsampledPlanes:
    """Every n-th row and column of planes, and masks of n x n pixels, taken while the planes are read by rows.

    Parameters
    ----------
    shape
        (ny, nx) of the full planes.
    most_pixels
        Pixels of a subsampled plane, at most.

    Attributes
    ----------
    step
        Pixels of the full planes per pixel of the subsampled ones.
    """

    def __init__(self, shape: tuple[int, int], most_pixels: int = _MOST_PIXELS) -> None:
        self.shape = shape
        self.step = drawing_step(shape, most_pixels)
        self._rows: dict[str, list[npt.NDArray[Any]]] = {}

    def add(self, y0: int, **planes: npt.NDArray[Any]) -> None:
        """Subsample the next rows `(rows, nx)` of planes by name, from row y0 on."""
        first = -y0 % self.step
        for name, rows in planes.items():
            self._rows.setdefault(name, []).append(rows[first :: self.step, :: self.step].copy())

    def add_masks(self, y0: int, **masks: npt.NDArray[Any]) -> None:
        """Subsample the next rows of masks by name: True where any of n x n pixels is above 0, so no line is lost."""
        for name, rows in masks.items():
            columns = np.logical_or.reduceat(rows > 0, np.arange(0, rows.shape[1], self.step), axis=1)
            blocks = np.arange(y0, y0 + len(rows)) // self.step
            marked = np.logical_or.reduceat(columns, np.flatnonzero(np.diff(blocks, prepend=-1)), axis=0)
            parts = self._rows.setdefault(name, [])
            if y0 % self.step:  # the rows before ended within these n
                parts[-1][-1] |= marked[0]
                marked = marked[1:]
            if len(marked):
                parts.append(marked)

    def __contains__(self, name: str) -> bool:
        return name in self._rows

    def plane(self, name: str) -> npt.NDArray[Any]:
        """Return a subsampled plane."""
        return np.concatenate(self._rows[name])
