"""A map -> a fingerprint by which a cut of it, another file of its pixels, or another map of its sky is recognised.

The pixels are compared by windows of a row. A window gets a key that depends on its values alone, and the fingerprint
keeps the greatest keys: a cut of the map, wherever it begins, holds some of the same windows, and theirs are the
greatest keys there too (Broder 1997, min-wise hashing; Schleimer et al. 2003, winnowing).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from bigsf.arrays import FloatArray, IntArray
from bigsf.maps.footprint import Footprint
from bigsf.maps.planes import MapSource
from bigsf.maps.tiling import BLOCK_PIXELS, bands, row_chunks

WINDOW_PX = 16
"""Pixels of a window, along a row."""

FINGERPRINT_KEYS = 4096
"""Keys of a fingerprint, at most. Of a cut of one part in a thousand, four windows are recognised on average."""

_LEAST_VALUES = 8
"""Different values of a window, at least: windows of fewer, as in a filled gap, are alike in many maps."""

_SPREAD = np.uint32(0x9E3779B1)  # an odd number near 2**32 divided by the golden ratio: the product is well mixed

_HASH_BITS = 47
"""Bits of a key that depend on all values of a window: of small whole numbers, millions of windows begin alike."""

_POWERS = np.multiply.accumulate(np.full(WINDOW_PX, 0x9E3779B97F4A7C15, np.uint64))  # modulo 2**64


@dataclass(frozen=True)
class MapFingerprint:
    """What a snapshot keeps of a map that it was trained on."""

    image_sha256: str
    """SHA-256 of the FITS file of the map."""
    pixels: IntArray
    """The greatest keys of windows `(n,)`, ascending. Fewer than FINGERPRINT_KEYS are the keys of all windows."""
    footprint: Footprint
    """The sky that the map shows."""

    @classmethod
    def of(cls, source: MapSource) -> Self:
        """Return the fingerprint of a map; of several image planes, the first counts."""
        return cls(source.image_sha256, _greatest_keys(source), Footprint.of(source))

    @property
    def least(self) -> int:
        """The least key that it would keep."""
        return int(self.pixels[0]) if len(self.pixels) >= FINGERPRINT_KEYS else 0


def recognise(name: str, source: MapSource, known: Sequence[MapFingerprint]) -> str | None:
    """Return what a map shares with known maps, as a clause for a message; None where it shares nothing.

    Pixels are the same where they have the same value in float32: the format of the file, its header, the place of a
    cut and missing pixels do not matter. A known map without keys (one of a former version, or one that has no window
    of different values) is recognised by its file. A map of other values is recognised by its sky.

    Parameters
    ----------
    name
        The map, for the clause.
    source
        The map.
    known
        The maps that a model was trained on.
    """
    share = max(_shared_pixels(source, [seen for seen in known if len(seen.pixels)]), default=0.0)
    if share:
        return f"{_percent(share)} of the pixels of {name} are pixels of a map that the model was trained on"
    files = {seen.image_sha256 for seen in known if not len(seen.pixels)}
    if files and source.image_sha256 in files:
        return f"{name} is a map that the model was trained on"
    footprints = [seen.footprint for seen in known if seen.footprint.cards]
    sky = max(map(Footprint.of(source).overlap, footprints)) if footprints else 0.0
    if sky:
        return (
            f"{name} shows sky of a map that the model was trained on, with other pixel values ({_percent(sky)} of the "
            "smaller map)"
        )
    return None


def _percent(part: float) -> str:
    return f"{part:.0%}" if part >= 0.01 else "less than 1%"


def _greatest_keys(source: MapSource) -> IntArray:
    """Return the keys of a fingerprint."""
    keys, least = np.empty(0, np.int64), 0
    for rows in _blocks(source):
        keys = np.unique(np.concatenate([keys, window_keys(rows, least)]))[-FINGERPRINT_KEYS:]
        if len(keys) == FINGERPRINT_KEYS:
            least = int(keys[0])
    return keys


def _shared_pixels(source: MapSource, known: Sequence[MapFingerprint]) -> list[float]:
    """Return which part of the windows of a map each known map holds, from 0 to 1."""
    if not known:
        return []
    least = min(seen.least for seen in known)
    shared, windows = np.zeros(len(known), np.int64), np.zeros(len(known), np.int64)
    for rows in _blocks(source):
        keys = window_keys(rows, least)
        for i, seen in enumerate(known):
            comparable = keys[keys >= seen.least]
            windows[i] += len(comparable)
            shared[i] += np.isin(comparable, seen.pixels).sum()
    return [float(part) for part in shared / np.maximum(windows, 1)]


def _blocks(source: MapSource) -> Iterator[FloatArray]:
    """Yield the first image plane of a map by a few rows `(rows, nx)`, from top to bottom."""
    nx = source.shape[1]
    for y0, y1 in row_chunks(source.shape):
        plane = source.read_rows(y0, y1)[0]
        for top, bottom in bands(y1 - y0, max(1, BLOCK_PIXELS // nx)):
            yield plane[top:bottom]


def window_keys(image: FloatArray, least: int = 0) -> IntArray:
    """Return the keys `(n,)` of windows in rows `(rows, nx)`; a window may occur twice.

    The upper 16 bits of a key are a hash of the first two values, the lower 47 bits one of all values. So only the
    few windows whose first two values promise a great key are hashed as a whole. Windows that hold NaN, few
    different values, or two equal values at their beginning have no key.

    Parameters
    ----------
    image
        Rows of a map, NaN where data are missing.
    least
        Leave out smaller keys.
    """
    starts = image.shape[1] - WINDOW_PX + 1
    if starts < 1:
        return np.empty(0, np.int64)
    bits = np.ascontiguousarray(image).view(np.uint32)
    first_two = bits[:, :starts] ^ bits[:, 1 : starts + 1]  # 0 where they are equal
    first_two *= _SPREAD
    y, x = np.nonzero(first_two >= max(1, least >> _HASH_BITS << 16))
    windows = sliding_window_view(bits, WINDOW_PX, axis=1)[y, x]
    values = np.sort(windows.view(np.float32), axis=1)  # NaN at the end
    telling = ((values[:, 1:] != values[:, :-1]).sum(axis=1) >= _LEAST_VALUES - 1) & ~np.isnan(values[:, -1])
    whole = (windows[telling].astype(np.uint64) * _POWERS).sum(axis=1, dtype=np.uint64)
    begun = (first_two[y, x][telling] >> np.uint32(16)).astype(np.uint64)
    keys: IntArray = (begun << np.uint64(_HASH_BITS) | whole >> np.uint64(64 - _HASH_BITS)).astype(np.int64)
    return keys[keys >= least]
