"""A FITS image on disk: found in its file, read by bands of rows as float32 with NaN where data are missing."""

import gzip
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS

from bigsf.errors import BigsfWarning, DataError, out_of_memory
from bigsf.hcompress import check_tiles
from bigsf.watch import Watch

_BLOCK = 2880  # bytes; FITS files are made of such blocks
_MOST = 999  # axes or columns of a FITS array or table

FloatArray = npt.NDArray[np.float32]


class FitsImage:
    """A two-dimensional image in a FITS file; nothing but the header is kept in memory.

    Integers are scaled (BSCALE, BZERO, BLANK) in float64; axes of length 1 beyond the first two are dropped.
    It holds its file open: use it in a `with` block.

    Parameters
    ----------
    path
        The file: FITS, gzipped or tile-compressed FITS.
    hdu
        Name or index of the HDU that holds the image; by default the first with an image.
    blank
        A value that marks missing data besides NaN, infinities and the header's BLANK.

    Raises
    ------
    DataError
        Where the file is no FITS file, is cut short, or holds no two-dimensional image.
    """

    def __init__(self, path: str | Path, hdu: str | int | None = None, blank: float | None = None) -> None:
        self.path = Path(path)
        self.blank = blank
        self._hdus = _open_fits(self.path)
        self._watch = Watch(self.path)
        try:
            with _readable(str(self.path)):
                self.hdu = _find(self._hdus, self.path, hdu)
                header = self._hdus[self.hdu].header
                self.header = sound_cards(header)
                self._unreadable = len(header.cards) - len(self.header.cards)
                _check_complete(self._hdus[self.hdu], self.path, self.hdu)
                if getattr(self._hdus[self.hdu], "compression_type", None) == "HCOMPRESS_1":
                    check_tiles(self.path, self.hdu)
                self._full_shape, self._kept_axes = self._axes()
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
        y, x = self._kept_axes
        return self._full_shape[y], self._full_shape[x]

    @property
    def unit(self) -> str:
        """The header's BUNIT, or an empty string."""
        return str(self.header.get("BUNIT", "")).strip()

    def output_header(self) -> fits.Header:
        """Return the header for a new 2-D image on this grid, with a warning where it cannot hold all of this one."""
        if self._unreadable:
            warnings.warn(
                f"{self.name}: cards of its header that cannot be read are left out ({self._unreadable}).",
                BigsfWarning,
                stacklevel=2,
            )
        return output_header(self.header)

    @property
    def wcs(self) -> WCS | None:
        """The celestial WCS, or None where the header has none that can be read."""
        return celestial_wcs(self.header)

    def read(self, y0: int = 0, y1: int | None = None, columns: slice = slice(None)) -> FloatArray:
        """Return rows y0 to y1 (exclusive), float32 `(rows, nx)`, NaN where missing, blank or infinite.

        Fewer `columns` make `(rows, columns)`.
        """
        self._watch.check()
        y_axis, x_axis = self._kept_axes
        y1 = self.shape[0] if y1 is None else y1
        index: list[Any] = [0] * len(self._full_shape)
        index[y_axis], index[x_axis] = slice(y0, y1), columns
        with _readable(self.name, f" at rows {y0} to {y1}"):
            raw = np.asarray(self._hdus[self.hdu].section[tuple(index)])
            width = len(range(*columns.indices(self.shape[1])))
            return self._scaled(raw.reshape(y1 - y0, width))  # astropy keeps axes of length 1 that come last

    def _scaled(self, raw: npt.NDArray[Any]) -> FloatArray:
        header = self.header
        scale, zero = float(header.get("BSCALE", 1)), float(header.get("BZERO", 0))
        missing = None
        if raw.dtype.kind in "iu" and header.get("BLANK", header.get("ZBLANK")) is not None:
            missing = raw == int(header.get("BLANK", header.get("ZBLANK")))
        if raw.dtype.kind in "iu" or (scale, zero) != (1.0, 0.0):
            raw = raw.astype(np.float64) * scale + zero
        if self.blank is not None:
            equal = np.isclose(raw, self.blank, rtol=1e-6, atol=0)
            missing = equal if missing is None else missing | equal
        with np.errstate(over="ignore"):
            image = raw.astype(np.float32)  # native byte order; values beyond float32 become infinite
        image[~np.isfinite(image)] = np.nan
        if missing is not None:
            image[missing] = np.nan
        return image

    def _axes(self) -> tuple[tuple[int, ...], tuple[int, int]]:
        """Return the full numpy shape and which two of its axes are (y, x)."""
        full = tuple(self._hdus[self.hdu].shape)
        n = len(full)
        long = [axis for axis, length in enumerate(full) if length != 1]
        kept = (n - 2, n - 1) if n == 2 or set(long) <= {n - 2, n - 1} else tuple(long)
        if len(kept) != 2 or 0 in full:
            raise DataError(
                f"{self.name} holds an array of {' x '.join(map(str, full))} pixels; expected one plane (ny x nx). "
                "Cut one plane out of a cube first."
            )
        return full, kept


