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
from bigsf.maps.masks import OnGrid, read_mask
from bigsf.maps.tiling import Tile
from bigsf.maps.wcs import beam_px, pixel_scale_deg, sky_coordinates


class MapRows(Protocol):
    """A map that can be read by rows. Prediction, baselines and injection need no more."""

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx) in pixels."""
        ...

    def read_rows(self, y0: int, y1: int) -> FloatArray:
        """Return rows y0 to y1 (exclusive) `(c, rows, nx)`, raw values, NaN = missing.

        A map has this method or `read_tile` of its own.
        """
        return self.read_tile(Tile(y0, y1, 0, self.shape[1]))

    def read_tile(self, tile: Tile) -> FloatArray:
        """Return a part of the map `(c, rows, columns)`, raw values, NaN = missing."""
        return self.read_rows(tile.y0, tile.y1)[:, :, tile.x0 : tile.x1]


class MapOnSky(MapRows, Protocol):
    """A map with its number of planes and its WCS."""

    @property
    def channels(self) -> int:
        """Number of image planes."""
        ...

    @property
    def wcs(self) -> WCS | None:
        """The celestial WCS, or None."""
        ...


class MapSource(MapOnSky, Protocol):
    """A map with its unit and identity too: a patch file, or planes in FITS files."""

    @property
    def unit(self) -> str:
        """BUNIT of the map, or an empty string."""
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
        self._tile = Tile(0, 0, 0, images[0].shape[1])
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
    def read_tile(self, tile: Tile) -> FloatArray:
        """Return a part of the map `(c, rows, columns)`, raw values, NaN = missing.

        Rows are kept until others are asked for, so that overlapping bands from top to bottom are read once.
        """
        (y0, y1, *columns), (top, bottom, *held) = tile, self._tile
        if columns != held or not top <= y0 <= bottom:
            self._held, bottom = np.empty((len(self.images), 0, tile.shape[1]), np.float32), y0
        else:
            self._held = self._held[:, y0 - top :]
        if bottom < y1:
            below = self.read(bottom, y1, slice(tile.x0, tile.x1)).image
            self._held, bottom = np.concatenate([self._held, below], axis=1), y1
        self._tile = tile._replace(y1=bottom)
        rows: FloatArray = self._held[:, : y1 - y0]
        return rows


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
