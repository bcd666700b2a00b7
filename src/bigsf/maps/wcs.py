"""FITS header -> celestial WCS; WCS -> pixel scale, positions on the sky, columns after which the sky repeats."""

import re
import warnings
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from astropy.coordinates import BarycentricMeanEcliptic, BaseCoordinateFrame, SkyCoord, Supergalactic
from astropy.io import fits
from astropy.time import Time
from astropy.wcs import WCS
from astropy.wcs.utils import wcs_to_celestial_frame

from bigsf.arrays import Float64Array
from bigsf.maps.fits_guard import quiet_astropy
from bigsf.maps.plane_header import plane_header

_CYLINDRICAL = ("CAR", "CEA", "CYP", "MER")
"""Projections whose columns go on beyond half a turn from the reference."""

_REPEATING = (*_CYLINDRICAL, "SFL")
"""Projections in which columns at a distance of 360 degrees on the equator show the same sky."""

_WHOLE_PX = 0.01  # a number of columns is a whole one where it is no further from it

_ON_THE_SKY = ("RA--", "GLON", "ELON", "SLON")
"""Longitudes whose frames are fixed among the stars: those of the Sun and of planets are not."""


class PlaneWCS(NamedTuple):
    """The WCS of a plane, and the header that holds it."""

    header: fits.Header
    """The header of the plane, whose WCS can be read, celestial or not."""
    wcs: WCS | None
    """The celestial WCS, or None."""
    faults: tuple[str, ...]
    """What of the WCS is left out or not used, and why, one sentence each."""


def read_plane_wcs(
    header: fits.Header, axes: tuple[int, int] = (1, 2), first_pixel: tuple[int, int] = (0, 0)
) -> PlaneWCS:
    """Return the celestial WCS of a plane of an array.

    It is None where the axes of the plane are no longitude and latitude in a frame that is fixed among the stars:
    equatorial, Galactic, supergalactic or ecliptic.

    Parameters
    ----------
    header
        The header of the array.
    axes
        The FITS numbers, from 1, of the axes of the plane along x and y.
    first_pixel
        The pixel (x, y), from 0, that becomes the first one of the plane, which is a part of the array.
    """
    plane, faults = plane_header(header, axes)
    _move_first_pixel(plane, first_pixel)
    with quiet_astropy():
        wcs = WCS(plane)
    if not wcs.has_celestial:
        return PlaneWCS(plane, None, faults)
    if not _has_sky_frame(wcs):
        kinds = f"{wcs.wcs.ctype[0]} {wcs.wcs.ctype[1]} {wcs.wcs.radesys}".strip()
        fault = (
            f"The coordinates of the WCS ({kinds}) are none of equatorial, Galactic, supergalactic and ecliptic: "
            "pixel coordinates are used."
        )
        return PlaneWCS(plane, None, (*faults, fault))
    return PlaneWCS(plane, wcs, faults)


def _move_first_pixel(header: fits.Header, first_pixel: tuple[int, int]) -> None:
    """Count the pixels of the WCS of a plane, of its alternates and of LTV1 and LTV2 from another first pixel."""
    letters = {key[6:] for key in header if re.fullmatch("C(TYPE|RPIX|RVAL|DELT)[12]", key[:6])}
    for axis, pixel in enumerate(first_pixel, start=1):
        if pixel:
            for letter in letters:
                header[f"CRPIX{axis}{letter}"] = header.get(f"CRPIX{axis}{letter}", 0.0) - pixel
            if f"LTV{axis}" in header:
                header[f"LTV{axis}"] -= pixel


def celestial_wcs(header: fits.Header) -> WCS | None:
    """Return the celestial WCS of a header's first two axes, or None where there is none."""
    return read_plane_wcs(header).wcs


