"""A mask of filaments -> the same mask without components that are faint, thin, small or short, or line a border."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_erosion, find_objects, grey_opening, label, maximum_filter

from bigsf.arrays import BoolArray, IntArray
from bigsf.errors import ConfigError
from bigsf.filaments.spine import skeleton_of
from bigsf.maps.tiling import CHUNK_PIXELS, row_chunks
from bigsf.option_names import option

CONNECTED = np.ones((3, 3), np.bool_)
"""Pixels of a filament are connected to all eight neighbours."""

MIN_SKELETON_PX = 5
"""By default, components whose skeleton has fewer pixels are no filaments."""

BORDER_PX = 3
"""How far the statistics of a border reach into a map: noisy, raised or ragged rows at the edge of a cut-out."""

_SQUARE = np.ones((4, 4), np.bool_)


@dataclass(frozen=True)
class Cleaning:
    """Which connected components of a mask are kept. Each is kept or removed as a whole.

    All conditions are off by default, because they remove filaments that are faint, thin or short. Components must
    meet all conditions that are on. `bigsf segment` has `min_skeleton` and `border` on, and so has the catalogue of
    a k-fold; the MASK of its out-of-fold map is not cleaned.

    Examples
    --------
    >>> str(bigsf.Cleaning(min_area=20, border=3))
    'min-area 20, border 3'
    """

    hysteresis: float | None = None
    """A lower threshold. The mask grows from the pixels that reach the threshold to all connected pixels that reach
    this lower one."""
    reconstruct: bool = False
    """Keep components that contain a square of 4 x 4 pixels: opening by reconstruction (Vincent 1993)."""
    min_area: int = 1
    """Keep components of at least this number of pixels."""
    min_skeleton: int = 1
    """Keep components whose skeleton has at least this number of pixels. That of a round spot has one."""
    border: int = 0
    """Keep components of which a quarter or more lies farther than this number of pixels from the border of the valid
    map, see `near_border`. Pieces of filaments that end at the border reach farther into the map."""

    def check(self, threshold: float) -> None:
        """Raise `ConfigError` where a value does not go with the threshold or is out of range."""
        if self.hysteresis is not None and not 0 <= self.hysteresis <= threshold:
            raise ConfigError(
                f"{option('hysteresis', self.hysteresis)}: expected a probability from 0 to the threshold, "
                f"{threshold:.3g}; "
                "the mask grows from the threshold down to it."
            )
        for name, least in (("min_area", 1), ("min_skeleton", 1), ("border", 0)):
            if (value := getattr(self, name)) < least:
                raise ConfigError(f"{option(name, value)}: expected a number of pixels, from {least} on.")

    def __bool__(self) -> bool:
        return self != Cleaning()

    def __str__(self) -> str:
        parts = [] if self.hysteresis is None else [f"hysteresis {self.hysteresis:g}"]
        parts += ["reconstruct"] if self.reconstruct else []
        parts += [f"min-area {self.min_area}"] if self.min_area > 1 else []
        parts += [f"min-skeleton {self.min_skeleton}"] if self.min_skeleton > 1 else []
        parts += [f"border {self.border}"] if self.border else []
        return ", ".join(parts)

    def __call__(
        self,
        mask: BoolArray,
        certain: BoolArray | None = None,
        valid: BoolArray | None = None,
        chunk_pixels: int = CHUNK_PIXELS,
    ) -> BoolArray:
        """Return the mask of the components that are kept, `(ny, nx)`.

        Parameters
        ----------
        mask
            The pixels that reach the threshold or, with hysteresis, the lower threshold.
        certain
            With hysteresis, the pixels that reach the threshold.
        valid
            For `border`, the pixels that have a probability; by default all of them.
        chunk_pixels
            Bound on the pixels that are counted at a time. It does not change the result.
        """
        if not self:
            return mask
        components, number = label(mask, CONNECTED)

        def pixels_in(rows: Callable[[int, int], BoolArray]) -> IntArray:
            """Return how many pixels of a plane, given by its rows, lie in each component; index 0 is no component."""
            pixels = np.zeros(number + 1, np.int64)
            for y0, y1 in row_chunks(mask.shape, chunk_pixels):
                pixels += np.bincount(components[y0:y1][rows(y0, y1)], minlength=number + 1)
            return pixels

        area = pixels_in(lambda y0, y1: mask[y0:y1])
        kept = area >= self.min_area
        if certain is not None:
            kept &= pixels_in(lambda y0, y1: certain[y0:y1]) > 0
        if self.reconstruct:
            thick = binary_erosion(mask, _SQUARE)
            kept &= pixels_in(lambda y0, y1: thick[y0:y1]) > 0
        if self.border:
            everywhere = np.broadcast_to(np.True_, mask.shape)
            at_border = pixels_in(partial(near_border, everywhere if valid is None else valid, self.border))
            kept &= 4 * at_border <= 3 * area
        if self.min_skeleton > 1:
            kept &= _pixels_of_skeletons(components, kept) >= self.min_skeleton
        kept[0] = False  # the pixels outside the mask
        return chosen_components(components, kept, chunk_pixels)


def chosen_components(
    components: npt.NDArray[np.int32], chosen: BoolArray, chunk_pixels: int = CHUNK_PIXELS
) -> BoolArray:
    """Return a mask `(ny, nx)` of the components that are chosen.

    Parameters
    ----------
    components
        The number of the component of each pixel, from 1, and 0 elsewhere, `(ny, nx)`.
    chosen
        Whether each number is chosen, `(components + 1,)`; index 0 is no component.
    chunk_pixels
        Bound on the pixels that are looked up at a time: for them, numpy makes an index of 8 bytes per pixel.
    """
    mask = np.empty(components.shape, np.bool_)
    for y0, y1 in row_chunks(components.shape, chunk_pixels):
        mask[y0:y1] = chosen[components[y0:y1]]
    return mask


def near_border(valid: BoolArray, distance_px: int, y0: int, y1: int) -> BoolArray:
    """Return which pixels of some rows lie near the border of the valid map, `(y1 - y0, nx)`.

    The border is the edge of the map, and that of missing data. Bad pixels and lines are none: a gap in the data counts
    as far as squares of `distance_px` pixels fit into it, or into it and what lies outside of the map.

    Parameters
    ----------
    valid
        True where the map has data, `(ny, nx)`.
    distance_px
        The largest distance from the border along rows, columns and diagonals: 3 means the first three pixels.
    y0, y1
        The rows.
    """
    reach = 2 * distance_px
    top, bottom = max(y0 - reach, 0), min(y1 + reach, len(valid))
    around = ((top - y0 + reach, y1 + reach - bottom), (reach, reach))
    missing = np.pad(~valid[top:bottom], around, constant_values=True).astype(np.uint8)
    gaps = grey_opening(missing, (distance_px, distance_px))
    near: BoolArray = maximum_filter(gaps, 2 * distance_px + 1)[reach:-reach, reach:-reach] > 0
    return near


def _pixels_of_skeletons(components: npt.NDArray[np.int32], wanted: BoolArray) -> IntArray:
    """Return how many pixels the skeleton of each wanted component has, `(number + 1,)`; 0 of the others."""
    pixels = np.zeros(len(wanted), np.int64)
    for number, box in enumerate(find_objects(components, len(wanted) - 1), 1):
        if wanted[number]:
            pixels[number] = skeleton_of(components[box] == number).sum()
    return pixels
