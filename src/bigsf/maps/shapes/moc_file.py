"""A multi-order coverage map (MOC) -> the pixels whose centre it covers."""

from pathlib import Path
from typing import Any

import numpy as np

from bigsf.errors import ConfigError, DataError
from bigsf.maps.shapes.canvas import Canvas
from bigsf.maps.tiling import row_chunks
from bigsf.maps.wcs import sky_coordinates

SUFFIXES = (".moc", ".json")
"""Endings of a MOC that is no FITS file."""


def draw_moc(path: Path, canvas: Canvas) -> str:
    """Mark the pixels whose centre a MOC covers, and return what was drawn.

    Parameters
    ----------
    path
        A MOC of the sky (IVOA), as FITS or JSON.
    canvas
        Where it is drawn.

    Raises
    ------
    DataError
        Where the file cannot be read, or covers no pixel.
    ConfigError
        Where the package `mocpy` is missing.
    """
    moc = _read(path)
    for y0, y1 in row_chunks(canvas.mask.shape):
        rows = canvas.mask[y0:y1]
        sky = sky_coordinates(canvas.wcs, np.argwhere(np.ones_like(rows)) + np.array([y0, 0])).icrs
        on_sky = np.isfinite(sky.ra.deg)
        covered = np.zeros(rows.size, np.bool_)
        covered[on_sky] = moc.contains_lonlat(sky.ra[on_sky], sky.dec[on_sky])
        rows |= covered.reshape(rows.shape)
    if not canvas.mask.any():
        raise DataError(f"The MOC {path} covers no pixel of {canvas.name}.")
    return f"a MOC of order {moc.max_order}"


def _read(path: Path) -> Any:
    try:
        from mocpy import MOC
    except ImportError:
        raise ConfigError(f"{path.name} is a MOC: to read it takes mocpy. pip install 'bigsf[shapes]'") from None
    try:
        return MOC.load(path, format="json" if path.suffix.lower() in SUFFIXES else "fits")
    except Exception as error:  # the errors of mocpy have no common type
        raise DataError(f"{path} cannot be read as a MOC: {error}.") from None
