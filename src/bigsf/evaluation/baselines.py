"""A map -> baselines: maps that need no training, and that a network must beat."""

import math
from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from typing import NamedTuple, Self

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter

from bigsf.arrays import BoolArray, Float64Array, FloatArray
from bigsf.evaluation.ridge_filters import frangi, sato
from bigsf.maps.planes import MapRows
from bigsf.maps.tiling import CHUNK_PIXELS, Tile, bands, random_tiles

_FILL_PX = 68  # missing pixels up to this far from a valid pixel are filled, whatever the filter
_FILTER_PLANES = 8  # about as many planes of a chunk are in memory while it is filtered


class Filter(NamedTuple):
    """A filter for maps."""

    apply: Callable[[Float64Array], Float64Array]
    """From log10 of a map `(ny, nx)` to a map of the same shape that is high on filaments."""
    reach_px: int
    """How far along y and x a pixel depends on others."""

    @property
    def fill_px(self) -> int:
        """How far from a valid pixel missing ones are filled: as far as the filter sees from there, or further."""
        return max(_FILL_PX, math.ceil(math.sqrt(2) * self.reach_px))

    @property
    def margin_px(self) -> int:
        """How far around a part of a map is read to filter it."""
        return self.reach_px + self.fill_px


def local_contrast(log_n: Float64Array, sigma_px: float) -> Float64Array:
    """Return log10 of the map minus its Gaussian mean."""
    return np.asarray(log_n - gaussian_filter(log_n, sigma_px))


def _contrast_scales(*sigmas_px: int) -> dict[str, Filter]:
    return {f"sigma {s} px": Filter(partial(local_contrast, sigma_px=s), 4 * s) for s in sigmas_px}


def _ridge_scales(ridges: Callable[..., Float64Array], *scales_px: Sequence[float]) -> dict[str, Filter]:
    return {
        f"sigma {', '.join(map(str, sigmas_px))} px": Filter(
            partial(ridges, sigmas_px=sigmas_px), math.ceil(4 * max(sigmas_px)) + 1
        )
        for sigmas_px in scales_px
    }


BASELINES: dict[str, dict[str, Filter]] = {
    "column density": {"unfiltered": Filter(lambda log_n: log_n, 0)},
    "local contrast": _contrast_scales(12, 6, 24),
    "Sato filter": _ridge_scales(sato, (1.5, 2, 3), (3, 4, 6), (6, 8, 12)),
    "Frangi filter": _ridge_scales(frangi, (1.5, 2, 3), (3, 4, 6), (6, 8, 12)),
}
"""The scales of each baseline, and their filters. The first scale is the one without labels to choose by."""


def first_scale(name: str) -> str:
    """Return the scale of a baseline where there are no labels to choose by."""
    return next(iter(BASELINES[name]))


_POSITIVE = 0.99
"""From this fraction of positive values on, the logarithm is taken: a few odd pixels do not make the filters weaker."""

_SAMPLE_PIXELS, _SAMPLE_SIDE = 1_000_000, 256
"""Pixels of a sample of a map that count, and the side of its tiles in pixels."""


