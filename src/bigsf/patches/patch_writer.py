"""Rows of planes, then the positions of patches -> patch file."""

import hashlib
import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
import numpy.typing as npt
from astropy.io import fits

from bigsf.arrays import FloatArray, MaskArray
from bigsf.files import allocate
from bigsf.patches.patch_format import DTYPES, FORMAT, FORMAT_VERSION, LONG_TEXTS, fixed_length
from bigsf.version import __version__

_HDF5_BYTES = 16384  # more than HDF5 needs for its own records of a patch file


class PatchFileWriter:
    """Writes a patch file: first its planes, by bands of rows from top to bottom, then positions and header.

    Parameters
    ----------
    path
        A new file.
    shape
        (ny, nx) of the map.
    channels
        Number of image planes.
    masks
        Which of `MASKS` there are.
    """

    def __init__(self, path: Path, shape: tuple[int, int], channels: int, masks: Collection[str]) -> None:
        with path.open("wb") as file:  # HDF5 prints a traceback of its own where the disk is full
            allocate(file.fileno(), (4 * channels + len(masks)) * shape[0] * shape[1])
        self._path = path
        self._file = h5py.File(path, "w", libver=("earliest", "v110"))
        self._planes = {"image": self._contiguous("image", (channels, *shape))}
        self._planes |= {name: self._contiguous(name, shape) for name in masks}
        self._hashes = {name: hashlib.sha256() for name in self._planes if name != "truth"}
        self._file.flush()
        with path.open("rb+") as file:
            allocate(file.fileno(), path.stat().st_size)

    def _contiguous(self, name: str, shape: tuple[int, ...]) -> h5py.Dataset:
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_layout(h5py.h5d.CONTIGUOUS)
        creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        creation.set_obj_track_times(False)  # the same planes make the same file, byte for byte
        space, kind = h5py.h5s.create_simple(shape), h5py.h5t.py_create(DTYPES[name])
        return h5py.Dataset(h5py.h5d.create(self._file.id, name.encode(), kind, space, creation))

    def write(self, y0: int, image: FloatArray, masks: Mapping[str, MaskArray]) -> None:
        """Write rows from y0 on: image `(c, rows, nx)` and masks `(rows, nx)`."""
        planes: dict[str, npt.NDArray[Any]] = {"image": image, **masks}
        for name, rows in planes.items():
            self._planes[name][..., y0 : y0 + rows.shape[-2], :] = rows
            if name in self._hashes:
                self._hashes[name].update(
                    np.ascontiguousarray(np.moveaxis(rows, -2, 0)).data
                )  # by rows, whatever the bands

    def finish(self, positions: npt.NDArray[np.int32], header: fits.Header, attributes: dict[str, Any]) -> str:
        """Write the positions, the header and the attributes; return the identity of the data.

        Parameters
        ----------
        positions
            Top-left pixel (y, x) of each kept patch, `(n, 2)`.
        header
            The FITS header of the image.
        attributes
            Texts and numbers, among them `patch_size_px`; `wcs` and `sources` may be long.

        Returns
        -------
        str
            The SHA-256 of all that a training reads: planes (without the ground truth), positions, patch size.
        """
        text = header.tostring(sep="\n", endcard=False, padding=False)
        self._file.flush()
        with self._path.open("rb+") as file:
            needed = positions.nbytes + len(text) + len(json.dumps(attributes)) + _HDF5_BYTES
            allocate(file.fileno(), self._path.stat().st_size + needed)
        self._file["positions"] = positions
        self._file["header"] = fixed_length(text)
        identity = hashlib.sha256(json.dumps(attributes["patch_size_px"]).encode())
        for name in sorted(self._hashes):
            identity.update(self._hashes[name].digest())
        identity.update(np.ascontiguousarray(positions).data)
        described = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "bigsf_version": __version__,
            "identity": identity.hexdigest(),
            **attributes,
        }
        for name, value in described.items():
            place = self._file if name in LONG_TEXTS else self._file.attrs
            place[name] = fixed_length(value) if isinstance(value, str) else value
        self._file.flush()
        os.truncate(self._path, self._file.id.get_filesize())
        return identity.hexdigest()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
