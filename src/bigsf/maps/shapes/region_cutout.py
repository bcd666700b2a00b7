"""A part of the sky -> the rectangle of pixels of a map that holds it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from astropy.coordinates import SkyCoord

from bigsf.arrays import Float64Array
from bigsf.errors import DataError
from bigsf.maps.config import MapConfig, SkyBox
from bigsf.maps.fits_image import FitsImage
from bigsf.maps.shapes.canvas import Canvas
from bigsf.maps.shapes.drawn_mask import DrawnMask, is_drawn
from bigsf.maps.tiling import Tile, grid_points
from bigsf.maps.wcs import galactic_lb

_STEP_PX = 64
_POINTS = 400  # on each side of a box on the sky


def cutout_of(config: MapConfig) -> Callable[[FitsImage], Tile] | None:
    """Return how the part of a map that a configuration asks for is found; None where it asks for the whole."""
    return None if config.region is None else partial(region_cutout, config.region)


def region_cutout(region: SkyBox | Path, image: FitsImage) -> Tile:
    """Return the rectangle of a map that holds a part of the sky, in whole steps of 64 pixels.

    Windows of 64 and of 128 pixels at the usual strides then lie as they do on the whole map, so that the probability
    of a pixel is the same wherever all windows on it lie within the part.

    Parameters
    ----------
    region
        A box of Galactic coordinates, or a file of regions, spines or a MOC.
    image
        The map.

    Raises
    ------
    DataError
        Where the map has no celestial WCS or does not show the part, or the file cannot be read.
    """
    if isinstance(region, Path):
        if not is_drawn(region):
            raise DataError(
                f"The region {region.name} is neither four numbers, as in 359 1 -0.5 0.5, nor a file of regions, "
                "spines or a MOC."
            )
        mask = DrawnMask(region, image).mask
        if not mask.any():
            raise DataError(f"The region {region.name} covers no pixel of {image.name}.")
        marked = [np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0)]
        low, high = (np.array([each[end] for each in marked]) for end in (0, -1))
    else:
        low, high = _extent(region, image)
    low, high = np.maximum(low, 0), np.minimum(high, np.array(image.shape) - 1)
    first = np.floor(low / _STEP_PX).astype(int) * _STEP_PX
    end = np.minimum(-(-np.floor(high + 1) // _STEP_PX).astype(int) * _STEP_PX, image.shape)
    return Tile(int(first[0]), int(end[0]), int(first[1]), int(end[1]))


def _extent(box: SkyBox, image: FitsImage) -> tuple[Float64Array, Float64Array]:
    """Return the least and the greatest (y, x) of a box on the sky."""
    canvas = Canvas(image.shape, image.wcs, image.name)
    up, back = np.linspace(0, 1, _POINTS), np.linspace(1, 0, _POINTS)
    zero, one = np.zeros(_POINTS), np.ones(_POINTS)
    longitude = box.l0 + box.width * np.concatenate([up, one, back, zero])
    latitude = box.b0 + (box.b1 - box.b0) * np.concatenate([zero, up, one, back])
    pixels = canvas.to_pixels(SkyCoord(longitude, latitude, unit="deg", frame="galactic"))
    within = _pixels_in(box, image)  # a box that holds a pole, or all of the map, reaches beyond its outline
    x = pixels[:, 1] if np.isinf(canvas.period) else (pixels[:, 1] + 0.5) % canvas.period - 0.5
    shown = [(axis >= -0.5) & (axis < size - 0.5) for axis, size in zip((pixels[:, 0], x), image.shape, strict=True)]
    shows = len(within) > 0 or np.logical_and(*shown).any()
    if np.isinf(canvas.period):
        pixels = np.concatenate([pixels, within - _STEP_PX, within + _STEP_PX])
    pixels = pixels[np.isfinite(pixels).all(axis=1)]
    if shows and len(pixels):
        low, high = pixels.min(axis=0), pixels.max(axis=0)
        low[1], high[1] = canvas.columns_of(low[1], high[1])
        if np.isfinite(canvas.period):
            rows = within[:, 0]  # and the pole lies less than a step from the last of them
            low[0] = min([low[0], *(rows[rows < low[0] - 1] - _STEP_PX + 1)])
            high[0] = max([high[0], *rows[rows > high[0] + 1]])
        if (high >= -0.5).all() and (low < np.array(image.shape) - 0.5).all():
            return low, high
    raise DataError(
        f"{image.name} does not show the region l = {box.l0:g} to {box.l1:g}, b = {box.b0:g} to {box.b1:g}."
    )


def _pixels_in(box: SkyBox, image: FitsImage) -> Float64Array:
    """Return the pixels (y, x) `(n, 2)` of a grid with a spacing of 64 pixels whose positions lie in a box."""
    assert image.wcs is not None
    y, x = (np.unique([*range(0, size, _STEP_PX), size - 1]) for size in image.shape)
    grid = grid_points(y, x)
    longitude, latitude = galactic_lb(image.wcs, grid).T
    inside: Float64Array = grid[((longitude - box.l0) % 360 <= box.width) & (latitude >= box.b0) & (latitude <= box.b1)]
    return inside
