"""A mask of filaments -> the same mask without the components that are too faint, too thin or too small."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_erosion, label

from bigsf.arrays import BoolArray, IntArray
from bigsf.errors import ConfigError
from bigsf.maps.tiling import CHUNK_PIXELS, row_chunks

CONNECTED = np.ones((3, 3), np.bool_)
"""Pixels of a filament are connected to all eight neighbours."""

_SQUARE = np.ones((4, 4), np.bool_)


@dataclass(frozen=True)
class Cleaning:
    """Which connected components of a mask are kept. Each is kept or removed as a whole.

    All conditions are off by default, because they remove filaments that are faint, thin or short. Components must
    meet all conditions that are on.
    """

    hysteresis: float | None = None
    """A lower threshold. The mask grows from the pixels that reach the threshold to all connected pixels that reach
    this lower one."""
    reconstruct: bool = False
    """Keep components that contain a square of 4 x 4 pixels: opening by reconstruction (Vincent 1993)."""
    min_area: int = 1
    """Keep components of at least this number of pixels."""

    def check(self, threshold: float) -> None:
        """Raise `ConfigError` where a value does not go with the threshold or is out of range."""
        if self.hysteresis is not None and not 0 <= self.hysteresis <= threshold:
            raise ConfigError(
                f"--hysteresis {self.hysteresis:g}: expected a probability from 0 to the threshold, {threshold:.3g}; "
                "the mask grows from the threshold down to it."
            )
        if self.min_area < 1:
            raise ConfigError(f"--min-area {self.min_area}: expected a number of pixels, from 1 on.")

    def __bool__(self) -> bool:
        return self != Cleaning()

    def __str__(self) -> str:
        parts = [] if self.hysteresis is None else [f"hysteresis {self.hysteresis:g}"]
        parts += ["reconstruct"] if self.reconstruct else []
        parts += [f"min-area {self.min_area}"] if self.min_area > 1 else []
        return ", ".join(parts)

    def __call__(
        self, mask: BoolArray, certain: BoolArray | None = None, chunk_pixels: int = CHUNK_PIXELS
    ) -> BoolArray:
        """Return the mask of the components that are kept, `(ny, nx)`.

        Parameters
        ----------
        mask
            The pixels that reach the threshold or, with hysteresis, the lower threshold.
        certain
            With hysteresis, the pixels that reach the threshold.
        chunk_pixels
            Bound on the pixels that are counted at a time. It does not change the result.
        """
        if not self:
            return mask
        components, number = label(mask, CONNECTED)
        kept = np.ones(number + 1, np.bool_)
        if certain is not None:
            kept &= _pixels_in(certain, components, number, chunk_pixels) > 0
        if self.reconstruct:
            kept &= _pixels_in(binary_erosion(mask, _SQUARE), components, number, chunk_pixels) > 0
        if self.min_area > 1:
            kept &= _pixels_in(mask, components, number, chunk_pixels) >= self.min_area
        kept[0] = False  # the pixels outside the mask
        cleaned: BoolArray = kept[components]
        return cleaned


def _pixels_in(mask: BoolArray, components: npt.NDArray[np.int32], number: int, chunk_pixels: int) -> IntArray:
    """Return how many pixels of a mask lie in each component, `(number + 1,)`; index 0 is no component."""
    pixels = np.zeros(number + 1, np.int64)
    for y0, y1 in row_chunks(components.shape, chunk_pixels):
        pixels += np.bincount(components[y0:y1][mask[y0:y1]], minlength=number + 1)
    return pixels