_PLANES = {
    "TARGET": "target",
    "SPINES": "target",
    "BACKGROUND": "background",
    "MISSING": "valid",
    "VALID": "valid",
    "TRUTH": "truth",
}
"""What the masks of a multi-extension file are called."""


def is_fits(path: Path) -> bool:
    """Say whether a file begins as FITS files do."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(6) == b"SIMPLE"


def stem_of(path: Path) -> str:
    """Return the name of a map without its ending: `galaxy` for galaxy.fits.gz."""
    return Path(path.name.removesuffix(".gz")).stem


def find_planes(path: str | Path) -> dict[str, str]:
    """Return which of TARGET (or SPINES), BACKGROUND, MISSING, VALID, TRUTH a file has, as plane: EXTNAME."""
    with _open_fits(Path(path)) as hdus:
        names = [str(hdu.name).upper() for hdu in hdus if _is_image(hdu)]
    return {_PLANES[name]: name for name in names if name in _PLANES}


def image_hdus(path: str | Path) -> list[int]:
    """Return which HDUs of a file are images of two axes or more."""
    with _open_fits(Path(path)) as hdus:
        return [index for index, hdu in enumerate(hdus) if _is_map(hdu)]


def celestial_wcs(header: fits.Header) -> WCS | None:
    """Return the celestial WCS of a header's first two axes, or None where there is none."""
    try:
        with _quiet():
            wcs = WCS(header, naxis=2)  # also reads headers with degenerate axes or FK4 that WCS(header) refuses
    except Exception as error:  # wcslib raises many kinds, all meaning the same
        if out_of_memory(error):
            raise
        reason = " ".join(str(error).split())
        warnings.warn(f"The WCS cannot be read and is left out: {reason}", BigsfWarning, stacklevel=2)
        return None
    return wcs if wcs.has_celestial else None


def pixel_scale_deg(wcs: WCS) -> float:
    """Return the side of a square as large as a pixel at the reference point, in degrees."""
    return float(np.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix))))


def galactic_lb(wcs: WCS, pixels: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return Galactic (l, b) in degrees of pixels (y, x), `(n, 2)` each; NaN off the sky."""
    sky = wcs.pixel_to_world(pixels[:, 1], pixels[:, 0]).galactic
    return np.stack([sky.l.deg, sky.b.deg], axis=1)


_AXIS_CARD = re.compile(
    r"^((NAXIS|CTYPE|CRVAL|CRPIX|CDELT|CROTA|CUNIT|CNAME|CRDER|CSYER)[3-9]|(PC|CD)0*([3-9]_\d|\d_0*[3-9])|(PV|PS)[3-9]_\d+)$"
)
_ARRAY_CARDS = {"XTENSION", "PCOUNT", "GCOUNT", "EXTNAME", "EXTVER", "CHECKSUM", "DATASUM"} | {
    "BSCALE",
    "BZERO",
    "BLANK",
    "ZBLANK",
    "BUNIT",
    "DATAMIN",
    "DATAMAX",
}


def output_header(header: fits.Header) -> fits.Header:
    """Return an input's header for a new 2-D image on its grid: all (WCS, HISTORY) but the old array's cards."""
    kept = header.copy(strip=True)
    for keyword in [k for k in kept if _AXIS_CARD.match(k) or k in _ARRAY_CARDS]:
        kept.remove(keyword, ignore_missing=True, remove_all=True)
    if "WCSAXES" in kept:
        kept["WCSAXES"] = 2
    return kept


@contextmanager
def _readable(what: str, where: str = "") -> Iterator[None]:
    """Turn whatever astropy, zlib and cfitsio raise at a damaged file into one `DataError`."""
    try:
        with _quiet():
            yield
    except DataError:
        raise
    except Exception as error:
        if out_of_memory(error):
            raise
        reason = str(error).split(" If this is really")[0]  # what follows is advice for callers of astropy
        raise DataError(f"{what} cannot be read{where}: {(reason or type(error).__name__).rstrip('.')}.") from error


def sound_cards(header: fits.Header) -> fits.Header:
    """Return a header without the cards that astropy cannot parse, write, or count by."""
    sound = fits.Header()
    for card in header.cards:
        try:
            card.verify("silentfix")
            text = str(card)
        except (ValueError, fits.VerifyError):
            continue
        number = card.value if card.keyword in ("NAXIS", "TFIELDS") else 0
        counts = type(number) is int and 0 <= number <= _MOST
        if text.isascii() and text.isprintable() and counts and _has_keyword(text):
            sound.append(card, end=True)
    return sound


def _has_keyword(card: str) -> bool:
    """Say whether astropy finds a keyword in a card as it will stand in a file."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", AstropyWarning)
        try:
            return fits.Card.fromstring(card).keyword is not None
        except AstropyWarning:
            return False


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence astropy's remarks on odd headers; what matters is checked and said here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        yield


