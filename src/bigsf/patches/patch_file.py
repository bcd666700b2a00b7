"""The patch file: the planes of a map stored once in HDF5, and patches as windows onto them.

    image      float32 (channels, ny, nx)   raw values, NaN = missing
    target     uint8 (ny, nx)               1 on known structures           (absent where there are no labels)
    labelled   uint8 (ny, nx)               1 where the truth is known      (absent where there are no labels)
    truth      uint8 (ny, nx)               1 on every structure, for scores only     (of made or injected skies)
    positions  int32 (n, 2)                 top-left (y, x) of each kept patch
    header     string                       the FITS header of the image

MapRows are contiguous, so that they are memory-mapped past HDF5: any number of processes share one copy, no
HDF5 handle outlives `PatchFile.__init__`, and a batch of patches is one indexing operation.
"""

import json
import mmap
import re
import struct
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, overload

import h5py
import numpy as np
import numpy.typing as npt
from astropy.io import fits
from astropy.wcs import WCS
from numpy.lib.stride_tricks import sliding_window_view

from bigsf.arrays import FloatArray, MaskArray
from bigsf.errors import DataError, out_of_memory
from bigsf.files import ChangeDetector
from bigsf.maps.fits_guard import sound_cards
from bigsf.maps.fits_image import is_fits
from bigsf.maps.wcs import celestial_wcs
from bigsf.version import __version__

FORMAT = "bigsf patches"


FORMAT_VERSION = 1


_HEAP = re.compile(rb"GCOL\x01\0{3}(.{8})", re.DOTALL)


_ENTRY = struct.Struct("<H6xQ")  # of a heap of HDF5: index and length, before the bytes; index 0 is free space


_HDF5_BYTES = 16384  # more than HDF5 needs for its own records of a patch file


MASKS = ("target", "labelled", "truth")


class Patches(NamedTuple):
    """A batch of patches, or one patch without the leading axis."""

    image: FloatArray
    """Raw values `(b, c, y, x)` in the unit of the map, NaN = missing."""
    target: MaskArray | None
    """1 on known structures, `(b, y, x)`; None where the file has no labels."""
    labelled: MaskArray | None
    """1 where the truth is known, `(b, y, x)`; None where the file has no labels."""
    position: npt.NDArray[np.int32]
    """Top-left pixel (y, x), `(b, 2)`."""


