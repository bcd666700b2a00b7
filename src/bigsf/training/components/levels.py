"""Patches -> the unit in which an augmentation measures what it adds: their level or, on other maps, their spread."""

from collections.abc import Callable

from torch import Tensor

from bigsf.arrays import Float64Array
from bigsf.maps.linearity import is_of_logarithm, why_logarithm, why_not_linear
from bigsf.models.window_statistics import patch_spread
from bigsf.training.components.batch import Augmentation


def patch_median(image: Tensor) -> Tensor:
    """Return the median of |value| over the valid pixels of each patch and channel, `(b, c, 1, 1)`; 0 without one."""
    return image.abs().flatten(2).nanmedian(dim=2).values.nan_to_num()[:, :, None, None]


def channel_spread(image: Tensor) -> Tensor:
    """Return the spread of each patch and channel, `(b, c, 1, 1)`, see `patch_spread`."""
    return patch_spread(image.flatten(0, 1)[:, None]).view(*image.shape[:2], 1, 1)


class MeasuredInLevels(Augmentation):
    """An augmentation that measures in the level of each patch, or in its spread where the map is not linear.

    Attributes
    ----------
    level
        From patches `(b, c, y, x)` to the level of each patch and channel.
    least
        The smallest size, in levels, that is to make sense on the map.
    in_spread
        Whether it measures in the spread.
    """

    level: Callable[[Tensor], Tensor] = staticmethod(patch_median)
    least = 0.05
    in_spread = False

    def unit(self, image: Tensor) -> Tensor:
        """Return the unit of each patch and channel of `(b, c, y, x)`: its spread or its level, `(b, c, 1, 1)`."""
        return channel_spread(image) if self.in_spread else self.level(image)

    def fit(self, values: Float64Array, unit: str) -> str:
        """Choose the unit for a map, from valid values of its first channel and from its BUNIT.

        Returns
        -------
        str
            Why the level makes no sense as unit, or an empty string.
        """
        why = why_not_linear(values, unit, self.least)
        self.in_spread = bool(why)
        return why


class MultipliesValues(Augmentation):
    """An augmentation that multiplies values; on a map of their logarithms to base 10, it adds that of the factor.

    Attributes
    ----------
    of_logarithm
        Whether the map holds logarithms.
    """

    of_logarithm = False

    def times(self, image: Tensor, factor: Tensor) -> Tensor:
        """Return an image whose linear values are multiplied by a factor above 0."""
        return image + factor.clamp(min=1e-3).log10() if self.of_logarithm else image * factor

    def fit(self, values: Float64Array, unit: str) -> str:
        """Learn whether a map holds logarithms, from valid values of its first channel and from its BUNIT.

        Returns
        -------
        str
            Why it does, or an empty string.
        """
        why = why_logarithm(values, unit) if not unit or is_of_logarithm(unit) else ""
        self.of_logarithm = bool(why)
        return why