def _open_fits(path: Path) -> Any:
    """Open a FITS file with its raw values, turning every way of not being FITS into one `DataError`."""
    try:
        _check_counts(_first_block(path))
        with _quiet():
            hdus = fits.open(path, memmap=False, do_not_scale_image_data=True)
            try:
                _read_headers(hdus)
            except Exception:
                hdus.close()
                raise
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder; expected a FITS file.") from None
    except Exception as error:  # astropy raises many kinds for a file that is not FITS
        if out_of_memory(error):
            raise
        reason = str(error).split(" If this is really")[0]  # what follows is advice for callers of astropy
        reason = f"a header has no {reason}" if isinstance(error, KeyError) else reason
        reason = "it does not begin with SIMPLE." if reason.startswith("No SIMPLE card") else reason
        raise DataError(f"{path} is not a FITS file that can be read: {reason}") from error
    return hdus


def _first_block(path: Path) -> bytes:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    with gzip.open(path) if zipped else path.open("rb") as file:
        return file.read(_BLOCK)


def _read_headers(hdus: Any) -> None:
    """Read all headers, one after the other, each looked at before astropy builds an HDU of it."""
    for index in count():
        last = hdus[index].fileinfo()
        if last["datSpan"] < 0:  # and the next header would be this one again
            raise ValueError(f"HDU {index} claims {last['datSpan']} bytes")
        last["file"].seek(last["datLoc"] + last["datSpan"])
        _check_counts(last["file"].read(_BLOCK))
        try:
            hdus[index + 1]
        except IndexError:
            return


def _check_counts(header: bytes) -> None:
    """Refuse a header of more axes or columns than FITS allows: astropy would look for each of a billion."""
    for at in range(0, len(header), 80):
        found = re.match(rb"(NAXIS|TFIELDS) *= *\+?(\d+)", header[at : at + 80])
        if found and int(found[2]) > _MOST:
            raise ValueError(f"its {found[1].decode()} is {found[2].decode()[:30]}")


def _is_image(hdu: Any) -> bool:
    return isinstance(hdu, fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU)  # what a broken header says is not that


def _is_map(hdu: Any) -> bool:
    return _is_image(hdu) and len(hdu.shape) >= 2


def _find(hdus: Any, path: Path, wanted: str | int | None) -> int:
    listing = ", ".join(
        f"{i} {hdu.name or 'unnamed'} {hdu.shape if _is_image(hdu) else 'table'}" for i, hdu in enumerate(hdus)
    )
    if wanted is None:
        images = [index for index, hdu in enumerate(hdus) if _is_map(hdu)]
        found = next((i for i in images if str(hdus[i].name).upper() not in _PLANES), images[0] if images else None)
        if found is None:
            raise DataError(f"{path} holds no image: its HDUs are {listing}. Expected one of ny x nx pixels.")
        return found
    key = int(wanted) if str(wanted).lstrip("-").isdecimal() else str(wanted)
    try:
        index = int(hdus.index_of(key))
        hdu = hdus[index]
    except (KeyError, IndexError):
        raise DataError(f"{path} has no HDU {wanted!r}; it has {listing}.") from None
    if not _is_map(hdu):
        raise DataError(f"HDU {wanted!r} of {path} is no image of ny x nx pixels; the HDUs are {listing}.")
    return index


def _check_complete(hdu: Any, path: Path, index: int) -> None:
    """Refuse a file that ends before its data do: reading on would give zeros."""
    info = hdu.fileinfo()
    if info is None or info["file"].compression:  # a cut archive fails as it is unpacked
        return
    compressed = isinstance(hdu, fits.CompImageHDU)
    needed = info["datLoc"] + (info["datSpan"] - 2879 if compressed else hdu.size)  # 2880: the last block's padding
    found = path.stat().st_size
    if found < needed:
        raise DataError(
            f"{path} is cut short: HDU {index} needs {needed} bytes, the file has {found}. Copy or download it again."
        )
