"""Planes of one grid: the channels of a map, and the masks that go with them."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from bigsf.arrays import BoolArray, FloatArray
from bigsf.errors import DataError
from bigsf.files import sha256
from bigsf.maps.fits_image import FitsImage
from bigsf.maps.tiling import bands
from bigsf.maps.wcs import pixel_scale_deg


class MapRows(Protocol):
    """A map that can be read by rows: all that prediction, baselines and injection need of it."""

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx) in pixels."""
        ...

    def read_rows(self, y0: int, y1: int) -> FloatArray:
        """Return rows y0 to y1 (exclusive) `(c, rows, nx)`, raw values, NaN = missing."""
        ...


class MapSource(MapRows, Protocol):
    """A map with all that is known of it: a patch file, or planes in FITS files."""

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
    def image_sha256(self) -> str:
        """SHA-256 of the FITS file of the map."""
        ...

    def output_header(self) -> fits.Header:
        """Return the header for a new 2-D image on the grid of the map, without its unit."""
        ...


class OnGrid(Protocol):
    """A plane, or the grid of one."""

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx) in pixels."""
        ...

    @property
    def wcs(self) -> WCS | None:
        """The celestial WCS, or None."""
        ...


class FitsMap(MapSource):
    """The channels of a map in FITS files, read by rows from top to bottom; rows read once are kept while needed.

    Parameters
    ----------
    images
        MapRows of one grid.
    valid
        A mask that is 1 where data are valid.
    """

    def __init__(self, images: Sequence[FitsImage], valid: FitsImage | None = None) -> None:
        for other in [*images[1:], *([valid] if valid else [])]:
            check_same_grid(images[0], other)
        self.images, self.valid = images, valid
        if valid:
            self._check_sense(valid)
        self._top = 0
        self._held = np.empty((len(images), 0, images[0].shape[1]), np.float32)

    def _check_sense(self, valid: FitsImage) -> None:
        """Look at the whole mask before the long work begins."""
        finite = missing = 0
        for y0, y1 in bands(self.shape[0], max(1, int(16e6 / self.shape[1]))):
            here = np.isfinite(self.images[0].read(y0, y1))
            finite += int(here.sum())
            missing += int((here & ~read_mask(valid, "valid", y0, y1)).sum())
        check_sense(valid, finite, missing)

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx) in pixels."""
        return self.images[0].shape

    @property
    def wcs(self) -> WCS | None:
        """The celestial WCS of the map, or None."""
        return self.images[0].wcs

    @property
    def channels(self) -> int:
        """Number of image planes."""
        return len(self.images)

    @property
    def unit(self) -> str:
        """BUNIT of the first plane, or an empty string."""
        return self.images[0].unit

    @property
    def image_sha256(self) -> str:
        """SHA-256 of the file of the first plane."""
        return sha256(self.images[0].path)

    def output_header(self) -> fits.Header:
        """Return the header for a new 2-D image on the grid of the map, without its unit."""
        return self.images[0].output_header()

    def read_rows(self, y0: int, y1: int) -> FloatArray:
        """Return rows y0 to y1 (exclusive) `(c, rows, nx)`, raw values, NaN = missing.

        Rows are kept until later ones are asked for, so that overlapping bands from top to bottom are read once.
        """
        if y0 < self._top:
            self._held = self._held[:, :0]
        self._held, self._top = self._held[:, max(0, y0 - self._top) :], y0
        start = y0 + self._held.shape[1]
        if start < y1:
            new = np.stack([image.read(start, y1) for image in self.images])
            if self.valid:
                new[:, ~read_mask(self.valid, "valid", start, y1)] = np.nan
            self._held = np.concatenate([self._held, new], axis=1)
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
    """Return rows y0 to y1 of a mask, `(rows, columns)`: where it is 1, or above a threshold; NaN is 0.

    Raises
    ------
    DataError
        Where it holds values other than 0 and 1 and there is no threshold.
    """
    rows = plane.read(y0, y1, columns)
    if threshold is not None:
        above: BoolArray = rows > threshold
        return above
    mask: BoolArray = rows == 1
    odd = ~mask & (rows != 0) & np.isfinite(rows)
    if odd.any():
        values = ", ".join(f"{value:g}" for value in np.unique(rows[odd])[:5])
        remedy = " Pass --target-threshold VALUE to take all above it as 1." if role != "valid" else ""
        raise DataError(f"{plane.name} is the {role} mask but holds values other than 0 and 1: {values}.{remedy}")
    return mask


def check_sense(valid: FitsImage, finite: int, missing: int) -> None:
    """Raise `DataError` when a mask declares most of the finite pixels missing: it is likely inverted."""
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
        here, there = (plane.wcs.pixel_to_world(x, y) for plane in (first, other) if plane.wcs is not None)
        if np.isnan(here.data.lon) and np.isnan(there.data.lon):  # corners of an all-sky projection: no sky
            continue
        if not here.separation(there).deg <= 0.1 * pixel_scale_deg(first.wcs):
            raise DataError(
                f"{other.name} has another WCS than {first.name}: pixel (x={x}, y={y}) lies at "
                f"{there.to_string()} there and at {here.to_string()} here. All planes must share one grid."
            )


def _landmarks(shape: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Yield the corners and two points inside."""
    ny, nx = shape
    yield from ((0, 0), (0, nx - 1), (ny - 1, 0), (ny - 1, nx - 1), (ny // 2, nx // 2), (ny // 2, nx // 3))
