"""A guard for HCOMPRESS tiles: cfitsio divides by the size that a tile gives of itself, and dies where it is 0."""

import struct
from pathlib import Path

import numpy as np
from astropy.io import fits

from bigsf.errors import DataError

_HEAD = struct.Struct(">2sii")  # magic number, rows, columns (White et al. 1992)
_MAGIC = b"\xdd\x99"


def check_tiles(path: Path, index: int) -> None:
    """Refuse an HCOMPRESS-compressed image with a tile whose head is damaged.

    Parameters
    ----------
    path
        A FITS file.
    index
        The HDU of the image.

    Raises
    ------
    DataError
        Where a tile does not begin as it must, or has no pixels.
    """
    with fits.open(path, disable_image_compression=True) as hdus:
        for number, tile in enumerate(hdus[index].data["COMPRESSED_DATA"]):
            if not len(tile):  # its pixels stand in another column
                continue
            head = np.asarray(tile[: _HEAD.size], np.uint8).tobytes()
            magic, *size = _HEAD.unpack(head) if len(head) == _HEAD.size else (b"", 0)
            if magic != _MAGIC or min(size) < 1:
                raise DataError(
                    f"{path} is damaged: tile {number} of HDU {index} has no head. Copy or download it again."
                )