class PatchFile:
    """A patch file, opened for reading: a sequence of patches.

    Parameters
    ----------
    path
        The HDF5 file that `bigsf preprocess` wrote.
    in_memory
        Read the planes into memory instead of mapping them: for file systems that are slow at random reads.

    Raises
    ------
    DataError
        Where the file is none of BigSF's, is cut short, or has a newer format.
    """

    def __init__(self, path: str | Path, in_memory: bool = False) -> None:
        self.path = Path(path)
        self._changes: ChangeDetector | None = None
        if is_fits(self.path):
            raise DataError(f"{self.path} is a FITS file; make a patch file of it with bigsf preprocess.")
        try:
            if not in_memory:
                self._changes = ChangeDetector(self.path)
            with h5py.File(self.path, "r") as file:
                datasets = {name: item for name, item in file.items() if isinstance(item, h5py.Dataset)}
                self._check_strings(datasets)
                self.attributes = self._attributes(file, datasets)
                self._check_format(self.attributes)
                self.header = sound_cards(fits.Header.fromstring(file["header"][()].decode(), sep="\n"))
                self.image: FloatArray = self._plane(file["image"], in_memory)
                masks = {name: self._plane(file[name], in_memory) for name in MASKS if name in file}
                self.target: MaskArray | None = masks.get("target")
                self.labelled: MaskArray | None = masks["labelled"] if "target" in masks else None
                self.truth: MaskArray | None = masks.get("truth")
                self.positions: npt.NDArray[np.int32] = self._plane(file["positions"], in_memory=True)
            self.patch_size = int(self.attributes["patch_size_px"])
            self.stride = int(self.attributes["stride_px"])
            self.unit = str(self.attributes["unit"])
            self.identity = str(self.attributes["identity"])
            self.image_sha256 = str(json.loads(self.attributes["sources"])["image"]["sha256"])
            self._check_consistent(list(masks.values()))
        except DataError:
            raise
        except FileNotFoundError:
            raise DataError(f"{self.path} does not exist. Make it with bigsf preprocess.") from None
        except Exception as error:  # h5py raises many kinds for a file that is damaged
            if out_of_memory(error):
                raise
            raise DataError(f"{self.path} is not a patch file that can be read: {error}") from error

    def _check_strings(self, datasets: Mapping[str, h5py.Dataset]) -> None:
        """Refuse heaps of strings with an entry of no length: libhdf5 (2.0) reads it over and over without an end."""
        planes = [(dataset.id.get_offset(), dataset.nbytes) for dataset in datasets.values()]
        at = 0
        with self.path.open("rb") as content, mmap.mmap(content.fileno(), 0, access=mmap.ACCESS_READ) as view:
            for start, size in sorted(plane for plane in planes if plane[0] is not None):
                self._check_heaps(view, at, start)
                at = max(at, start + size)
            self._check_heaps(view, at, len(view))

    def _check_heaps(self, view: mmap.mmap, start: int, end: int) -> None:
        for heap in _HEAP.finditer(view, start, end):
            at, stop = heap.end(), heap.start() + int.from_bytes(heap[1], "little")
            while at + _ENTRY.size <= min(stop, len(view)):
                index, length = _ENTRY.unpack_from(view, at)
                step = _ENTRY.size + -(-length // 8) * 8 if index else length
                if not 0 < step <= stop - at:
                    raise DataError(f"{self.path} is damaged: its strings cannot be read. Copy or make it again.")
                at += step

    def _attributes(self, file: h5py.File, datasets: Mapping[str, h5py.Dataset]) -> dict[str, Any]:
        """Return the attributes; libhdf5 (2.0) crashes where one is a sequence of strings that was a string."""
        kinds = {name: file.attrs.get_id(name).dtype for name in file.attrs}
        kinds |= {name: dataset.dtype for name, dataset in datasets.items()}
        for name, kind in kinds.items():
            if kind.kind == "O" and h5py.check_string_dtype(kind) is None:
                raise DataError(f"{self.path} is damaged: {name} is not a string.")
        return dict(file.attrs)

    def _check_format(self, attributes: dict[str, Any]) -> None:
        if attributes.get("format") != FORMAT:
            raise DataError(f"{self.path} is an HDF5 file but no patch file of BigSF. Make one with bigsf preprocess.")
        if int(attributes["format_version"]) > FORMAT_VERSION:
            raise DataError(
                f"{self.path} has format {attributes['format_version']}, written by bigsf "
                f"{attributes.get('bigsf_version')}; this is {__version__}, which reads up to "
                f"{FORMAT_VERSION}. Update bigsf or preprocess the map again."
            )

    def _check_consistent(self, masks: list[MaskArray]) -> None:
        """Refuse a file whose parts contradict each other, before a patch is sought outside the map."""
        y, x = (np.append(self.positions[:, axis], 0) for axis in (0, 1))
        consistent = (
            (self.image.ndim, self.image.dtype) == (3, np.dtype(np.float32))
            and all((mask.shape, mask.dtype) == (self.shape, np.dtype(np.uint8)) for mask in masks)
            and (self.positions.shape, self.positions.dtype) == ((len(y) - 1, 2), np.dtype(np.int32))
            and self.channels >= 1
            and 1 <= self.patch_size <= min(self.shape)
            and self.stride >= 1
            and min(y.min(), x.min()) >= 0
            and y.max() + self.patch_size <= self.shape[0]
            and x.max() + self.patch_size <= self.shape[1]
        )
        if not consistent:
            raise DataError(f"{self.path} is damaged: its planes, patches and attributes do not fit together.")

    def _plane(self, dataset: h5py.Dataset, in_memory: bool) -> Any:
        offset = dataset.id.get_offset()
        if offset is None and in_memory:
            return dataset[...]
        if offset is None:
            raise DataError(f"{self.path} was rewritten by another tool: {dataset.name} is not contiguous.")
        if self.path.stat().st_size < offset + dataset.nbytes:  # reading past the end of a map is a SIGBUS
            raise DataError(f"{self.path} is cut short: {dataset.name} is not all there. Copy or make it again.")
        return dataset[...] if in_memory else np.memmap(self.path, dataset.dtype, "r", offset, dataset.shape)

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx) of the map in pixels."""
        return self.image.shape[1], self.image.shape[2]

    @property
    def channels(self) -> int:
        """Number of image planes."""
        return int(self.image.shape[0])

    @cached_property
    def wcs(self) -> WCS | None:
        """The celestial WCS of the map, or None."""
        return celestial_wcs(self.header)

    def output_header(self) -> fits.Header:
        """Return the header for a new 2-D image on the grid of the map, without its unit."""
        header = self.header.copy()
        header.remove("BUNIT", ignore_missing=True)
        return header

    def read_rows(self, y0: int, y1: int) -> FloatArray:
        """Return rows y0 to y1 (exclusive) of the image, `(c, rows, nx)`."""
        self.check_unchanged()
        return self.image[:, y0:y1]

    def check_unchanged(self) -> None:
        """Raise `DataError` when the file was changed: to read what was cut off a memory map would be a bus error."""
        if self._changes:
            self._changes.check()

    def labels(self) -> tuple[MaskArray, MaskArray]:
        """Return the planes (target, labelled), `(ny, nx)` each.

        Raises
        ------
        DataError
            Where the file has no labels.
        """
        if self.target is None or self.labelled is None:
            raise DataError(
                f"{self.path} has no labels, so nothing can be learnt or scored on it. "
                "Run bigsf preprocess with --target (and --background)."
            )
        self.check_unchanged()
        return self.target, self.labelled

    def __len__(self) -> int:
        return len(self.positions)

    @overload
    def __getitem__(self, index: int) -> Patches: ...
    @overload
    def __getitem__(self, index: slice) -> Patches: ...
    def __getitem__(self, index: int | slice) -> Patches:
        if isinstance(index, slice):
            return self.read(range(*index.indices(len(self))))
        if not -len(self) <= index < len(self):
            raise IndexError(f"patch {index} of {len(self)}")
        image, target, labelled, position = self.read([index])
        return Patches(
            image[0], None if target is None else target[0], None if labelled is None else labelled[0], position[0]
        )

    def read(self, indices: Sequence[int] | npt.NDArray[np.integer[Any]]) -> Patches:
        """Gather patches into arrays of their own, in the order of `indices`."""
        self.check_unchanged()
        position = self.positions[np.asarray(indices, np.intp)]
        y, x = position[:, 0], position[:, 1]
        window = (self.patch_size, self.patch_size)
        image = sliding_window_view(self.image, window, axis=(1, 2))[:, y, x].swapaxes(0, 1)
        target, labelled = (
            None if mask is None else sliding_window_view(mask, window)[y, x] for mask in (self.target, self.labelled)
        )
        return Patches(image, target, labelled, position)
