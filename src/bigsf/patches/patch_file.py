"""A patch file -> patches of a map, and its planes.

The planes are contiguous, so that they are memory-mapped past HDF5: any number of processes share one copy, no HDF5
handle outlives `PatchFile.__init__`, and a batch of patches is one indexing operation. `patch_format` describes the
file.
"""

import json
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
from typing_extensions import override

from bigsf.arrays import FloatArray, MaskArray
from bigsf.described import Described
from bigsf.errors import DataError, out_of_memory
from bigsf.files import WITHOUT_LOCKS, ChangeDetector
from bigsf.maps.fits_guard import sound_cards
from bigsf.maps.fits_image import is_fits
from bigsf.maps.planes import MapSource
from bigsf.maps.tiling import Tile
from bigsf.maps.wcs import beam_px, celestial_wcs
from bigsf.option_names import option
from bigsf.patches.mapped_plane import release_pages
from bigsf.patches.patch_format import OpenPatchFile

_CACHE_IMAGE = "on disk image buffer"
"""HDF5's word for a cache that BigSF never writes: a file that seems to hold a huge one is damaged."""


class Patches(NamedTuple):
    """A batch of patches, or one patch without the leading axis."""

    image: FloatArray
    """Raw values `(b, c, y, x)` in the unit of the map, NaN = missing."""
    target: MaskArray | None
    """1 on known structures, `(b, y, x)`; None where the file has no labels."""
    labelled: MaskArray | None
    """1 where the label is known, `(b, y, x)`; None where the file has no labels."""
    position: npt.NDArray[np.int32]
    """Top-left pixel (y, x), `(b, 2)`."""


