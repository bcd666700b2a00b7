"""A map -> warnings of values that stand far apart from all others: marks of missing data, and wrong pixels."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bigsf.arrays import BoolArray, FloatArray
from bigsf.errors import DataError, warn
from bigsf.maps.fits_image import FitsImage
from bigsf.maps.masks import check_not_inverted
from bigsf.maps.planes import FitsMap
from bigsf.maps.tiling import BLOCK_PIXELS, READ_PIXELS, bands, row_chunks
from bigsf.option_names import option

_GAP = 4  # empty octaves (factors of 2) on at least one side of a value that stands apart

_GAP_BELOW = 8  # of a value near zero, which a map may reach by chance

_DEEPEST = 7  # octaves below the median; a map that reaches further down may reach zero as well

_SHARED = 10  # pixels of exactly one value that no noise makes

_MANY_ZEROS = 0.01  # of the pixels; as many are no accident in a map of fractions

_ONE = 127  # the octave of 1 among the exponents of float32


class OddValue(NamedTuple):
    """A value, or a range of values, that stands far apart from all others of a map."""

    low: float
    """The least of them, in the unit of the map."""
    high: float
    """The greatest of them; `low` again where it is one value."""
    pixels: int
    """How many pixels hold them."""


class ValueCensus:
    """Counts the values of a map by sign and octave (factor of 2), and keeps the range of each octave.

    The octaves are the exponents of float32: 0 to 254 of positive values, 256 to 510 of negative ones. Octave 0 is
    that of zero.
    """

    def __init__(self) -> None:
        self._pixels = np.zeros(512, np.int64)
        self._low = np.full(512, np.inf, np.float32)
        self._high = np.full(512, -np.inf, np.float32)

    def add(self, image: FloatArray) -> None:
        """Count the values of some pixels, of any shape; NaN is missing."""
        pixels = image.reshape(-1)
        for start, end in bands(len(pixels), BLOCK_PIXELS):
            block = pixels[start:end]
            values = block[np.isfinite(block)] + np.float32(0)  # -0 becomes 0
            octaves = (values.view(np.uint32) >> 23).astype(np.intp)  # once, for the three results below
            self._pixels += np.bincount(octaves, minlength=512)
            np.minimum.at(self._low, octaves, values)
            np.maximum.at(self._high, octaves, values)

    @property
    def pixels(self) -> int:
        """Pixels that hold a value."""
        return int(self._pixels.sum())

    @property
    def minimum(self) -> float:
        """The least value; infinite where there is none."""
        return float(self._low[self._pixels > 0].min(initial=np.inf))

    @property
    def maximum(self) -> float:
        """The greatest value; minus infinite where there is none."""
        return float(self._high[self._pixels > 0].max(initial=-np.inf))

    def odd_values(self) -> tuple[list[OddValue], tuple[float, float]]:
        """Return the values that stand apart, those of most pixels first, and the range of all others.

        A value stands apart where it is more than 16 times larger than all others, or more than 256 times smaller, or
        where ten pixels or more share it and no other value of its sign lies within a factor of 16. Zero does so
        where all other values keep away from it, or where 1 % of the pixels hold it and the others are no whole
        numbers.
        """
        odd = self._odd_octaves()
        one = odd & (self._low == self._high)
        found = [
            OddValue(float(self._low[octave]), float(self._high[octave]), int(self._pixels[octave]))
            for octave in np.flatnonzero(one)
        ]
        several = odd & ~one
        if several.any():
            low, high = self._low[several].min(), self._high[several].max()
            found.append(OddValue(float(low), float(high), int(self._pixels[several].sum())))
        rest = (self._pixels > 0) & ~odd
        span = float(self._low[rest].min(initial=np.inf)), float(self._high[rest].max(initial=-np.inf))
        return sorted(found, key=lambda value: -value.pixels), span

    def _odd_octaves(self) -> BoolArray:
        """Return which octaves hold values that stand apart, `(512,)`: first the positive ones, then the negative."""
        odd = np.zeros((2, 256), np.bool_)
        pixels = self._pixels.reshape(2, 256)
        shared = ((self._low == self._high) & (self._pixels >= _SHARED)).reshape(2, 256)
        ordinary = (pixels > 0) & ~shared
        ordinary[:, 0] = False  # zero has rules of its own
        counts = np.where(ordinary, pixels, 0).sum(axis=0)
        if not counts.any():
            return odd.ravel()
        median = int(np.searchsorted(np.cumsum(counts), counts.sum() / 2))
        bottom, top = _reach(counts > 0, median)
        away_from_zero = bottom >= median - _DEEPEST
        octave = np.arange(256)
        odd[:] = octave > top + _GAP  # of either sign
        if away_from_zero:
            odd |= octave < bottom - _GAP_BELOW
        for sign in (0, 1):
            for at in np.flatnonzero(shared[sign, 1:]) + 1:
                odd[sign, at] |= not ordinary[sign, max(1, at - _GAP) : at + _GAP + 1].any()
        many = pixels[:, 0].sum() >= _MANY_ZEROS * pixels.sum()
        odd[:, 0] = bottom >= _ONE + _GAP if self._are_whole(ordinary) else away_from_zero or many
        odd &= pixels > 0
        return odd.ravel()

    def _are_whole(self, octaves: BoolArray) -> bool:
        """Return whether the values of some octaves are whole numbers, as counts are."""
        ends = np.concatenate([self._low[octaves.ravel()], self._high[octaves.ravel()]])
        small = ends[np.abs(ends) < 2**23]  # larger float32 are all whole
        return bool(small.size and (small == np.rint(small)).all())


def _reach(occupied: BoolArray, start: int) -> tuple[int, int]:
    """Return the lowest and highest octave that is reached from `start` without a gap."""
    octaves = np.flatnonzero(occupied)
    groups = np.split(octaves, np.flatnonzero(np.diff(octaves) > _GAP) + 1)
    reached = next(group for group in groups if start in group)
    return int(reached[0]), int(reached[-1])


def warn_of_odd_values(image: FitsImage, census: ValueCensus) -> list[OddValue]:
    """Warn of the values of a plane that stand far apart from all others, and return them."""
    found, (low, high) = census.odd_values()
    blank_is_free = image.blank is None
    for value in found:
        if value.low == value.high:
            name = str(np.float32(value.low)).removesuffix(".0")
        else:
            name = f"{value.low:.4g} to {value.high:.4g}"
        remedy = f"mask them with {option('valid')}"
        if value.low == value.high and blank_is_free:
            remedy, blank_is_free = f"pass {option('blank', float(name))}", False
        warn(
            f"{image.name} holds {name} in {value.pixels:,} of {census.pixels:,} pixels, and {low:.4g} to {high:.4g} "
            f"in all others. If these pixels are missing or wrong, {remedy}: they change the result around them."
        )
    return found


def warn_of_absent_blank(images: Sequence[FitsImage]) -> None:
    """Warn of a `blank` that no pixel of the channels has, once they are read."""
    blank, name = images[0].blank, images[0].name
    if blank is not None and not any(image.blanked for image in images):
        warn(f"{option('blank', blank)} does nothing: no pixel of {name} has it.")


def check_range(images: Sequence[FitsImage], finite: int) -> None:
    """Warn of values that float32 cannot hold.

    Parameters
    ----------
    images
        The channels of a map, each read once.
    finite
        Pixels with a finite value in all channels.

    Raises
    ------
    DataError
        Where no finite value is left.
    """
    for image in images:
        if not image.too_large:
            continue
        message = f"{image.name} holds {image.too_large:,} values beyond 3.4e38, the most that float32 can hold"
        remedy = "Write the map in a larger unit, e.g. divided by 1e20"
        if finite == 0:
            raise DataError(f"{message}, and no other finite pixel. {remedy}.")
        warn(f"{message}; they are taken as missing. {remedy}.")


def check_map(source: FitsMap, chunk_pixels: int = READ_PIXELS) -> list[OddValue]:
    """Read a whole map before the long work begins, and check its values and its mask.

    Parameters
    ----------
    source
        The map.
    chunk_pixels
        Pixels of a plane to hold in memory at a time. The result does not depend on it.

    Returns
    -------
    list of OddValue
        The values of the first channel that stand apart from all others. The user was warned of them.

    Raises
    ------
    DataError
        Where the mask of valid pixels looks inverted, or all values are too large.
    """
    finite = missing = 0
    censuses = [ValueCensus() for _ in source.images]
    for y0, y1 in row_chunks(source.shape, chunk_pixels):
        rows = source.read(y0, y1)
        finite += int(rows.finite.sum())
        missing += int((rows.finite & ~rows.valid).sum())
        for census, plane in zip(censuses, rows.image, strict=True):
            census.add(plane)
    if source.valid:
        check_not_inverted(source.valid, finite, missing)
    check_range(source.images, finite)
    found = [warn_of_odd_values(image, census) for image, census in zip(source.images, censuses, strict=True)]
    return found[0]
