"""Shape of a map -> chunks of rows, windows and their weights: pure geometry, in pixels."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from bigsf.arrays import BoolArray, Float64Array, FloatArray, IntArray

CHUNK_PIXELS = 4_000_000
"""Pixels of a plane that a step holds in memory at a time; it changes memory and speed, never a result."""

READ_PIXELS = 1_000_000
"""The same for steps that only look at each pixel once."""

BLOCK_PIXELS = 1 << 18
"""Pixels that are worked on at a time, a part of a chunk: what the caches of a processor hold."""


def grid_points(y: npt.ArrayLike, x: npt.ArrayLike) -> Float64Array:
    """Return all points (y, x) of a grid, row by row, `(len(y) * len(x), 2)`."""
    return np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1).reshape(-1, 2).astype(np.float64)


class Tile(NamedTuple):
    """A part of a map: rows y0 to y1 and columns x0 to x1, the ends exclusive."""

    y0: int
    y1: int
    x0: int
    x1: int

    @classmethod
    def whole(cls, shape: tuple[int, int]) -> Self:
        """Return the whole of a map `(ny, nx)`."""
        return cls(0, shape[0], 0, shape[1])

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx) of the part."""
        return self.y1 - self.y0, self.x1 - self.x0

    def grown(self, px: int, whole: "Tile") -> "Tile":
        """Return the part with a margin around it, up to the ends of the `whole`."""
        return Tile(self.y0 - px, self.y1 + px, self.x0 - px, self.x1 + px).overlap(whole)

    def overlap(self, other: "Tile") -> "Tile":
        """Return what two parts share; its first row or column is its end where they share nothing."""
        y0, x0 = max(self.y0, other.y0), max(self.x0, other.x0)
        return Tile(y0, max(y0, min(self.y1, other.y1)), x0, max(x0, min(self.x1, other.x1)))

    def overlaps(self, other: "Tile") -> bool:
        """Return whether two parts share a pixel."""
        return min(self.overlap(other).shape) > 0

    def within(self, other: "Tile") -> tuple[slice, slice]:
        """Return the rows and columns of this part in an array that holds a larger part."""
        y, x = other.y0, other.x0
        return slice(self.y0 - y, self.y1 - y), slice(self.x0 - x, self.x1 - x)

    @property
    def rows(self) -> slice:
        """Its rows."""
        return slice(self.y0, self.y1)

    @property
    def columns(self) -> slice:
        """Its columns."""
        return slice(self.x0, self.x1)


def tiles_of(shape: tuple[int, int], rows: int, columns: int) -> list[list[Tile]]:
    """Return a grid of tiles that cover a map `(ny, nx)`, as a list of rows of tiles.

    The tiles are nearly equal, and have at most `rows` times `columns` pixels.
    """
    y_edges, x_edges = (
        np.linspace(0, size, -(-size // most) + 1).round().astype(int).tolist()
        for size, most in zip(shape, (rows, columns), strict=True)
    )
    return [[Tile(y0, y1, x0, x1) for x0, x1 in pairwise(x_edges)] for y0, y1 in pairwise(y_edges)]


def random_tiles(rows: int, columns: int, seed: int = 0) -> list[tuple[int, int]]:
    """Return (row, column) of all tiles of a grid in random order: any number of the first ones is a sample."""
    order = np.random.default_rng(seed).permutation(rows * columns)
    return [divmod(place, columns) for place in order.tolist()]


def window_starts(length: int, window: int, stride: int) -> IntArray:
    """Return the first pixel of each window along one axis: every `stride` pixels, and flush with the end.

    Each pixel lies in at least one window and no window reaches outside, for any `stride` up to `window`.
    A single window at 0 stands for an axis not longer than the window.
    """
    last = max(length - window, 0)
    starts = np.arange(0, last + 1, stride, dtype=np.int64)
    return starts if starts[-1] == last else np.append(starts, last)


def blend_weight(window: int) -> FloatArray:
    """Return the weight `(window, window)` of a window's pixels where windows overlap: sin², never zero.

    The weights of windows at a stride of half their size sum to a constant, and fall smoothly to the border of a
    window, so that no seam shows.
    """
    profile = np.sin(np.pi * (np.arange(window) + 0.5) / window) ** 2
    return np.outer(profile, profile).astype(np.float32)


def bands(length: int, rows: int) -> Iterator[tuple[int, int]]:
    """Yield (y0, y1) of consecutive bands of at most `rows` rows, or (x0, x1) of columns."""
    for y0 in range(0, length, rows):
        yield y0, min(y0 + rows, length)


def row_chunks(shape: tuple[int, int], pixels: int = READ_PIXELS, least_rows: int = 1) -> Iterator[tuple[int, int]]:
    """Yield (y0, y1) of consecutive bands of rows of a map `(ny, nx)` that hold about so many pixels each."""
    ny, nx = shape
    return bands(ny, max(least_rows, pixels // nx))


def in_bands(
    rows: Iterable[tuple[int, int, FloatArray]], edges: Sequence[int]
) -> Iterator[tuple[int, int, FloatArray]]:
    """Regroup consecutive bands of rows into others.

    Parameters
    ----------
    rows
        Bands (y0, y1, values `(..., rows, nx)`) from top to bottom.
    edges
        The last row (exclusive) of each new band; the first begins at row 0.

    Yields
    ------
    tuple
        The new bands (y0, y1, values).
    """
    held: list[FloatArray] = []
    top = 0
    for _, bottom, values in rows:
        held.append(values)
        for edge in edges:
            if top < edge <= bottom:
                joined = np.concatenate(held, axis=-2)
                yield top, edge, joined[..., : edge - top, :]
                held, top = [joined[..., edge - top :, :]], edge


def count_in_windows(mask: BoolArray, window: int, y: IntArray, x: IntArray) -> npt.NDArray[np.int32]:
    """Count the true pixels of each window.

    Parameters
    ----------
    mask
        Booleans `(ny, nx)`.
    window
        Side of the windows.
    y, x
        First rows and first columns of the windows, in `mask`.

    Returns
    -------
    ndarray
        Counts `(len(y), len(x))`.
    """
    across = np.zeros((mask.shape[0], mask.shape[1] + 1), np.int32)
    np.cumsum(mask, axis=1, dtype=np.int32, out=across[:, 1:])
    rows = across[:, x + window] - across[:, x]
    down = np.zeros((mask.shape[0] + 1, len(x)), np.int32)
    np.cumsum(rows, axis=0, dtype=np.int32, out=down[1:])
    return down[y + window] - down[y]


def extended(plane: FloatArray, height: int) -> FloatArray:
    """Return a plane `(m, rows, nx)` with rows of zeros added below, up to a height."""
    missing = max(0, height - plane.shape[1])
    return np.pad(plane, ((0, 0), (0, missing), (0, 0)))


def padded(band: FloatArray, shape: tuple[int, int]) -> FloatArray:
    """Return a band `(c, rows, nx)` with missing pixels added below and to the right, up to a shape."""
    below, right = shape[0] - band.shape[1], shape[1] - band.shape[2]
    if not below and not right:
        return band
    return np.pad(band, ((0, 0), (0, below), (0, right)), constant_values=np.nan)
