"""A map -> the map binned by a factor, and its probability brought back to the grid of the map."""

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from bigsf.arrays import BoolArray, Float64Array, FloatArray, IntArray, MaskArray
from bigsf.maps.planes import MapRows
from bigsf.maps.tiling import Tile

Kind = TypeVar("Kind", bound=np.generic)


class BinnedMap(MapRows):
    """Means of a map over squares of n x n pixels.

    Parameters
    ----------
    planes
        The map.
    n
        Side of the squares. Those at the end of the map may reach past it.
    """

    def __init__(self, planes: MapRows, n: int) -> None:
        self.planes, self.n = planes, n

    @property
    @override
    def shape(self) -> tuple[int, int]:
        ny, nx = self.planes.shape
        return -(-ny // self.n), -(-nx // self.n)

    @override
    def read_tile(self, tile: Tile) -> FloatArray:
        """Return a part of the binned map, NaN where half of a square or more is missing in any channel."""
        (ny, nx), (y0, y1, x0, x1) = self.planes.shape, (self.n * edge for edge in tile)
        image = self.planes.read_tile(Tile(y0, min(y1, ny), x0, min(x1, nx)))
        blocks = squares(image, self.n, np.nan)
        valid = np.isfinite(blocks)
        count = valid.sum(axis=-1)
        mean = np.where(valid, blocks, 0).sum(axis=-1, dtype=np.float64) / np.maximum(count, 1)
        return np.where(2 * count > self.n**2, mean, np.nan).astype(np.float32)


class LargestScale:
    """Finds the factor at which the mean probability over models is largest, pixel by pixel.

    Parameters
    ----------
    wanted
        True where a factor is to be found, `(y, x)`.

    Attributes
    ----------
    scale
        uint8 `(y, x)`; of equal factors the one that was added first, 0 where there is none.
    """

    def __init__(self, wanted: BoolArray) -> None:
        self.scale: MaskArray = np.zeros(wanted.shape, np.uint8)
        self._largest = np.where(wanted, np.float32(-1), np.float32(np.inf))

    def add(self, n: int, probability: FloatArray) -> None:
        """Take the probabilities `(models, y, x)` of a map that was binned by n, NaN where there are none."""
        mean = probability.mean(axis=0)
        larger = mean > self._largest
        self.scale[larger], self._largest[larger] = n, mean[larger]


def squares(planes: npt.NDArray[Kind], n: int, fill: Any) -> npt.NDArray[Kind]:
    """Return the pixels of each square of n x n of planes `(..., y, x)`, `(..., y / n, x / n, n * n)`.

    Planes are filled up to whole squares at their end.
    """
    *first, ny, nx = planes.shape
    below, right = -ny % n, -nx % n
    filled = np.pad(planes, [*((0, 0) for _ in first), (0, below), (0, right)], constant_values=fill)
    blocks = filled.reshape(*first, (ny + below) // n, n, (nx + right) // n, n)
    return np.asarray(blocks.swapaxes(-2, -3)).reshape(*blocks.shape[:-3], (nx + right) // n, n * n)


def squares_beside(tile: Tile, n: int, shape: tuple[int, int]) -> Tile:
    """Return the squares in and beside a part of a map, of the `shape` (ny, nx) that the binned map has."""
    y0, x0 = max(0, tile.y0 // n - 1), max(0, tile.x0 // n - 1)
    return Tile(y0, min(shape[0], (tile.y1 - 1) // n + 2), x0, min(shape[1], (tile.x1 - 1) // n + 2))


def enlarged(level: FloatArray, held: Tile, n: int, tile: Tile, shape: tuple[int, int]) -> FloatArray:
    """Return a part of a map from its binned one, bilinear over valid squares.

    Parameters
    ----------
    level
        A part of the binned map, `(m, y, x)`, NaN where missing.
    held
        Which part that is: `squares_beside` the tile, or more.
    n
        Side of the squares.
    tile
        The part of the map.
    shape
        (ny, nx) of the whole binned map.

    Returns
    -------
    ndarray
        float32 `(m, y, x)`; NaN where no square beside a pixel is valid.
    """
    total = np.zeros((len(level), *tile.shape), np.float32)
    weight = np.zeros_like(total)
    for rows, of_rows in _neighbours(np.arange(tile.y0, tile.y1), n, shape[0]):
        part = level[:, rows - held.y0].astype(np.float32)
        for columns, of_columns in _neighbours(np.arange(tile.x0, tile.x1), n, shape[1]):
            values = part[:, :, columns - held.x0]
            share = (of_rows[:, None] * of_columns).astype(np.float32) * ~np.isnan(values)
            total += np.multiply(share, values, out=np.zeros_like(total), where=share > 0)
            weight += share
    with np.errstate(invalid="ignore"):
        return total / weight


def _neighbours(pixels: IntArray, n: int, size: int) -> list[tuple[IntArray, Float64Array]]:
    """Return the two squares nearest to each pixel along one axis, and their weights."""
    place = np.clip((pixels + 0.5) / n - 0.5, 0, size - 1)
    first = np.minimum(place.astype(np.int64), max(size - 2, 0))
    second = np.minimum(first + 1, size - 1)
    return [(first, 1 - (place - first)), (second, place - first)]