def sky_to_pixels(wcs: WCS, sky: SkyCoord) -> tuple[Float64Array, Float64Array]:
    """Return the pixels x and y of positions; NaN where the plane of the map does not show one.

    Far from a map, the inverse of a SIP distortion does not converge; the warning of astropy is left out.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*failed to converge", UserWarning)
        x, y = (np.asarray(axis, np.float64) for axis in wcs.world_to_pixel(sky))
    return x, y


def pixel_scale_deg(wcs: WCS) -> float:
    """Return the side of a square as large as a pixel at the reference point, in degrees."""
    return float(np.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix))))


def healpix_order(wcs: WCS) -> int:
    """Return the order of the largest HEALPix cells that are no larger than a pixel (Gorski et al. 2005)."""
    cells_per_side = np.sqrt(4 * np.pi / 12) / np.deg2rad(pixel_scale_deg(wcs))
    return int(np.ceil(np.log2(cells_per_side)))


def beam_px(header: fits.Header, wcs: WCS | None, axis: Literal["BMAJ", "BMIN"] = "BMAJ") -> float | None:
    """Return the FWHM of the beam along an axis, the longer by default, in pixels: degrees over the side of a pixel.

    None where the header has no such card above 0, or the map no celestial WCS.
    """
    try:
        size_px = float(header[axis]) / pixel_scale_deg(wcs) if wcs is not None else 0.0
    except (KeyError, TypeError, ValueError):
        return None
    return size_px if 0 < size_px < np.inf else None


def sky_coordinates(wcs: WCS, pixels: npt.ArrayLike) -> SkyCoord:
    """Return the positions on the sky of pixels (y, x), `(n, 2)`; NaN where a pixel shows no sky.

    Two things differ from `wcs.pixel_to_world`. The columns of a cylindrical map may lie more than 180 degrees from its
    reference, where wcslib returns NaN. Ecliptic and supergalactic maps, which astropy takes for equatorial ones or
    refuses, are right; their positions come in Galactic coordinates.
    """
    wcs = astropy_frame(wcs)
    x, y = _within_half_a_turn(wcs, np.asarray(pixels, np.float64)).T
    return wcs.pixel_to_world(x, y)


def galactic_lb(wcs: WCS, pixels: npt.NDArray[np.floating]) -> Float64Array:
    """Return Galactic (l, b) in degrees `(n, 2)` of pixels (y, x) `(n, 2)`; NaN where a pixel shows no sky."""
    sky = sky_coordinates(wcs, pixels).galactic
    return np.stack([sky.l.deg, sky.b.deg], axis=1)


def nearest_galactic_lb(wcs: WCS, pixels: npt.NDArray[np.floating]) -> Float64Array:
    """Return Galactic (l, b) in degrees `(n, 2)` of pixels (y, x) `(n, 2)`, or of the edge of the sky.

    A pixel that shows no sky, e.g. in a corner of an all-sky map, gets the position at which the line from it to the
    reference pixel of the WCS enters the sky, to 1e-6 of its length.
    """
    found = galactic_lb(wcs, pixels)
    off = np.isnan(found).any(axis=1)
    if off.any():
        reference = wcs.wcs.crpix[::-1] - 1
        step = np.asarray(pixels, np.float64)[off] - reference
        inside, outside = np.zeros((len(step), 1)), np.ones((len(step), 1))  # parts of the way from the reference
        for _ in range(20):
            middle = (inside + outside) / 2
            on_sky = np.isfinite(galactic_lb(wcs, reference + middle * step)).all(axis=1, keepdims=True)
            inside, outside = np.where(on_sky, middle, inside), np.where(on_sky, outside, middle)
        found[off] = galactic_lb(wcs, reference + inside * step)
    return found


def sky_period_px(wcs: WCS | None, shape: tuple[int, int]) -> float:
    """Return the number of columns after which a map shows the same sky again, or infinity.

    Only cylindrical projections and SFL repeat, with longitude along x. The Hi-GAL plane has 114000 columns of 11.5
    arcsec and repeats after 112696. The pixel size in a header is rounded, so that a number near a whole one is that.
    """
    if wcs is None or wcs.wcs.lng != 0 or wcs.wcs.ctype[0][-3:] not in _REPEATING:
        return np.inf
    matrix = wcs.pixel_scale_matrix
    if abs(matrix[0, 1]) > 1e-6 * abs(matrix[0, 0]) or matrix[0, 0] == 0:
        return np.inf
    period = float(_turn_deg(wcs) / abs(matrix[0, 0]))
    whole = round(period)
    return whole if abs(period - whole) < _WHOLE_PX else period


def is_cylindrical(wcs: WCS) -> bool:
    """Tell whether the columns of a projection go on beyond half a turn."""
    return str(wcs.wcs.ctype[wcs.wcs.lng])[-3:] in _CYLINDRICAL and not wcs.has_distortion


def lies_on_equator(wcs: WCS) -> bool:
    """Tell whether a projection is cylindrical with longitude along the rows, so that a map may begin anywhere."""
    matrix, axes = wcs.pixel_scale_matrix, wcs.wcs
    on_equator = axes.lng == 0 and axes.crval[1] == 0 and axes.lonpole == 0 and matrix[0, 1] == matrix[1, 0] == 0
    return bool(on_equator and is_cylindrical(wcs))


def recentred(wcs: WCS, by_deg: float) -> WCS:
    """Return a cylindrical WCS whose reference is moved along the equator by about `by_deg`, by whole pixels.

    No pixel moves on the sky. The reference matters because wcslib returns longitudes more than 180 degrees away from
    it as pixels on the other side of the map.
    """
    step_deg = wcs.pixel_scale_matrix[0, 0]
    steps = round(by_deg / step_deg)
    moved = wcs.deepcopy()
    moved.wcs.crpix = wcs.wcs.crpix + np.array([steps, 0])
    moved.wcs.crval = (wcs.wcs.crval + np.array([steps * step_deg, 0])) % 360
    return moved


def binned_wcs(wcs: WCS, down: int, across: int) -> WCS:
    """Return the WCS of a map whose pixels are those of another, `down` rows by `across` columns each.

    A distortion (SIP) is left out.
    """
    step = np.array([across, down])
    binned = with_matrix(wcs, wcs.pixel_scale_matrix * step)
    binned.sip = None
    binned.wcs.ctype = [name.removesuffix("-SIP") for name in binned.wcs.ctype]
    binned.wcs.crpix = (wcs.wcs.crpix - 0.5) / step + 0.5
    return binned


def with_matrix(wcs: WCS, matrix: Float64Array) -> WCS:
    """Return a WCS with another matrix from pixels to degrees, `(2, 2)`, in CDELT and PC.

    Without this, wcslib ignores CDELT where there is a CD matrix, and takes equal matrices in two forms for two.
    """
    changed = wcs.deepcopy()
    if changed.wcs.has_cd():
        del changed.wcs.cd
    if changed.wcs.has_crota():
        del changed.wcs.crota
    changed.wcs.cdelt = np.linalg.norm(matrix, axis=1) * np.where(np.diag(matrix) < 0, -1, 1)
    changed.wcs.pc = matrix / changed.wcs.cdelt[:, None]
    changed.wcs.set()
    return changed


def astropy_frame(wcs: WCS) -> WCS:
    """Return a WCS whose frame astropy knows: itself, or an ecliptic or supergalactic one in Galactic coordinates.

    The sphere is turned under the projection (Calabretta & Greisen 2002, A&A 395, 1077, section 2): no pixel moves on
    the sky.
    """
    frame = _unknown_to_astropy(wcs)
    if frame is None:
        return wcs
    turned = wcs.deepcopy()
    axes = turned.wcs
    axes.set()
    pole_lon, pole_colat, pole_phi = axes.cel.euler[:3]  # of the native pole; native longitude of the celestial pole
    native = SkyCoord(pole_lon, 90 - pole_colat, unit="deg", frame=frame).galactic
    reference = SkyCoord(axes.crval[axes.lng], axes.crval[axes.lat], unit="deg", frame=frame).galactic
    north = SkyCoord(0, 90, unit="deg", frame="galactic").transform_to(frame).spherical
    lon, lat, colat = north.lon.rad - np.deg2rad(pole_lon), north.lat.rad, np.deg2rad(pole_colat)
    along = np.sin(lat) * np.sin(colat) - np.cos(lat) * np.cos(colat) * np.cos(lon)
    lonpole = pole_phi + np.rad2deg(np.arctan2(-np.cos(lat) * np.sin(lon), along))
    kinds, crval = list(axes.ctype), axes.crval
    for axis, name, value in ((axes.lng, "GLON", reference.l.deg), (axes.lat, "GLAT", reference.b.deg)):
        kinds[axis] = name + kinds[axis][4:]
        crval[axis] = value
    axes.ctype, axes.crval, axes.radesys, axes.equinox = kinds, crval, "", np.nan
    axes.lonpole, axes.latpole = lonpole, native.b.deg
    axes.set()
    return turned


def _unknown_to_astropy(wcs: WCS) -> BaseCoordinateFrame | None:
    """Return the frame of an ecliptic or supergalactic WCS; None for others."""
    longitude = str(wcs.wcs.ctype[wcs.wcs.lng])[:4]
    if longitude == "SLON":
        return Supergalactic()
    if longitude != "ELON":
        return None
    equinox = wcs.wcs.equinox if np.isfinite(wcs.wcs.equinox) else 2000.0
    kind = "byear" if str(wcs.wcs.radesys).startswith("FK4") else "jyear"
    return BarycentricMeanEcliptic(equinox=Time(equinox, format=kind))


def _has_sky_frame(wcs: WCS) -> bool:
    """Tell whether the frame of a celestial WCS is fixed among the stars, and known."""
    if str(wcs.wcs.ctype[wcs.wcs.lng])[:4].ljust(4, "-") not in _ON_THE_SKY:
        return False
    try:
        wcs_to_celestial_frame(astropy_frame(wcs))
    except ValueError:  # an unknown RADESYS
        return False
    return True


def _within_half_a_turn(wcs: WCS, pixels: Float64Array) -> Float64Array:
    """Return pixels (x, y) from (y, x), `(n, 2)`, moved by whole turns into the 360 degrees around the reference."""
    xy = pixels[:, ::-1]
    if not is_cylindrical(wcs):
        return xy
    matrix, axis, turn_deg = wcs.pixel_scale_matrix, wcs.wcs.lng, _turn_deg(wcs)
    turns = np.round((xy + 1 - wcs.wcs.crpix) @ matrix[axis] / turn_deg)
    moved: Float64Array = xy - turns[:, None] * turn_deg * np.linalg.inv(matrix)[:, axis]
    return moved


def _turn_deg(wcs: WCS) -> float:
    """Return the width of 360 degrees of longitude on the equator of a cylindrical projection, in its own degrees."""
    parameters = {number: value for axis, number, value in wcs.wcs.get_pv() if axis == wcs.wcs.lat + 1}
    return 360.0 * (parameters.get(2, 1.0) if str(wcs.wcs.ctype[wcs.wcs.lng])[-3:] == "CYP" else 1.0)
