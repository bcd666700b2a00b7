"""FITS files of any origin -> open HDUs and sound headers, or one `DataError`.

astropy and cfitsio believe what a header or a compressed tile says of its own size. These checks come before that.
"""

import bz2
import gzip
import lzma
import math
import re
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from bigsf.errors import DataError, out_of_memory
from bigsf.maps.file_kinds import describe_kind

BLOCK = 2880
"""Bytes of the blocks that FITS files consist of."""

_MOST_AXES = 999  # the most axes of an array, and columns of a table, that FITS allows

_MOST_BLOCKS = 1000
"""Blocks of a header, at most. astropy takes seconds for its 36,000 cards, and it looks for the end of a header in all
that an archive of a few megabytes may unpack to."""

_ARCHIVES: dict[bytes, Callable[[Path], BufferedIOBase]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
}
"""How an archive is opened, by its first bytes."""

_TILE_HEAD = struct.Struct(">2sii")  # of an HCOMPRESS tile: magic number, rows, columns (White et al. 1992)

_TILE_MAGIC = b"\xdd\x99"


@contextmanager
def quiet_astropy() -> Iterator[None]:
    """Silence astropy's warnings about odd headers; BigSF checks and reports what matters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        yield


@contextmanager
def readable(what: str, where: str = "") -> Iterator[None]:
    """Turn every error that astropy, zlib and cfitsio raise for a damaged file into one `DataError`.

    Parameters
    ----------
    what
        The file or plane, for the message.
    where
        The part of it that is read, e.g. " at rows 0 to 96".
    """
    try:
        with quiet_astropy():
            yield
    except DataError:
        raise
    except Exception as error:
        if out_of_memory(error):
            raise
        reason = _reason(error) or type(error).__name__
        raise DataError(f"{what} cannot be read{where}: {reason.rstrip('.')}.") from error


def open_fits(path: Path) -> Any:
    """Open a FITS file with its raw values and return its HDUs.

    Raises
    ------
    DataError
        Where the file is absent, is not a FITS file, or has a header that cannot be read.
    """
    try:
        start = _first_block(path)
        if start and not start.startswith(b"SIMPLE"):
            raise DataError(f"{path} is not a FITS file that can be read: {describe_kind(path, start)}")
        _check_axes(start)
        with quiet_astropy():
            hdus = fits.open(path, memmap=False, do_not_scale_image_data=True)
            try:
                _read_headers(hdus)
            except Exception:
                hdus.close()
                raise
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder; expected a FITS file.") from None
    except Exception as error:  # astropy raises many kinds for a file that is not FITS
        if out_of_memory(error):
            raise
        reason = f"a header has no {_reason(error)}" if isinstance(error, KeyError) else _reason(error)
        raise DataError(f"{path} is not a FITS file that can be read: {reason}") from error
    return hdus


def _reason(error: Exception) -> str:
    """Return the message of an error without astropy's advice for those who call it from Python."""
    return str(error).split(" If this is really")[0]


def _first_block(path: Path) -> bytes:
    with path.open("rb") as file:
        start = file.read(BLOCK)
    unpack = next((unpack for signature, unpack in _ARCHIVES.items() if start.startswith(signature)), None)
    with unpack(path) if unpack else path.open("rb") as file:
        start = file.read(BLOCK)
        if start.startswith(b"SIMPLE"):
            _check_end(start, file)
        return start


def _check_end(start: bytes, file: Any) -> None:
    """Refuse a header without an end, of which a file has read its first block; one that is cut short fails later."""
    block = start
    for _ in range(_MOST_BLOCKS):
        if not block or any(re.match(rb"END[^\w-]", block[at : at + 80]) for at in range(0, len(block), 80)):
            return
        block = file.read(BLOCK)
    raise ValueError(f"a header has more than {_MOST_BLOCKS * BLOCK // 80:,} cards, or no end. Copy the image alone.")


def _read_headers(hdus: Any) -> None:
    """Read all headers one after the other, and check each of them before astropy builds an HDU of it."""
    for index in count():
        _check_sizes(hdus[index], index)
        last = hdus[index].fileinfo()
        if last["datSpan"] < 0:  # the next header would be this one again
            raise ValueError(f"HDU {index} claims {last['datSpan']} bytes")
        last["file"].seek(last["datLoc"] + last["datSpan"])
        start = last["file"].read(BLOCK)
        _check_axes(start)
        _check_end(start, last["file"])
        try:
            hdus[index + 1]
        except IndexError:
            return


