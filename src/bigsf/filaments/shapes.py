"""Pixels and spines of filaments + WCS -> positions, sizes and orientations."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.wcs import WCS

from bigsf.arrays import Float64Array
from bigsf.filaments.photometry import Box
from bigsf.filaments.sky_geometry import (
    NO_SKY,
    arcmin_per_pixel,
    equatorial,
    orientations,
    pixel_areas,
    positions,
    sky_axes,
)
from bigsf.filaments.spine import Pixels, Spine


def measure_shapes(
    pixels: Iterable[Pixels], boxes: Sequence[Box], spines: Sequence[Spine], beside_px: Float64Array, wcs: WCS | None
) -> dict[str, npt.NDArray[Any]]:
    """Return the columns of the catalogue that need no map, and `pixel_arcmin2`, the mean area of a pixel, each `(n,)`.

    Parameters
    ----------
    pixels
        The pixels (y, x) of each filament, `(n, 2)`; those of one are in memory at a time.
    boxes
        The rows and columns that each spans.
    spines
        Its longest path.
    beside_px
        The length of its branches beside that path, `(n,)`.
    wcs
        A celestial WCS; without one, the columns on the sky are NaN.
    """
    number = len(spines)
    middle = np.array([spine.middle for spine in spines]).reshape(-1, 2)
    measured = [(len(each), np.cov(each.T, bias=True)) for each in pixels]
    moments = np.array([moments for _, moments in measured]).reshape(-1, 2, 2)
    box = np.array([(y.start, y.stop - 1, x.start, x.stop - 1) for y, x in boxes], np.int64).reshape(-1, 4)
    area = np.array([area for area, _ in measured], np.int64)
    length = np.array([spine.length_px for spine in spines], np.float64)
    position = positions(middle, wcs)
    axes, pixel, scale = NO_SKY, np.full(number, np.nan), np.full(number, np.nan)
    if wcs is not None:
        axes, paths = sky_axes(wcs, middle), [spine.path for spine in spines]
        pixel, scale = pixel_areas(wcs, paths), arcmin_per_pixel(wcs, paths)
    ring = np.array([spine.is_ring for spine in spines], np.bool_)

    def width(area: npt.NDArray[Any], scale: Float64Array | float) -> Float64Array:
        """Return the mean width: of a ring its area over its length, as it has no ends."""
        lines = np.where(length > 0, (length + beside_px) * scale, np.nan)
        return np.where(ring, area / lines, band_width(area, lines))

    return {
        "id": np.arange(1, number + 1),
        **position,
        **equatorial(position["l"], position["b"]),
        **dict(zip(("y0", "y1", "x0", "x1"), box.T, strict=True)),
        "length_px": length,
        "length_arcmin": length * scale,
        "width_px": width(area, 1.0),
        "width_arcmin": width(area * pixel, scale),
        "straightness": np.where(length > 0, [spine.straightness for spine in spines], np.nan),
        "ring": ring,
        "orientation": orientations(moments, axes),
        "orientation_px": orientations(moments, NO_SKY),
        "area_px": area,
        "area_arcmin2": area * pixel,
        "pixel_arcmin2": pixel,
    }


def band_width(area: npt.NDArray[Any], length: Float64Array) -> Float64Array:
    """Return the width w of bands along lines that end half a width beyond them: w (length + w) = area."""
    return np.asarray((np.sqrt(length**2 + 4 * area) - length) / 2)
