"""FITS header -> celestial WCS; WCS -> pixel scale, Galactic positions, columns after which the sky repeats."""

import warnings

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from astropy.wcs import WCS

from bigsf.arrays import Float64Array
from bigsf.errors import BigsfWarning, out_of_memory
from bigsf.maps.fits_guard import quiet_astropy

_REPEATING = ("CAR", "CEA", "CYP", "MER", "SFL")
"""Projections in which columns at a distance of 360 degrees on the equator show the same sky."""


def celestial_wcs(header: fits.Header) -> WCS | None:
    """Return the celestial WCS of a header's first two axes, or None where there is none."""
    try:
        with quiet_astropy():
            wcs = WCS(header, naxis=2)  # also reads headers with degenerate axes or FK4 that WCS(header) refuses
    except Exception as error:  # wcslib raises many kinds of errors
        if out_of_memory(error):
            raise
        reason = " ".join(str(error).split())
        warnings.warn(f"The WCS cannot be read and is left out: {reason}", BigsfWarning, stacklevel=2)
        return None
    return wcs if wcs.has_celestial else None


def pixel_scale_deg(wcs: WCS) -> float:
    """Return the side of a square as large as a pixel at the reference point, in degrees."""
    return float(np.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix))))


def galactic_lb(wcs: WCS, pixels: npt.NDArray[np.floating]) -> Float64Array:
    """Return Galactic (l, b) in degrees `(n, 2)` of pixels (y, x) `(n, 2)`; NaN where a pixel shows no sky."""
    sky = wcs.pixel_to_world(pixels[:, 1], pixels[:, 0]).galactic
    return np.stack([sky.l.deg, sky.b.deg], axis=1)


def sky_period_px(wcs: WCS | None, shape: tuple[int, int]) -> float:
    """Return the number of columns after which a map shows the same sky again, or infinity.

    Only cylindrical projections with longitude along x repeat. The Hi-GAL plane has 114000 columns of 11.5 arcsec and
    repeats after 112696.
    """
    if wcs is None or wcs.wcs.lng != 0 or wcs.wcs.ctype[0][-3:] not in _REPEATING:
        return np.inf
    matrix = wcs.pixel_scale_matrix
    if abs(matrix[0, 1]) > 1e-6 * abs(matrix[0, 0]) or matrix[0, 0] == 0:
        return np.inf
    return float(360.0 / abs(matrix[0, 0]))