def _check_axes(header: bytes) -> None:
    """Refuse a header that is no standard FITS, and one of more axes or columns than FITS allows.

    astropy would look for the cards of a billion axes.
    """
    if re.match(rb"SIMPLE *= *F", header):
        raise ValueError("its card SIMPLE is F, so it is no standard FITS. Write it anew with SIMPLE = T.")
    for at in range(0, len(header), 80):
        found = re.match(rb"(NAXIS|TFIELDS) *= *\+?(\d+)", header[at : at + 80])
        if found and int(found[2]) > _MOST_AXES:
            raise ValueError(f"its {found[1].decode()} is {found[2].decode()[:30]}")


def _check_sizes(hdu: Any, index: int) -> None:
    """Refuse an array whose size is no whole number, or stands twice in its header: readers take one or the other."""
    header = hdu.header
    axes = header.get("NAXIS", 0)
    for name in ("BITPIX", "NAXIS", *(f"NAXIS{axis}" for axis in range(1, axes + 1 if type(axes) is int else 1))):
        values = [header[name, number] for number in range(header.count(name) if name in header else 0)]
        whole = sorted({value for value in values if type(value) is int})
        if len(whole) > 1:
            raise ValueError(f"HDU {index} gives its {name} as {' and as '.join(map(str, whole))}. Keep one.")
        if values and values[0] not in whole:
            raise ValueError(f"the {name} of HDU {index} is {values[0]!r}, which is no whole number.")
    if is_image(hdu) and any(type(length) is not int for length in hdu.shape):
        raise ValueError(f"the lengths {hdu.shape} of the axes of HDU {index} are no whole numbers.")


def is_image(hdu: Any) -> bool:
    """Tell whether an HDU is an image; astropy has another class for an HDU whose header is broken."""
    return isinstance(hdu, fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU)


def is_map(hdu: Any) -> bool:
    """Tell whether an HDU is an image of two axes or more."""
    return is_image(hdu) and len(hdu.shape) >= 2


def sound_cards(header: fits.Header) -> fits.Header:
    """Return a header without the cards that astropy cannot parse or write, and without impossible NAXIS or TFIELDS."""
    sound = fits.Header()
    for card in header.cards:
        try:
            card.verify("silentfix")
            text = str(card)
        except (ValueError, fits.VerifyError):
            continue
        number = card.value if card.keyword in ("NAXIS", "TFIELDS") else 0
        possible = type(number) is int and 0 <= number <= _MOST_AXES
        if text.isascii() and text.isprintable() and possible and _has_keyword(text):
            sound.append(card, end=True)
    return sound


def _has_keyword(card: str) -> bool:
    """Tell whether astropy finds a keyword in a card as it will stand in a file."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", AstropyWarning)
        try:
            return fits.Card.fromstring(card).keyword is not None
        except AstropyWarning:
            return False


def check_complete(hdu: Any, path: Path, index: int) -> None:
    """Raise `DataError` where a file ends before the data of an HDU do: astropy would return zeros for the rest."""
    info = hdu.fileinfo()
    if info is None or info["file"].compression:  # a gzip archive that was cut fails when it is unpacked
        return
    compressed = isinstance(hdu, fits.CompImageHDU)
    padding = BLOCK - 1  # at most; a file may lack the padding of its last block
    needed = info["datLoc"] + (info["datSpan"] - padding if compressed else hdu.size)
    found = path.stat().st_size
    if found < needed:
        raise DataError(
            f"{path} is cut short: HDU {index} needs {needed} bytes, the file has {found}. Copy or download it again."
        )


def check_hcompress_tiles(path: Path, index: int) -> None:
    """Refuse an HCOMPRESS image with a tile whose size is not that of the header: cfitsio would crash on it.

    Parameters
    ----------
    path
        A FITS file.
    index
        The HDU of the image.

    Raises
    ------
    DataError
        Where the head of a tile is damaged.
    """
    with fits.open(path, disable_image_compression=True) as hdus:
        header, tiles = hdus[index].header, hdus[index].data["COMPRESSED_DATA"]
        axes = range(header["ZNAXIS"], 0, -1)
        lengths = [header[f"ZNAXIS{axis}"] for axis in axes]
        steps = [header.get(f"ZTILE{axis}", header["ZNAXIS1"] if axis == 1 else 1) for axis in axes]
        counts = [-(-length // step) for length, step in zip(lengths, steps, strict=True)]
        for number, tile in enumerate(tiles):
            if not len(tile):  # the pixels of this tile stand in another column
                continue
            place = np.unravel_index(number, counts)
            pixels = math.prod(min(step, n - at * step) for at, step, n in zip(place, steps, lengths, strict=True))
            head = np.asarray(tile[: _TILE_HEAD.size], np.uint8).tobytes()
            magic, *size = _TILE_HEAD.unpack(head) if len(head) == _TILE_HEAD.size else (b"", 0)
            if magic != _TILE_MAGIC or min(size) < 1 or math.prod(size) != pixels:
                raise DataError(
                    f"{path} is damaged: tile {number} of HDU {index} has no head. Copy or download it again."
                )
