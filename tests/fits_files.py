"""Odd FITS files of one small map, and the pixels that they mean."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from bigsf.arrays import FloatArray
from conftest import galactic_header

NY, NX = 20, 24
VALUES = np.arange(NY * NX, dtype=np.float32).reshape(NY, NX) % 100 + 1
HEADER = galactic_header(NX, NY, longitude=0.1)
EQUATORIAL = {"CRVAL1": 266.4, "CRVAL2": -28.9}

Writer = Callable[[Path], FloatArray]
"""Writes a file and returns the pixels that it means."""


def write_hdus(path: Path, *parts: Any) -> None:
    """Write a FITS file, also one that breaks the standard."""
    fits.HDUList(list(parts)).writeto(path, output_verify="ignore")


def projected(code: str, first: str = "GLON", second: str = "GLAT", **cards: Any) -> fits.Header:
    """Return a header of another projection and other axes."""
    header = HEADER.copy()
    header.update(cards)
    header["CTYPE1"], header["CTYPE2"] = (f"{axis:-<5}{code}" for axis in (first, second))
    return header


def scaled(dtype: str, **cards: Any) -> Writer:
    """Return a writer of integers with BSCALE, BZERO and BLANK."""

    def write(path: Path) -> FloatArray:
        header = HEADER.copy()
        header.update(cards)
        hdu = fits.PrimaryHDU(VALUES.astype(dtype), header)
        hdu.header.update(cards)
        write_hdus(path, hdu)
        values = VALUES * cards.get("BSCALE", 1) + cards.get("BZERO", 0)
        return np.where(cards.get("BLANK") == VALUES, np.nan, values).astype(np.float32)

    return write


def compressed(kind: str, dtype: str, **options: Any) -> Writer:
    """Return a writer of tile-compressed FITS."""

    def write(path: Path) -> FloatArray:
        tiles = fits.CompImageHDU(VALUES.astype(dtype), HEADER, compression_type=kind, **options)
        write_hdus(path, fits.PrimaryHDU(), tiles)
        return VALUES

    return write


def quantised(path: Path) -> FloatArray:
    """Write floats that are quantised and dithered by their compression."""
    tiles = fits.CompImageHDU(VALUES + 0.25, HEADER, compression_type="RICE_1", quantize_level=4, quantize_method=2)
    write_hdus(path, fits.PrimaryHDU(), tiles)
    return np.asarray(fits.getdata(path, 1), np.float32)


def under(header: fits.Header) -> Writer:
    """Return a writer of the plain values with another header."""

    def write(path: Path) -> FloatArray:
        write_hdus(path, fits.PrimaryHDU(VALUES, header))
        return VALUES

    return write


def replaced(card: str, by: str) -> Writer:
    """Return a writer of a file in which a card of the header is replaced by another text."""

    def write(path: Path) -> FloatArray:
        write_hdus(path, fits.PrimaryHDU(VALUES, HEADER))
        start = path.read_bytes().index(card.encode())
        content = bytearray(path.read_bytes())
        content[start : start + 80] = by.encode().ljust(80)
        path.write_bytes(content)
        return VALUES

    return write


def shaped(*shape: int) -> Writer:
    """Return a writer of the same values with more axes."""

    def write(path: Path) -> FloatArray:
        write_hdus(path, fits.PrimaryHDU(VALUES.reshape(shape), HEADER))
        return VALUES

    return write


def several(path: Path) -> FloatArray:
    """Write two images in extensions; the first one counts."""
    write_hdus(
        path, fits.PrimaryHDU(), fits.ImageHDU(VALUES, HEADER, name="A"), fits.ImageHDU(-VALUES, HEADER, name="B")
    )
    return VALUES


def extension(path: Path) -> FloatArray:
    """Write an image in an extension after an empty primary HDU."""
    write_hdus(path, fits.PrimaryHDU(), fits.ImageHDU(VALUES, HEADER))
    return VALUES


def zipped(path: Path) -> FloatArray:
    """Write a gzipped file."""
    write_hdus(path, fits.PrimaryHDU(VALUES, HEADER))
    path.write_bytes(gzip.compress(path.read_bytes()))
    return VALUES


def second_block(path: Path) -> FloatArray:
    """Write a header of two blocks, with a keyword of tables in the second."""
    header = HEADER.copy()
    header.update({f"KEY{number}": number for number in range(36)})
    header["TFIELDX"] = 10**9
    write_hdus(path, fits.PrimaryHDU(VALUES, header))
    path.write_bytes(path.read_bytes().replace(b"TFIELDX", b"TFIELDS"))
    return VALUES


def cards(path: Path) -> FloatArray:
    """Write long, hierarchical and duplicate cards."""
    header = HEADER.copy()
    header["HIERARCH ESO TEL NAME"] = "a name"
    header["LONG"] = "text " * 40  # goes on in CONTINUE cards
    for text in ("one", "two"):
        header.append(("TWICE", text))
    write_hdus(path, fits.PrimaryHDU(VALUES, header))
    return VALUES


def plane(path: Path, values: Any, header: fits.Header = HEADER, **changes: Any) -> Path:
    """Write an image with a header in which some cards differ, and return its path."""
    header = header.copy()
    header.update(changes)
    write_hdus(path, fits.PrimaryHDU(np.asarray(values), header))
    return path
