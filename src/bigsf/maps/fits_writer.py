"""FITS images written by bands of rows: allocated first, then plain writes, so that a full disk is an error at once."""

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

_BLOCK = 2880  # bytes; FITS files are made of such blocks


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
        From the name of each plane to its dtype; the first is the primary HDU.
    tables
        Further HDUs, written after the planes.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, int],
        header: fits.Header,
        planes: Mapping[str, npt.DTypeLike],
        tables: Sequence[fits.BinTableHDU] = (),
    ) -> None:
        self._nx = shape[1]
        self._start: dict[str, int] = {}
        self._dtype = {name: np.dtype(dtype).newbyteorder(">") for name, dtype in planes.items()}
        headers: dict[int, bytes] = {}
        position = 0
        for number, (name, dtype) in enumerate(self._dtype.items()):
            data = np.broadcast_to(dtype.type(0), shape)  # its shape and type make the header; it takes no memory
            hdu = fits.ImageHDU(data, _grid_cards(header), name=name) if number else fits.PrimaryHDU(data, header)
            headers[position] = hdu.header.tostring().encode("ascii")
            self._start[name] = position + len(headers[position])
            position = self._start[name] + _blocks(shape[0] * shape[1] * dtype.itemsize)
        for table in tables:
            headers[position] = _table_bytes(table)
            position += len(headers[position])
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            allocate(self._file, position)
            for at, content in headers.items():
                _write_all(self._file, content, at)
        except OSError:
            os.close(self._file)
            raise

    def write(self, name: str, y0: int, rows: npt.NDArray[Any]) -> None:
        """Write rows `(n, nx)` of a plane, from y0 on."""
        dtype = self._dtype[name]
        content = np.ascontiguousarray(rows, dtype).tobytes()
        _write_all(self._file, content, self._start[name] + y0 * self._nx * dtype.itemsize)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)


def check_fits_name(path: Path, what: str) -> None:
    """Raise `UsageError` unless a file that is to be written (`what`) is named as a plain FITS file."""
    if path.suffix.lower() not in (".fits", ".fit", ".fts"):
        raise UsageError(f"The {what} {path} must be a plain FITS file: name it *.fits.")


def _grid_cards(header: fits.Header) -> fits.Header:
    """Return what an extension needs of the primary header: all but its unit, comments and history."""
    cards = header.copy(strip=True)
    for keyword in ("HISTORY", "COMMENT", "", "BTYPE", "BUNIT", "DATE"):
        cards.remove(keyword, ignore_missing=True, remove_all=True)
    return cards


def _blocks(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _table_bytes(table: fits.BinTableHDU) -> bytes:
    buffer = io.BytesIO()
    primary = fits.PrimaryHDU()
    fits.HDUList([primary, table]).writeto(buffer)
    return buffer.getvalue()[_BLOCK:]


def _write_all(file: int, content: bytes, position: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(file, view, position)
        view, position = view[written:], position + written
