"""A guard for HCOMPRESS tiles: cfitsio believes the size that a tile gives of itself, and dies where it is wrong."""

import math
import struct
from pathlib import Path

import numpy as np
from astropy.io import fits

from bigsf.errors import DataError

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
