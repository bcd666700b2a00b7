"""A FITS file -> rows of one image in it, float32 with NaN where data are missing."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from astropy.wcs import WCS

from bigsf.arrays import FloatArray
from bigsf.errors import DataError, UsageError, warn
from bigsf.files import ChangeDetector
from bigsf.maps.file_kinds import ARCHIVE_ENDINGS
from bigsf.maps.fits_guard import (
    check_complete,
    check_hcompress_tiles,
    open_fits,
    readable,
    sound_cards,
)
from bigsf.maps.hdus import axes_of_plane, find_hdu, find_planes, split_hdu
from bigsf.maps.tiling import Tile
from bigsf.maps.wcs import PlaneWCS, read_plane_wcs
from bigsf.option_names import option

_ARRAY_CARDS = ("BSCALE", "BZERO", "BLANK", "ZBLANK", "BUNIT", "DATAMIN", "DATAMAX", "CHECKSUM", "DATASUM")
"""Cards about the values of an array, which a new image on the same grid does not have."""

_HDU_CARDS = ("XTENSION", "PCOUNT", "GCOUNT", "EXTNAME", "EXTVER")
"""Cards about the place of an array in its file."""


class FitsImage:
    """A two-dimensional image in a FITS file, of which only the header is kept in memory.

    Integers are scaled (BSCALE, BZERO, BLANK) in float64. Axes of length 1 beyond the two of the plane are dropped.
    The file stays open until `close`: use the image in a `with` block.

    Parameters
    ----------
    path
        The file: FITS, gzipped FITS or tile-compressed FITS; it may name the HDU, as in `dust.fits[SCI,2]`.
    hdu
        Index or name of the HDU that holds the image, or name and EXTVER as in `SCI,2`; by default the first plane
        that is no mask by its name.
    blank
        A value that marks missing data besides NaN, infinities and the header's BLANK.
    cutout
        The part of the image that is used as if it were the whole: nothing else is read, and the WCS is that of the
        part.

    Attributes
    ----------
    cutout
        The part of the image that is used.
    whole_shape
        (ny, nx) of the image in the file.
    too_large
        Finite values beyond the range of float32 among those read so far; they are NaN.
    blanked
        Pixels that are equal to `blank` among those read so far; they are NaN.

    Raises
    ------
    DataError
        Where the file is no FITS file, is cut short, or holds no two-dimensional image.
    UsageError
        Where both the path and `hdu` name an HDU.
    """

    def __init__(
        self, path: str | Path, hdu: str | int | None = None, blank: float | None = None, cutout: Tile | None = None
    ) -> None:
        self.path, named = split_hdu(Path(path))
        if named is not None and hdu is not None:
            raise UsageError(f"{path} names its HDU, and {option('hdu')} {hdu} names one too: give one of them.")
        self.blank = blank
        self.too_large = self.blanked = 0
        self._hdus = open_fits(self.path)
        self._changes = ChangeDetector(self.path)
        try:
            with readable(str(self.path)):
                self.hdu = find_hdu(self._hdus, self.path, named if hdu is None else hdu)
                header = self._hdus[self.hdu].header
                self.header = sound_cards(header)
                self._unreadable = len(header.cards) - len(self.header.cards)
                check_complete(self._hdus[self.hdu], self.path, self.hdu)
                if getattr(self._hdus[self.hdu], "compression_type", None) == "HCOMPRESS_1":
                    check_hcompress_tiles(self.path, self.hdu)
                self._full_shape, self._kept_axes = self._axes()
                self.whole_shape = self._full_shape[self._kept_axes[0]], self._full_shape[self._kept_axes[1]]
                self.cutout = cutout or Tile.whole(self.whole_shape)
        except DataError:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._hdus.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def name(self) -> str:
        """The file and HDU, for messages."""
        return f"{self.path.name}[{self.hdu}]" if self.hdu else self.path.name

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx) in pixels."""
        return self.cutout.shape

    @property
    def unit(self) -> str:
        """The header's BUNIT, or an empty string."""
        return str(self.header.get("BUNIT", "")).strip()

    def output_header(self) -> fits.Header:
        """Return the header for a new 2-D image on this grid; warn where cards of this header are left out."""
        if self._unreadable:
            warn(f"{self.name}: cards of its header that cannot be read are left out ({self._unreadable}).")
        return output_header(self.plane_wcs.header)

    @cached_property
    def wcs(self) -> WCS | None:
        """The celestial WCS, or None where the plane has none; warns once of what of it is left out."""
        for fault in self.plane_wcs.faults:
            warn(f"{self.name}: {fault}")
        return self.plane_wcs.wcs

    @cached_property
    def plane_wcs(self) -> PlaneWCS:
        """The WCS of the plane, and what of it is left out."""
        y, x = self._kept_axes
        n = len(self._full_shape)
        return read_plane_wcs(self.header, (n - x, n - y), (self.cutout.x0, self.cutout.y0))

    def read(self, y0: int = 0, y1: int | None = None, columns: slice = slice(None)) -> FloatArray:
        """Return rows y0 to y1 (exclusive), float32 `(rows, columns)`, NaN where missing, blank or infinite.

        Raises
        ------
        DataError
            Where the file was changed since it was opened, or cannot be read.
        """
        self._changes.check()
        y_axis, x_axis = self._kept_axes
        y1 = self.shape[0] if y1 is None else y1
        index: list[Any] = [0] * len(self._full_shape)
        wanted = range(*columns.indices(self.shape[1]))
        left, width = self.cutout.x0 + wanted.start, len(wanted)
        index[y_axis], index[x_axis] = slice(self.cutout.y0 + y0, self.cutout.y0 + y1), slice(left, left + width)
        with readable(self.name, f" at rows {y0} to {y1}"):
            raw = np.asarray(self._hdus[self.hdu].section[tuple(index)])
            return self._scaled(raw.reshape(y1 - y0, width))  # astropy keeps trailing axes of length 1

    def _scaled(self, raw: npt.NDArray[Any]) -> FloatArray:
        """Return raw values of the file as physical values, NaN where they are missing."""
        header = self.header
        scale, zero = float(header.get("BSCALE", 1)), float(header.get("BZERO", 0))
        missing = None
        if raw.dtype.kind in "iu" and header.get("BLANK", header.get("ZBLANK")) is not None:
            missing = raw == int(header.get("BLANK", header.get("ZBLANK")))
        exact = raw.dtype.kind in "iu" and (scale, zero) == (1.0, 0.0)
        if raw.dtype.kind in "iu" or (scale, zero) != (1.0, 0.0):
            raw = raw.astype(np.float64) * scale + zero
        if self.blank is not None:
            equal = np.isclose(raw, self.blank, rtol=0 if exact else 1e-6, atol=0)
            self.blanked += int(equal.sum())
            missing = equal if missing is None else missing | equal
        with np.errstate(over="ignore"):
            image = raw.astype(np.float32)  # in native byte order; values beyond float32 become infinite
        infinite = np.isinf(image)
        if infinite.any():
            self.too_large += int((infinite & np.isfinite(raw) & ~(missing if missing is not None else False)).sum())
            image[infinite] = np.nan
        if missing is not None:
            image[missing] = np.nan
        return image

    def _axes(self) -> tuple[tuple[int, ...], tuple[int, int]]:
        """Return the full numpy shape and which two of its axes are (y, x)."""
        full = tuple(self._hdus[self.hdu].shape)
        kept = axes_of_plane(full)
        if kept is None:
            raise DataError(
                f"{self.name} holds an array of {' x '.join(map(str, full))} pixels; expected one plane (ny x nx). "
                + ("It is empty." if 0 in full else "Cut one plane out of a cube first.")
            )
        return full, kept


