"""A guard for HCOMPRESS tiles: cfitsio believes the size that a tile gives of itself, and dies where it is wrong."""

import gzip
import math
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from bigsf.errors import DataError, out_of_memory

_HEAD = struct.Struct(">2sii")  # magic number, rows, columns (White et al. 1992)


_MAGIC = b"\xdd\x99"


def check_tiles(path: Path, index: int) -> None:
    """Refuse an HCOMPRESS-compressed image with a tile that gives itself another size than the header does.

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
            if not len(tile):  # its pixels stand in another column
                continue
            place = np.unravel_index(number, counts)
            pixels = math.prod(min(step, n - at * step) for at, step, n in zip(place, steps, lengths, strict=True))
            head = np.asarray(tile[: _HEAD.size], np.uint8).tobytes()
            magic, *size = _HEAD.unpack(head) if len(head) == _HEAD.size else (b"", 0)
            if magic != _MAGIC or min(size) < 1 or math.prod(size) != pixels:
                raise DataError(
                    f"{path} is damaged: tile {number} of HDU {index} has no head. Copy or download it again."
                )


_BLOCK = 2880  # bytes; FITS files are made of such blocks


_MOST = 999  # axes or columns of a FITS array or table


@contextmanager
def readable(what: str, where: str = "") -> Iterator[None]:
    """Turn whatever astropy, zlib and cfitsio raise at a damaged file into one `DataError`."""
    try:
        with quiet_astropy():
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
def quiet_astropy() -> Iterator[None]:
    """Silence astropy's remarks on odd headers; what matters is checked and said here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        yield


def open_fits(path: Path) -> Any:
    """Open a FITS file with its raw values, turning every way of not being FITS into one `DataError`."""
    try:
        _check_counts(_first_block(path))
        with quiet_astropy():
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


def is_image(hdu: Any) -> bool:
    return isinstance(hdu, fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU)  # what a broken header says is not that


def is_map(hdu: Any) -> bool:
    return is_image(hdu) and len(hdu.shape) >= 2


def check_complete(hdu: Any, path: Path, index: int) -> None:
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
