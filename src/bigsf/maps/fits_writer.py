"""Planes by bands of rows -> multi-extension FITS file.

The file is allocated as a whole before the first band, so that a full disk is an error at once.
"""

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from astropy.io import fits

from bigsf.errors import UsageError
from bigsf.files import allocate
from bigsf.maps.file_kinds import FITS_ENDINGS
from bigsf.maps.fits_guard import BLOCK


class FitsWriter:
    """Writes several planes of one grid into a multi-extension FITS file.

    Parameters
    ----------
    path
        A new file.
    shape
        (ny, nx) of every plane.
    header
        Header of the primary HDU.
    planes
        The dtype of each plane by its name; the first plane is the primary HDU.
    tables
        Further HDUs, written after the planes.
    kinds
        What planes other than the first show, by their names; it becomes their BTYPE.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, int],
        header: fits.Header,
        planes: Mapping[str, npt.DTypeLike],
        tables: Sequence[fits.BinTableHDU] = (),
        kinds: Mapping[str, str] | None = None,
    ) -> None:
        self._nx = shape[1]
        self._start: dict[str, int] = {}
        self._dtype = {name: np.dtype(dtype).newbyteorder(">") for name, dtype in planes.items()}
        headers: dict[int, bytes] = {}
        position = 0
        for number, (name, dtype) in enumerate(self._dtype.items()):
            data = np.broadcast_to(dtype.type(0), shape)  # only for the header: it takes no memory
            hdu = fits.ImageHDU(data, _grid_cards(header), name=name) if number else fits.PrimaryHDU(data, header)
            if kinds and name in kinds:
                hdu.header["BTYPE"] = kinds[name]
            headers[position] = hdu.header.tostring().encode("ascii")
            self._start[name] = position + len(headers[position])
            position = self._start[name] + _blocks(shape[0] * shape[1] * dtype.itemsize)
        for table in tables:
            headers[position] = _table_bytes(table)
            position += len(headers[position])
        self._end = position
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            allocate(self._file, position)
            for at, content in headers.items():
                _write_all(self._file, content, at)
        except OSError:
            os.close(self._file)
            raise

    def write(self, name: str, y0: int, rows: npt.NDArray[Any]) -> None:
        """Write rows `(n, nx)` of a plane from row y0 on, in any order of the rows."""
        dtype = self._dtype[name]
        content = np.ascontiguousarray(rows, dtype).tobytes()
        _write_all(self._file, content, self._start[name] + y0 * self._nx * dtype.itemsize)

    def append(self, table: fits.BinTableHDU) -> None:
        """Write a further HDU at the end of the file."""
        content = _table_bytes(table)
        _write_all(self._file, content, self._end)
        self._end += len(content)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)


def check_fits_name(path: Path, what: str) -> None:
    """Raise `UsageError` unless the path of a new file, named `what` in the message, is that of a plain FITS file."""
    if path.suffix.lower() not in FITS_ENDINGS:
        raise UsageError(f"The {what} {path} must be a plain FITS file: name it *.fits.")


def _grid_cards(header: fits.Header) -> fits.Header:
    """Return the cards of the primary header for an extension: all but its unit, comments and history."""
    cards = header.copy(strip=True)
    for keyword in ("HISTORY", "COMMENT", "", "BTYPE", "BUNIT", "DATE"):
        cards.remove(keyword, ignore_missing=True, remove_all=True)
    return cards


def _blocks(size: int) -> int:
    """Round a number of bytes up to whole blocks."""
    return -(-size // BLOCK) * BLOCK


def _table_bytes(table: fits.BinTableHDU) -> bytes:
    """Return a table as it stands in a file, behind the primary HDU that astropy needs to write it."""
    buffer = io.BytesIO()
    primary = fits.PrimaryHDU()
    fits.HDUList([primary, table]).writeto(buffer)
    return buffer.getvalue()[BLOCK:]


def _write_all(file: int, content: bytes, position: int) -> None:
    """Write bytes at a position; the operating system may take them in several parts."""
    view = memoryview(content)
    while view:
        written = os.pwrite(file, view, position)
        view, position = view[written:], position + written