def is_fits(path: Path) -> bool:
    """Tell whether a file begins as FITS files do."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(6) == b"SIMPLE"


def stem_of(path: Path) -> str:
    """Return the name of a map without its endings and its HDU: `galaxy` for galaxy.fits.gz and galaxy.fits[1]."""
    path, _ = split_hdu(path)
    archived = path.suffix.lower() in ARCHIVE_ENDINGS
    return Path(path.stem if archived else path.name).stem


def open_planes(
    images: Sequence[Path],
    masks: Mapping[str, Path | None],
    stack: ExitStack,
    hdu: str | int | None = None,
    blank: float | None = None,
    find_cutout: Callable[[FitsImage], Tile] | None = None,
) -> tuple[list[FitsImage], dict[str, FitsImage]]:
    """Open the planes of a map and its masks by role; the stack closes them.

    Parameters
    ----------
    images
        The FITS files of the channels.
    masks
        The FITS files of the masks by role: in each, the HDU that its path names, or the extension of that role, or
        else the first image. Where a file is None, the extension of that role in the first file of `images` stands for
        it, if there is one.
    stack
        What closes the files.
    hdu
        Name or index of the HDU in the first file of `images`.
    blank
        A value that marks missing data in every channel.
    find_cutout
        From the whole map to the part of all planes that is used; by default they are used as a whole.

    Raises
    ------
    DataError
        Where a plane cannot be read or, while a part is cut out, is neither as large as the first nor as the part.
    """
    first, *others = images
    inside = find_planes(first, [role for role, path in masks.items() if path is None])
    cutout = None
    if find_cutout:
        with FitsImage(first, hdu, blank) as whole:
            cutout = find_cutout(whole)
    planes = [stack.enter_context(FitsImage(first, hdu, blank, cutout))]
    planes += [stack.enter_context(FitsImage(path, blank=blank, cutout=cutout)) for path in others]
    opened = {}
    for role, path in masks.items():
        if path is not None:
            of_role = None if split_hdu(path)[1] else find_planes(path, [role]).get(role)
            opened[role] = stack.enter_context(FitsImage(path, of_role, cutout=cutout))
        elif role in inside:
            opened[role] = stack.enter_context(FitsImage(planes[0].path, inside[role], cutout=cutout))
    for plane in [*planes[1:], *opened.values()]:
        if cutout and plane.whole_shape == cutout.shape:  # it holds the part alone
            plane.cutout = Tile.whole(cutout.shape)
        elif cutout and plane.whole_shape != planes[0].whole_shape:
            raise DataError(
                f"{plane.name} has {plane.whole_shape[1]} x {plane.whole_shape[0]} pixels (x, y) but {planes[0].name} "
                f"has {planes[0].whole_shape[1]} x {planes[0].whole_shape[0]}. All planes must share one grid."
            )
    return planes, opened


def output_header(header: fits.Header) -> fits.Header:
    """Return the header of a plane for a new image on its grid.

    WCS, HISTORY and all else are kept; cards about the values of the old array and its place in the file are not.
    """
    kept = header.copy(strip=True)
    for keyword in (*_ARRAY_CARDS, *_HDU_CARDS):
        kept.remove(keyword, ignore_missing=True, remove_all=True)
    return kept
