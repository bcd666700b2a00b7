"""FITS planes of one grid -> rows of a map with NaN where data are missing, and rows of its masks."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from typing_extensions import override

from bigsf.arrays import BoolArray, FloatArray
from bigsf.errors import DataError
from bigsf.files import sha256
from bigsf.maps.fits_image import FitsImage
from bigsf.maps.wcs import beam_px, pixel_scale_deg, sky_coordinates


class MapRows(Protocol):
    """A map that can be read by rows. Prediction, baselines and injection need no more."""

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx) in pixels."""
        ...

    def read_rows(self, y0: int, y1: int) -> FloatArray:
        """Return rows y0 to y1 (exclusive) `(c, rows, nx)`, raw values, NaN = missing."""
        ...


class MapSource(MapRows, Protocol):
    """A map with its unit, WCS and identity: a patch file, or planes in FITS files."""

    @property
    def channels(self) -> int:
        """Number of image planes."""
        ...

    @property
    def unit(self) -> str:
        """BUNIT of the map, or an empty string."""
        ...

    @property
    def wcs(self) -> WCS | None:
        """The celestial WCS, or None."""
        ...

    @property
    def beam_px(self) -> float | None:
        """FWHM of the beam in pixels, or None where the header does not say it."""
        ...

    @property
    def image_sha256(self) -> str:
        """SHA-256 of the FITS file of the map."""
        ...

    def output_header(self) -> fits.Header:
        """Return the header for a new 2-D image on the grid of the map, without its unit."""
        ...


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


class MapRead(NamedTuple):
    """Rows of a map, and which of their pixels are valid."""

    image: FloatArray
    """Raw values `(c, rows, columns)`; a pixel that is not valid is NaN in all channels."""
    finite: BoolArray
    """Where every channel holds a finite value, `(rows, columns)`."""
    declared: BoolArray | None
    """Where the mask VALID is 1, `(rows, columns)`; None where the map has no such mask."""

    @property
    def valid(self) -> BoolArray:
        """Where the map holds a value that counts, `(rows, columns)`."""
        return self.finite if self.declared is None else self.finite & self.declared


class FitsMap(MapSource):
    """The channels of a map in FITS files, with the mask of its valid pixels.

    Parameters
    ----------
    images
        Planes of one grid.
    valid
        A mask that is 1 where data are valid.

    Raises
    ------
    DataError
        Where the planes do not share one grid.
    """

    def __init__(self, images: Sequence[FitsImage], valid: FitsImage | None = None) -> None:
        for other in [*images[1:], *([valid] if valid else [])]:
            check_same_grid(images[0], other)
        self.images, self.valid = images, valid
        self._top = 0
        self._held = np.empty((len(images), 0, images[0].shape[1]), np.float32)

    @property
    def name(self) -> str:
        """File and HDU of the first plane, for messages."""
        return self.images[0].name

    @property
    @override
    def shape(self) -> tuple[int, int]:
        return self.images[0].shape

    @property
    @override
    def wcs(self) -> WCS | None:
        return self.images[0].wcs

    @property
    @override
    def channels(self) -> int:
        return len(self.images)

    @property
    @override
    def unit(self) -> str:
        return self.images[0].unit

    @property
    @override
    def beam_px(self) -> float | None:
        return beam_px(self.images[0].plane_wcs.header, self.wcs)

    @property
    @override
    def image_sha256(self) -> str:
        return sha256(self.images[0].path)

    @override
    def output_header(self) -> fits.Header:
        return self.images[0].output_header()

    def read(self, y0: int, y1: int, columns: slice = slice(None)) -> MapRead:
        """Read rows y0 to y1 (exclusive). A pixel that is missing in one channel, or in VALID, is NaN in all."""
        image = np.stack([plane.read(y0, y1, columns) for plane in self.images])
        finite = np.asarray(np.isfinite(image).all(axis=0))
        declared = read_mask(self.valid, "valid", y0, y1, columns=columns) if self.valid else None
        rows = MapRead(image, finite, declared)
        image[:, ~rows.valid] = np.nan
        return rows

    @override
    def read_rows(self, y0: int, y1: int) -> FloatArray:
        """Return rows y0 to y1 (exclusive) `(c, rows, nx)`, raw values, NaN = missing.

        Rows are kept until later ones are asked for, so that overlapping bands from top to bottom are read once.
        """
        if y0 < self._top:
            self._held = self._held[:, :0]
        self._held, self._top = self._held[:, max(0, y0 - self._top) :], y0
        start = y0 + self._held.shape[1]
        if start < y1:
            self._held = np.concatenate([self._held, self.read(start, y1).image], axis=1)
        rows: FloatArray = self._held[:, : y1 - y0]
        return rows


def read_mask(
    plane: FitsImage,
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
        The mask is true above this value; by default where the plane is 1. NaN is false.

    Raises
    ------
    DataError
        Where the plane holds values other than 0 and 1 and there is no threshold.
    """
    rows = plane.read(y0, y1, columns)
    if threshold is not None:
        above: BoolArray = rows > threshold
        return above
    mask: BoolArray = rows == 1
    odd = ~mask & (rows != 0) & np.isfinite(rows)
    if odd.any():
        values = ", ".join(f"{value:g}" for value in np.unique(rows[odd])[:5])
        remedy = _remedy_for_valid(plane) if role == "valid" else _REMEDY_FOR_LABELS
        raise DataError(f"{plane.name} is the {role} mask but holds values other than 0 and 1: {values}. {remedy}")
    return mask


_REMEDY_FOR_LABELS = (
    "Pass --target-threshold VALUE to take all above it as 1: 0 where the values are identifiers of structures, or 255 "
    "stands for 1. It holds for target, background and truth."
)


def _remedy_for_valid(plane: FitsImage) -> str:
    return (
        "Expected 1 where data are valid and 0 where they are missing. Where all above 0 is valid, as in a coverage or "
        f"a weight, write that mask: python -c \"from astropy.io import fits; d, h = fits.getdata('{plane.path}', "
        f"{plane.hdu}, header=True); fits.writeto('valid.fits', (d > 0).astype('uint8'), h)\""
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


def check_same_grid(first: OnGrid, other: OnGrid) -> None:
    """Raise `DataError` unless two planes have one shape and, where both have one, one WCS."""
    if other.shape != first.shape:
        raise DataError(
            f"{other.name} has {other.shape[1]} x {other.shape[0]} pixels (x, y) but {first.name} has "
            f"{first.shape[1]} x {first.shape[0]}. All planes must share one grid."
        )
    if first.wcs is None or other.wcs is None:
        return
    for y, x in _landmarks(first.shape):
        here, there = (sky_coordinates(plane.wcs, [[y, x]])[0] for plane in (first, other) if plane.wcs is not None)
        if np.isnan(here.data.lon) and np.isnan(there.data.lon):  # the corners of an all-sky map show no sky
            continue
        if not here.separation(there).deg <= 0.1 * pixel_scale_deg(first.wcs):
            raise DataError(
                f"{other.name} has another WCS than {first.name}: pixel (x={x}, y={y}) lies at "
                f"{there.to_string()} there and at {here.to_string()} here. All planes must share one grid."
            )


def _landmarks(shape: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Yield the (y, x) at which two grids are compared: the corners and two points inside."""
    ny, nx = shape
    yield from ((0, 0), (0, nx - 1), (ny - 1, 0), (ny - 1, nx - 1), (ny // 2, nx // 2), (ny // 2, nx // 3))
