"""Areas, the cells of the coarse grid by which a map is assigned to folds: pure geometry, in pixels."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from bigsf.arrays import BoolArray, IntArray, MaskArray


@dataclass(frozen=True)
class AreaGrid:
    """A grid of areas over the distinct sky of a map.

    Parameters
    ----------
    y_edges, x_edges
        First pixel of each row and column of areas, and the end of the last.
    nx
        Columns of the map. Those from `x_edges[-1]` on show sky that the map has shown already.
    period_px
        Columns after which the sky repeats (360 degrees of longitude); infinite where it does not.
    """

    y_edges: tuple[int, ...]
    x_edges: tuple[int, ...]
    nx: int
    period_px: float = np.inf

    @classmethod
    def regular(cls, shape: tuple[int, int], area_size: int, patch_size: int, period_px: float) -> "AreaGrid":
        """Return areas of `area_size` pixels; a remainder too narrow for a patch joins its neighbour."""
        ny, nx = shape
        width = distinct_width(nx, period_px)
        return cls(_edges(ny, area_size, patch_size), _edges(width, area_size, patch_size), nx, period_px)

    @classmethod
    def strips(cls, shape: tuple[int, int], k: int, period_px: float) -> "AreaGrid":
        """Return k equal areas along the longer axis, or as many as it has pixels."""
        ny, nx = shape
        width = distinct_width(nx, period_px)
        length = max(ny, width)
        k = min(k, length)
        parts = tuple(round(i * length / k) for i in range(k + 1))
        y_edges, x_edges = (parts, (0, width)) if ny > width else ((0, ny), parts)
        return cls(y_edges, x_edges, nx, period_px)

    @property
    def shape(self) -> tuple[int, int]:
        """(areas down, areas across)."""
        return len(self.y_edges) - 1, len(self.x_edges) - 1

    @property
    def first_sky(self) -> BoolArray:
        """Which columns show sky that the map has not shown further left, `(nx,)`."""
        return np.arange(self.nx) < self.x_edges[-1]

    def sums(self, mask: MaskArray) -> IntArray:
        """Return the sum of a mask `(ny, nx)` over each area."""
        across = np.stack(
            [
                np.add.reduceat(mask[y0:y1].sum(axis=0, dtype=np.int64)[: self.x_edges[-1]], self.x_edges[:-1])
                for y0, y1 in pairwise(self.y_edges)
            ]
        )
        return across.astype(np.int64)

    def area_of(self, positions: npt.NDArray[np.integer]) -> tuple[IntArray, IntArray]:
        """Return (row, column) in the grid of the areas that hold pixels `(n, 2)`, (y, x)."""
        x, end = positions[:, 1], self.x_edges[-1]
        if np.isfinite(self.period_px):
            turns = np.where(x >= end, (x - end) // self.period_px + 1, 0)
            x = np.minimum(x - np.round(turns * self.period_px).astype(np.int64), end - 1)
        return (
            np.searchsorted(self.y_edges, positions[:, 0], side="right") - 1,
            np.searchsorted(self.x_edges, x, side="right") - 1,
        )

    def keeps(
        self, positions: npt.NDArray[np.integer], patch_size: int, overlap: int, gap: int
    ) -> tuple[BoolArray, BoolArray]:
        """Say which patches may be used.

        Returns
        -------
        inside : ndarray
            Whether each patch ends at most `overlap - gap` pixels past its area; before its end where this is negative.
        new_sky : ndarray
            Whether each patch shows only sky that the map has not shown further left.
        """
        row, column = self.area_of(positions)
        y_end, x_end = positions[:, 0] + patch_size, positions[:, 1] + patch_size
        reach = overlap - gap
        y_limit = np.asarray(self.y_edges)[row + 1] + reach
        x_limit = np.asarray(self.x_edges)[column + 1] + reach
        y_limit[row == self.shape[0] - 1] = self.y_edges[-1]  # no area follows: neither overlap nor gap applies
        x_limit[column == self.shape[1] - 1] = self.x_edges[-1]
        new_sky = x_end <= min(self.nx, np.floor(self.period_px) - gap)
        return (y_end <= y_limit) & (x_end <= x_limit), new_sky

    def rows(self, grid: IntArray, y0: int, y1: int, columns: slice = slice(None)) -> MaskArray:
        """Return the value in `grid` of the area of each pixel of rows y0 to y1, `(rows, columns)`."""
        x = np.arange(self.nx)[columns]
        _, column = self.area_of(np.stack([np.zeros_like(x), x], axis=1))
        row = np.searchsorted(self.y_edges, np.arange(y0, y1), side="right") - 1
        return grid[row[:, None], column[None, :]].astype(np.uint8)

    def inside(self, chosen: BoolArray, y: IntArray, x: IntArray, gap: int = 0) -> BoolArray:
        """Say which pixels lie in chosen areas.

        Parameters
        ----------
        chosen
            One boolean per area, `(areas down, areas across)`.
        y, x
            Rows `(..., h)` and columns `(..., w)` of the map.
        gap
            Pixels at the end of each area that belong to none.

        Returns
        -------
        ndarray
            `(..., h, w)`; False in a gap, and on sky that the map has shown further left.
        """
        row, before_y = _lines(self.y_edges, y, gap, self.y_edges[-1])
        column, before_x = _lines(self.x_edges, x, gap, min(self.x_edges[-1], np.floor(self.period_px) - gap))
        inside: BoolArray = chosen[row[..., :, None], column[..., None, :]]
        return inside & before_y[..., :, None] & before_x[..., None, :]


def _lines(edges: tuple[int, ...], pixels: IntArray, gap: int, end: float) -> tuple[IntArray, BoolArray]:
    """Return the row (or column) of areas of each pixel, and whether the pixel lies before the gap.

    The last row (or column) ends at `end`.
    """
    line = np.minimum(np.searchsorted(edges, pixels, side="right") - 1, len(edges) - 2)
    return line, pixels < np.append(np.asarray(edges[1:-1]) - gap, end)[line]


def distinct_width(nx: int, period_px: float) -> int:
    """Return the number of columns before the sky repeats."""
    return int(min(nx, np.floor(period_px)))


def _edges(length: int, area_size: int, patch_size: int) -> tuple[int, ...]:
    starts = list(range(0, length, area_size))
    if len(starts) > 1 and length - starts[-1] < patch_size:
        starts.pop()
    return (*starts, length)
