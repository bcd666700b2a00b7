"""A mask of filaments -> the same without what is too faint, too thin or too small."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_erosion, label

from bigsf.arrays import BoolArray
from bigsf.errors import ConfigError
from bigsf.maps.tiling import bands

CONNECTED = np.ones((3, 3), np.bool_)
"""A filament is connected to all eight neighbours."""


_SQUARE = np.ones((4, 4), np.bool_)


_BAND_PIXELS = 4_000_000


@dataclass(frozen=True)
class Cleaning:
    """Which pieces of a mask stay; each stays or goes as a whole.

    All of it is off by default, because it erases filaments that are faint, thin or short.
    """

    hysteresis: float | None = None
    """A lower threshold: the mask grows from the pixels that reach the threshold over all that reach this one."""
    reconstruct: bool = False
    """Keep the pieces that hold a square of 4 x 4 pixels somewhere: opening by reconstruction (Vincent 1993)."""
    min_area: int = 1
    """Keep the pieces of at least so many pixels."""

    def check(self, threshold: float) -> None:
        """Raise `ConfigError` where a value makes no sense beside the threshold."""
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

    def __call__(self, mask: BoolArray, certain: BoolArray | None = None) -> BoolArray:
        """Return the mask `(ny, nx)` that stays.

        Parameters
        ----------
        mask
            What reaches the threshold, or the lower one of hysteresis.
        certain
            What reaches the threshold, where `mask` is that of the lower one.
        """
        if not self:
            return mask
        pieces, number = label(mask, CONNECTED)
        stays = np.ones(number + 1, np.bool_)
        if certain is not None:
            stays &= _sizes(pieces, number, certain) > 0
        if self.reconstruct:
            stays &= _sizes(pieces, number, binary_erosion(mask, _SQUARE)) > 0
        if self.min_area > 1:
            stays &= _sizes(pieces, number, mask) >= self.min_area
        stays[0] = False  # what is no piece
        kept: BoolArray = stays[pieces]
        return kept


def _sizes(pieces: npt.NDArray[np.int32], number: int, where: BoolArray) -> npt.NDArray[np.int64]:
    """Return how many pixels each piece has in a mask, `(number + 1,)`; counted by bands, to save memory."""
    ny, nx = pieces.shape
    sizes = np.zeros(number + 1, np.int64)
    for y0, y1 in bands(ny, max(1, _BAND_PIXELS // nx)):
        sizes += np.bincount(pieces[y0:y1][where[y0:y1]], minlength=number + 1)
    return sizes