def sampled_tiles(shape: tuple[int, int], valid: Callable[[Tile], BoolArray]) -> list[tuple[Tile, BoolArray]]:
    """Return a random sample of the tiles of a map, with the pixels of each that count; of a small map, the whole.

    The sample ends where it holds a million pixels that count. Tiles without such a pixel are left out.

    Parameters
    ----------
    shape
        (ny, nx) of the map.
    valid
        A function from a part of the map to a mask `(rows, columns)` of the pixels that count.
    """
    whole = Tile.whole(shape)
    if shape[0] * shape[1] <= _SAMPLE_PIXELS:
        return [(whole, valid(whole))]
    sample, count = [], 0
    for row, column in random_tiles(*(-(-size // _SAMPLE_SIDE) for size in shape)):
        y, x = _SAMPLE_SIDE * row, _SAMPLE_SIDE * column
        tile = Tile(y, y + _SAMPLE_SIDE, x, x + _SAMPLE_SIDE).overlap(whole)
        where = valid(tile)
        if where.any():
            sample.append((tile, where))
            count += int(where.sum())
        if count >= _SAMPLE_PIXELS:
            break
    return sample


class BaselineMaps:
    """The baselines of a map, computed when rows are asked for.

    Missing pixels take the value of the nearest valid pixel, so that filters see no edge around a hole. A missing pixel
    farther than `Filter.fill_px` from every valid one takes the median of the map; no valid pixel depends on it.

    Parameters
    ----------
    planes
        The map. Its first channel is filtered: log10 of it where 99 % of the values are positive or more, otherwise the
        values themselves.
    sample_pixels
        The map is sampled with about this many pixels. The sample gives the median, and decides whether log10 is taken.
        If so, a pixel that is not positive counts as missing.
    chunk_pixels
        Bound on the pixels that are held in memory. It does not change the result.
    """

    def __init__(self, planes: MapRows, sample_pixels: int = 2_000_000, chunk_pixels: int = CHUNK_PIXELS) -> None:
        self.planes, self.chunk_pixels = planes, chunk_pixels
        ny, nx = planes.shape
        step = math.isqrt(max(1, ny * nx // sample_pixels))
        sample = np.concatenate([planes.read_rows(y, y + 1)[0, 0, ::step] for y in range(0, ny, step)])
        sample = sample[np.isfinite(sample)]
        self.log = bool(sample.size and (sample > 0).mean() >= _POSITIVE)
        self.median = float(np.median(sample)) if sample.size else 0.0

    def on_map(self, planes: MapRows) -> Self:
        """Return the baselines of a changed map, with the same median, and the logarithm taken or not as here."""
        other = copy(self)
        other.planes = planes
        return other

    def rows(
        self, name: str, scale: str, y0: int, y1: int, columns: Sequence[tuple[int, int]] | None = None
    ) -> FloatArray:
        """Return rows y0 to y1 (exclusive) of the baseline `name`, `(rows, nx)`. No pixel is NaN.

        Parameters
        ----------
        name, scale
            A baseline and one of its scales, as `BASELINES` has them.
        y0, y1
            The rows.
        columns
            Ranges (x0, x1) of columns. Only these are computed, and returned side by side. By default all columns.
        """
        chosen = BASELINES[name][scale]
        height = y1 - y0 + 2 * chosen.margin_px
        width = max(1, self.chunk_pixels // _FILTER_PLANES // height)
        parts = []
        for first, end in [(0, self.planes.shape[1])] if columns is None else columns:
            for start, stop in bands(end - first, width):
                parts.append(self._filtered(chosen, Tile(y0, y1, first + start, first + stop)))
        return np.concatenate(parts, axis=1, dtype=np.float32, casting="same_kind")

    def _filtered(self, chosen: Filter, tile: Tile) -> Float64Array:
        """Return a filter of a part of the map, `(rows, columns)`."""
        whole = Tile.whole(self.planes.shape)
        seen, filtered = (tile.grown(px, whole) for px in (chosen.margin_px, chosen.reach_px))
        chunk = self._filled(self.planes.read_tile(seen)[0], chosen.fill_px)[filtered.within(seen)]
        return chosen.apply(np.log10(chunk) if self.log else chunk)[tile.within(filtered)]

    def _filled(self, image: FloatArray, fill_px: int) -> Float64Array:
        """Return a part of the map in which missing pixels have the value of the nearest valid pixel, or the median."""
        values = image.astype(np.float64)
        valid = values > 0 if self.log else np.isfinite(values)
        if valid.all():
            return values
        if not valid.any():
            return np.full_like(values, self.median)
        distance, (y, x) = distance_transform_edt(~valid, return_indices=True)
        return np.where(distance <= fill_px, values[y, x], self.median)
