"""Pixels of filaments + WCS -> orientations, and lengths and areas on the sky."""

from collections.abc import Sequence

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS

from bigsf.arrays import Float64Array
from bigsf.filaments.spine import Points, lengths_px, points_of, sums_of_steps
from bigsf.maps.wcs import galactic_lb, sky_coordinates

NO_SKY = np.array([[0.0, -1.0], [1.0, 0.0]])
"""Axes in place of those on the sky where there is no WCS: left is -x, and up is +y."""


def orientations(moments: Float64Array, axes: Float64Array) -> Float64Array:
    """Return the angle of the long axis of each filament, counted from up to left.

    Parameters
    ----------
    moments
        Second moments along (y, x), `(n, 2, 2)`.
    axes
        What one pixel along (y, x) is along (left, up), `(n, 2, 2)` or `(2, 2)`, see `sky_axes`.

    Returns
    -------
    ndarray
        Degrees from 0 to below 180, `(n,)`; NaN where no axis is longer than the other.
    """
    left_up = axes @ moments @ axes.swapaxes(-1, -2)
    across, along, mixed = left_up[:, 0, 0], left_up[:, 1, 1], left_up[:, 0, 1]
    elongation = np.hypot(along - across, 2 * mixed)
    angle = np.rad2deg(np.arctan2(2 * mixed, along - across)) / 2 % 180 % 180  # twice, because -1e-17 % 180 is 180
    return np.where(elongation > 1e-9 * (along + across), angle, np.nan)


def sky_axes(wcs: WCS, points: Points) -> Float64Array:
    """Return what one pixel along (y, x) is on the sky, at each point.

    Parameters
    ----------
    wcs
        A celestial WCS.
    points
        Points (y, x) in pixels, `(n, 2)`.

    Returns
    -------
    ndarray
        Arcmin towards (increasing Galactic longitude, Galactic north) for a pixel along (y, x), `(n, 2, 2)`; NaN off
        the sky.
    """
    longitude, latitude = np.deg2rad(galactic_lb(wcs, points)).T
    along_l = _direction(longitude + np.pi / 2, np.zeros(len(points)))
    along_b = _direction(longitude, latitude + np.pi / 2)
    steps = np.stack(_pixel_steps(wcs, points), axis=2)
    axes: Float64Array = 60 * np.rad2deg(np.stack([along_l, along_b], axis=1) @ steps)
    return axes


def _pixel_steps(wcs: WCS, points: Points) -> list[Float64Array]:
    """Return how the direction on the sky changes by one pixel along y, and along x, at each point, `(n, 3)` each."""
    ends = [
        [_direction(*np.deg2rad(galactic_lb(wcs, points + sign * step)).T) for sign in (0.5, -0.5)]
        for step in np.eye(2)
    ]
    return [end - start for end, start in ends]


def _direction(longitude: Float64Array, latitude: Float64Array) -> Float64Array:
    """Return unit vectors `(n, 3)`; differences of longitude mean nothing near a pole."""
    return np.stack(
        [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)], axis=1
    )


def positions(points: Points, wcs: WCS | None) -> dict[str, Float64Array]:
    """Return `x`, `y` and Galactic `l`, `b` of points (y, x), each `(n,)`; NaN off the sky or without a WCS."""
    sky = np.full(points.shape, np.nan) if wcs is None else galactic_lb(wcs, points)
    return {"x": points[:, 1], "y": points[:, 0], "l": sky[:, 0], "b": sky[:, 1]}


def equatorial(l_deg: Float64Array, b_deg: Float64Array) -> dict[str, Float64Array]:
    """Return `ra` and `dec` (ICRS) of Galactic positions, in degrees, each `(n,)`; NaN stays."""
    sky = SkyCoord(l_deg, b_deg, unit="deg", frame="galactic").icrs
    return {"ra": sky.ra.deg, "dec": sky.dec.deg}


def pixel_areas(wcs: WCS, paths: Sequence[Points]) -> Float64Array:
    """Return the mean area of the pixels along each path of points (y, x), in arcmin2, `(n,)`.

    It is NaN for a path off the sky. In a map of the whole sky, pixels differ from one end of a filament to the other.
    """
    along_y, along_x = _pixel_steps(wcs, points_of(paths))
    areas = (60 * np.rad2deg(1)) ** 2 * np.linalg.norm(np.cross(along_y, along_x), axis=1)
    owner, on_sky = np.repeat(np.arange(len(paths)), [len(path) for path in paths]), np.isfinite(areas)
    counts = np.bincount(owner[on_sky], minlength=len(paths))
    return np.bincount(owner[on_sky], areas[on_sky], len(paths)) / np.where(counts > 0, counts, np.nan)


def arcmin_per_pixel(wcs: WCS, paths: Sequence[Points]) -> Float64Array:
    """Return the length of each path of points (y, x) on the sky over its length in pixels, `(n,)`.

    It is 0 for a path of one point, and NaN for a path that leaves the sky.
    """
    sky, pixels = sky_coordinates(wcs, points_of(paths)), lengths_px(paths)
    arcmin = sums_of_steps(paths, sky[1:].separation(sky[:-1]).arcmin)
    return np.divide(arcmin, pixels, out=np.zeros(len(paths)), where=pixels > 0)
