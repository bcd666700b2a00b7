"""The plane of a mask -> rows that are true where it marks, or an error that says what the plane holds instead."""

from pathlib import Path
from typing import Protocol

import numpy as np
from astropy.wcs import WCS

from bigsf.arrays import BoolArray, FloatArray
from bigsf.errors import DataError
from bigsf.maps.fits_image import FitsImage
from bigsf.maps.hdus import mask_hdu
from bigsf.option_names import option

_LARGEST_IDENTIFIER = 2.0**31  # larger integers are values of a map


class OnGrid(Protocol):
    """A plane, or the grid of a plane."""

    @property
    def name(self) -> str:
        """The name for messages."""
        ...

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx) in pixels."""
        ...

    @property
    def wcs(self) -> WCS | None:
        """The celestial WCS, or None."""
        ...


class MaskPlane(OnGrid, Protocol):
    """The plane of a mask: an image in a FITS file, or what is drawn on the grid of a map."""

    path: Path
    """The file."""

    def read(self, y0: int, y1: int, columns: slice = slice(None)) -> FloatArray:
        """Return rows y0 to y1 (exclusive), float32 `(rows, columns)`, NaN where missing."""
        ...


def read_mask(
    plane: MaskPlane,
    role: str,
    y0: int,
    y1: int,
    threshold: float | None = None,
    columns: slice = slice(None),
) -> BoolArray:
    """Return rows y0 to y1 (exclusive) of a mask, `(rows, columns)`.

    Parameters
    ----------
    plane
        The plane of the mask.
    role
        What the mask marks, for messages: target, background, valid or truth.
    y0, y1, columns
        The part to read.
    threshold
        The mask is true above this value; by default where the plane is 1, or holds another identifier: a positive
        integer up to 2**31. NaN is false.

    Raises
    ------
    DataError
        Where there is no threshold, and the plane holds a value that is negative or no integer, or a mask of valid
        pixels holds another than 0 and 1.
    """
    return to_mask(plane.read(y0, y1, columns), plane, role, threshold)


def to_mask(rows: FloatArray, plane: MaskPlane, role: str, threshold: float | None = None) -> BoolArray:
    """Return the mask that rows of a plane hold; parameters, result and errors are those of `read_mask`."""
    if threshold is not None:
        above: BoolArray = rows > threshold
        return above
    identifiers = (rows > 0) & (rows <= _LARGEST_IDENTIFIER) & (rows == np.floor(rows))
    mask: BoolArray = rows == 1 if role == "valid" else identifiers
    odd = ~mask & (rows != 0) & np.isfinite(rows)
    if odd.any():
        values = ", ".join(f"{value:g}" for value in np.unique(rows[odd])[:5])
        remedy = _remedy_for_valid(plane) if role == "valid" else _remedy_for_labels(plane)
        allowed = "0 and 1" if role == "valid" else "0, 1 and identifiers"
        raise DataError(f"{plane.name} is the {role} mask but holds values other than {allowed}: {values}. {remedy}")
    return mask


def _remedy_for_labels(plane: MaskPlane) -> str:
    if isinstance(plane, FitsImage) and not plane.hdu and (hdu := mask_hdu(plane.path)):
        return f"The file has a mask in another HDU: name it as {plane.path}[{hdu}]."
    return (
        f"Pass a {option('target_threshold')} to preprocess, which takes all above it as 1 in target, background and "
        "truth. To score maps, write a mask of 0 and 1."
    )


def _remedy_for_valid(plane: MaskPlane) -> str:
    hdu = plane.hdu if isinstance(plane, FitsImage) else 0
    return (
        "Expected 1 where data are valid and 0 where they are missing. Where all above 0 is valid, as in a coverage or "
        f"a weight, write that mask: python -c \"from astropy.io import fits; d, h = fits.getdata('{plane.path}', "
        f"{hdu}, header=True); fits.writeto('valid.fits', (d > 0).astype('uint8'), h)\""
    )


def check_not_inverted(valid: FitsImage, finite: int, missing: int) -> None:
    """Raise `DataError` where a mask of valid pixels is likely inverted.

    Parameters
    ----------
    valid
        The mask.
    finite
        Pixels of the map with a finite value.
    missing
        Those of them that the mask declares missing.
    """
    if missing > finite / 2:
        raise DataError(
            f"{valid.name} declares {missing:,} of {finite:,} finite pixels missing. This plane must be 1 where data "
            "are VALID and 0 where they are missing; is it inverted?"
        )