class PatchFile(Described, MapSource):
    """A patch file, opened for reading: a sequence of patches, and a map that can be read by rows.

    Parameters
    ----------
    path
        The HDF5 file that `bigsf preprocess` wrote.
    in_memory
        Read the planes into memory instead of mapping them, for file systems that are slow at random reads.

    Raises
    ------
    DataError
        Where the file is no patch file of BigSF, is damaged or cut short, or has another format version.

    Attributes
    ----------
    image
        The planes of the map `(channels, ny, nx)`, raw values, NaN = missing.
    target, labelled
        Masks `(ny, nx)`: 1 on known structures, and 1 where the label is known; None where the file has no labels.
    truth
        The ground truth of a simulated map `(ny, nx)`, for scores only; None where it is not known.
    positions
        Top-left pixel (y, x) of each patch, `(n, 2)`.
    patch_size, stride
        Side of a patch, and the step from one patch to the next, in pixels.
    identity
        SHA-256 of planes (without the ground truth), positions and patch size.
    header
        The FITS header of the map.

    Examples
    --------
    >>> file = bigsf.PatchFile("galaxy.h5")
    >>> file.shape, file[0].image.shape
    ((192, 256), (1, 32, 32))
    """

    def __init__(self, path: str | Path, in_memory: bool = False) -> None:
        self.path = Path(path)
        if self.path.exists() and not self.path.is_file():  # to open a pipe would wait for ever
            raise DataError(f"{self.path} is not a patch file that can be read: it is no regular file.")
        if is_fits(self.path):
            raise DataError(f"{self.path} is a FITS file; make a patch file of it with bigsf preprocess.")
        try:
            changes = ChangeDetector(self.path)
            with h5py.File(self.path, "r") as file:
                self._read(OpenPatchFile(self.path, file, changes), in_memory)
            changes.check()
        except DataError:
            raise
        except FileNotFoundError:
            raise DataError(f"{self.path} does not exist. Make it with bigsf preprocess.") from None
        except Exception as error:  # h5py raises many kinds for a file that is damaged
            if out_of_memory(error) and _CACHE_IMAGE not in str(error):
                raise
            remedy = f" {WITHOUT_LOCKS}" if "unable to lock file" in str(error) else ""
            raise DataError(f"{self.path} is not a patch file that can be read: {error}.{remedy}") from error
        self._changes = None if in_memory else changes

    def _read(self, file: OpenPatchFile, in_memory: bool) -> None:
        self.patch_size, self.stride = file.number("patch_size_px"), file.number("stride_px")
        self._unit, self.identity = file.text("unit"), file.text("identity")
        self._image_sha256 = str(json.loads(file.long_text("sources"))["image"]["sha256"])
        self.header = sound_cards(fits.Header.fromstring(file.long_text("header"), sep="\n"))
        self.image: FloatArray = file.plane("image", in_memory)
        self.target: MaskArray | None = file.plane("target", in_memory) if "target" in file else None
        self.labelled: MaskArray | None = file.plane("labelled", in_memory) if "target" in file else None
        self.truth: MaskArray | None = file.plane("truth", in_memory) if "truth" in file else None
        self.positions: npt.NDArray[np.int32] = file.plane("positions", in_memory=True)
        self._check_consistent([mask for mask in (self.target, self.labelled, self.truth) if mask is not None])

    def _check_consistent(self, masks: list[MaskArray]) -> None:
        """Refuse a file whose parts contradict each other, before a patch is sought outside the map."""
        y, x = (np.append(self.positions[:, axis], 0) for axis in (0, 1))
        consistent = (
            self.image.ndim == 3
            and all(mask.shape == self.shape for mask in masks)
            and self.positions.shape == (len(y) - 1, 2)
            and self.channels >= 1
            and 1 <= self.patch_size <= min(self.shape)
            and self.stride >= 1
            and min(y.min(), x.min()) >= 0
            and y.max() + self.patch_size <= self.shape[0]
            and x.max() + self.patch_size <= self.shape[1]
        )
        if not consistent:
            raise DataError(f"{self.path} is damaged: its planes, patches and attributes do not fit together.")

    @property
    @override
    def shape(self) -> tuple[int, int]:
        return self.image.shape[1], self.image.shape[2]

    @property
    @override
    def channels(self) -> int:
        return int(self.image.shape[0])

    @property
    @override
    def unit(self) -> str:
        return self._unit

    @property
    @override
    def image_sha256(self) -> str:
        return self._image_sha256

    @property
    @override
    def wcs(self) -> WCS | None:
        return self._wcs

    @property
    @override
    def beam_px(self) -> float | None:
        return beam_px(self.header, self.wcs)

    @cached_property
    def _wcs(self) -> WCS | None:
        return celestial_wcs(self.header)

    @override
    def output_header(self) -> fits.Header:
        header = self.header.copy()
        header.remove("BUNIT", ignore_missing=True)
        return header

    @override
    def read_rows(self, y0: int, y1: int) -> FloatArray:
        rows = self.read_tile(Tile(y0, y1, 0, self.shape[1]))
        release_pages(self.image)  # of a large map, all rows are read one after the other
        return rows

    @override
    def read_tile(self, tile: Tile) -> FloatArray:
        self.check_unchanged()
        part = self.image[:, tile.y0 : tile.y1, tile.x0 : tile.x1].copy()  # what is mapped may be lost later
        self.check_unchanged()
        return part

    def check_unchanged(self) -> None:
        """Raise `DataError` where the file was changed, or could not be read to its end."""
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
                f"Preprocess its map with {option('target')} (and {option('background')})."
            )
        self.check_unchanged()
        return self.target, self.labelled

    @override
    def facts(self) -> Mapping[str, object]:
        ny, nx = self.shape
        labels = "no labels" if self.labelled is None else "with labels"
        patches = f"{len(self):,} of {self.patch_size} pixels every {self.stride}"
        return {"file": self.path.name, "map": f"{nx} x {ny} pixels (x, y), {labels}", "patches": patches}

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

    def read(self, indices: Sequence[int] | npt.NDArray[np.integer[Any] | np.bool_]) -> Patches:
        """Gather patches into arrays of their own, in the order of `indices`; a mask of all patches is allowed too."""
        self.check_unchanged()
        position = self.positions[np.asarray(indices) if len(indices) else np.empty(0, np.intp)]
        y, x = position[:, 0], position[:, 1]
        window = (self.patch_size, self.patch_size)
        image = sliding_window_view(self.image, window, axis=(1, 2))[:, y, x].swapaxes(0, 1)
        target, labelled = (
            None if mask is None else sliding_window_view(mask, window)[y, x] for mask in (self.target, self.labelled)
        )
        self.check_unchanged()
        return Patches(image, target, labelled, position)
