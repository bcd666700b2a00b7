"""The layout of a patch file in HDF5: its names, and checks of an open file before libhdf5 reads a value from it.

    image      float32 (channels, ny, nx)   raw values, NaN = missing
    target     uint8 (ny, nx)               1 on known structures             (absent where there are no labels)
    labelled   uint8 (ny, nx)               1 where the label is known        (absent where there are no labels)
    truth      uint8 (ny, nx)               1 on every structure, the ground truth of a simulated map; for scores only
    positions  int32 (n, 2)                 top-left (y, x) of each kept patch
    header     bytes                        the FITS header of the image, one card per line
    wcs        bytes                        its celestial WCS as FITS cards, or nothing
    sources    bytes                        JSON: path and SHA-256 of the file of each plane

Short values are attributes; HDF5 limits them to 64 kB, so texts without a limit are datasets. All texts are byte
strings of a fixed length. Strings of variable length, which h5py writes by default, stand in heaps; a damaged heap
makes libhdf5 (2.0) loop or crash, so no such string is ever read.
"""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from bigsf.errors import DataError
from bigsf.files import ChangeDetector
from bigsf.patches.mapped_plane import map_plane
from bigsf.version import __version__

FORMAT = "bigsf patches"

FORMAT_VERSION = 2

MASKS = ("target", "labelled", "truth")

LONG_TEXTS = ("header", "wcs", "sources")

DTYPES = {
    "image": np.dtype(np.float32),
    **dict.fromkeys(MASKS, np.dtype(np.uint8)),
    "positions": np.dtype(np.int32),
}


def fixed_length(text: str) -> npt.NDArray[np.bytes_]:
    """Return a text as HDF5 is to store it: UTF-8 in a byte string of a fixed length, one byte at least."""
    content = text.encode()
    return np.array(content, f"S{max(1, len(content))}")


class OpenPatchFile:
    """A patch file while it is open in HDF5: checked values on request.

    Parameters
    ----------
    path
        The file.
    file
        The same, open for reading.
    changes
        Of the same, from before it was opened.

    Raises
    ------
    DataError
        Where the file is not a patch file of BigSF, or has another format version. Each method raises it where a value
        is absent, of an unexpected type, or not all there.
    """

    def __init__(self, path: Path, file: h5py.File, changes: ChangeDetector) -> None:
        self._path, self._file, self._changes = path, file, changes
        self._check_format()

    def _check_format(self) -> None:
        if "format" not in self._file.attrs or "format_version" not in self._file.attrs:
            raise DataError(f"{self._path} is an HDF5 file but no patch file of BigSF. Make one with bigsf preprocess.")
        version = self.number("format_version")
        if version == 1:
            raise DataError(f"{self._path} has format 1, which is no longer read. Run bigsf preprocess again.")
        if version > FORMAT_VERSION:
            raise DataError(
                f"{self._path} has format {version}; this is bigsf {__version__}, which reads format {FORMAT_VERSION}. "
                "Update bigsf or run bigsf preprocess again."
            )
        if version != FORMAT_VERSION or self.text("format") != FORMAT:
            raise DataError(f"{self._path} is an HDF5 file but no patch file of BigSF. Make one with bigsf preprocess.")

    def text(self, name: str) -> str:
        """Return an attribute that is a text."""
        self._check_attribute(name, "S", "string")
        return bytes(self._file.attrs[name]).decode()

    def number(self, name: str) -> int:
        """Return an attribute that is an integer."""
        self._check_attribute(name, "iu", "whole number")
        return int(self._file.attrs[name])

    def _check_attribute(self, name: str, kinds: str, expected: str) -> None:
        if name not in self._file.attrs:
            raise DataError(f"{self._path} is damaged: it has no attribute {name}. Copy or make it again.")
        attribute = self._file.attrs.get_id(name)
        if attribute.dtype.kind not in kinds or attribute.shape != ():
            raise DataError(f"{self._path} is damaged: {name} is not a {expected}. Copy or make it again.")

    def __contains__(self, name: str) -> bool:
        return self._file.get(name, getlink=True) is not None  # without following a link to another file

    def long_text(self, name: str) -> str:
        """Return a text that is a dataset: header, wcs or sources."""
        dataset = self._dataset(name)
        if dataset.dtype.kind != "S" or dataset.shape != ():
            raise DataError(f"{self._path} is damaged: {name} is not a string. Copy or make it again.")
        return bytes(self._values(dataset, in_memory=True)).decode()

    def plane(self, name: str, in_memory: bool) -> Any:
        """Return the image, a mask or the positions: read into memory, or mapped past HDF5."""
        dataset = self._dataset(name)
        if dataset.dtype != DTYPES[name]:
            raise DataError(
                f"{self._path} is damaged: {name} is {dataset.dtype}, not {DTYPES[name]}. Copy or make it again."
            )
        return self._values(dataset, in_memory)

    def _dataset(self, name: str) -> h5py.Dataset:
        inside = isinstance(self._file.get(name, getlink=True), h5py.HardLink)
        dataset = self._file[name] if inside else None
        if not isinstance(dataset, h5py.Dataset):
            raise DataError(f"{self._path} is damaged: it has no {name} of its own. Copy or make it again.")
        if dataset.external or dataset.is_virtual:
            raise DataError(f"{self._path} is damaged: its {name} lies in another file, which is not read.")
        return dataset

    def _values(self, dataset: h5py.Dataset, in_memory: bool) -> Any:
        offset = dataset.id.get_offset()
        if offset is None and in_memory:
            return dataset[()]
        if offset is None:
            raise DataError(f"{self._path} was rewritten by another tool: {dataset.name} is not contiguous.")
        if self._path.stat().st_size < offset + dataset.nbytes:  # to map it would fail
            raise DataError(f"{self._path} is cut short: {dataset.name} is not all there. Copy or make it again.")
        if in_memory:
            return dataset[()]
        return map_plane(self._path, dataset.dtype, offset, dataset.shape, self._changes)
