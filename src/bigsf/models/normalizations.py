"""Raw map values -> numbers of order 1 for the network: the family of normalizations.

A normalization is part of the model. It gets raw patches `(b, c, y, x)` in the unit of the map and the mask of valid
pixels, and returns float32 of order 1. The values that it returns for missing pixels are not used. Column densities
near 1e23 cm^-2 overflow float16, and their squares overflow float32. Normalizations therefore compute in float32 or
float64, before any cast.
"""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, cast

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from bigsf.config import Component, CustomConfig, ignore_tag_case
from bigsf.errors import DataError

_FARTHEST = 1000.0  # spreads from the median, of which asinh is 7.6: an odd pixel is no brighter


class Normalization(nn.Module):
    """The base of all normalizations; it returns the values as they are."""

    @override
    def forward(self, image: Tensor, valid: Tensor) -> Tensor:
        """Normalise `image` `(b, c, y, x)`; `valid` is boolean and of the same shape."""
        return image

    def fit(self, values: Tensor) -> None:
        """Learn from a sample of the valid pixels of the training folds, `(c, n)` in float64, NaN where missing."""


class MinMax(Normalization):
    """Scale each patch and channel to [0, 1]; a constant patch becomes 0."""

    @override
    def forward(self, image: Tensor, valid: Tensor) -> Tensor:
        low = image.masked_fill(~valid, torch.inf).amin(dim=(2, 3), keepdim=True)
        high = image.masked_fill(~valid, -torch.inf).amax(dim=(2, 3), keepdim=True)
        return (image - low) / torch.where(high > low, high - low, torch.inf)


class Log(Normalization):
    """log10, then min-max; valid values of 0 or below take the smallest positive value of their patch."""

    def __init__(self) -> None:
        super().__init__()
        self.minmax = MinMax()

    @override
    def forward(self, image: Tensor, valid: Tensor) -> Tensor:
        positive = valid & (image > 0)
        floor = image.masked_fill(~positive, torch.inf).amin(dim=(2, 3), keepdim=True)
        floor = torch.where(floor.isfinite(), floor, 1.0)
        return cast(Tensor, self.minmax(torch.log10(torch.where(positive, image, floor)), valid))


class ZScore(Normalization):
    """Standardise each patch and channel, in float64; a constant patch becomes 0."""

    @override
    def forward(self, image: Tensor, valid: Tensor) -> Tensor:
        values = torch.where(valid, image, 0).double()
        count = valid.sum(dim=(2, 3), keepdim=True).clamp(min=1)
        mean = values.sum(dim=(2, 3), keepdim=True) / count
        centred = torch.where(valid, values - mean, 0)
        std = (centred.square().sum(dim=(2, 3), keepdim=True) / count).sqrt()
        return (centred / torch.where(std > 0, std, torch.inf)).float()


class Asinh(Normalization):
    """asinh stretch, then min-max; negative values are allowed.

    Parameters
    ----------
    softening
        Value at which the stretch turns from linear to logarithmic, in medians of |value| of the patch: of its values
        other than 0, where most of them are 0.
    """

    def __init__(self, softening: float = 1.0) -> None:
        super().__init__()
        self.softening = softening
        self.minmax = MinMax()

    @override
    def forward(self, image: Tensor, valid: Tensor) -> Tensor:
        size = image.abs().masked_fill(~valid, torch.nan).flatten(2)
        scale = size.nanmedian(dim=2).values
        if (scale == 0).any():
            scale = torch.where(scale > 0, scale, size.masked_fill(size == 0, torch.nan).nanmedian(dim=2).values)
        scale = torch.where(scale > 0, scale * self.softening, 1.0)[..., None, None]
        return cast(Tensor, self.minmax(torch.asinh(image / scale), valid))


class Robust(Normalization):
    """Centre each patch and channel on its median, scale it with its quantiles, and compress what is far away.

    The result is asinh((value - median) / spread), where nothing counts as further than 1000 spreads. The spread is
    half of the range from the 16 % to the 84 % quantile: the standard deviation, were the values Gaussian. Quantiles
    are those of means over 2 x 2 pixels. Where nearly all values are equal, as on empty sky, the spread is a thousandth
    of the 99 % quantile of the distance from the median. A constant patch becomes 0. Scale and zero level of the map
    make no difference, and neither do few odd pixels.
    """

    @override
    def forward(self, image: Tensor, valid: Tensor) -> Tensor:
        low, median, high = _quantiles(image, valid, (0.16, 0.5, 0.84))
        distance = image - median
        (far,) = _quantiles(distance.abs(), valid, (0.99,))
        spread = torch.maximum((high - low) / 2, far / 1000)
        spread = torch.where(spread < torch.finfo(spread.dtype).tiny, torch.inf, spread)
        return torch.asinh((distance / spread).clamp(-_FARTHEST, _FARTHEST))


def _quantiles(image: Tensor, valid: Tensor, fractions: Sequence[float]) -> list[Tensor]:
    """Return quantiles of the means over 2 x 2 pixels of each patch and channel, `(b, c, 1, 1)`; 0 without a pixel."""
    share = F.avg_pool2d(valid.float(), 2, ceil_mode=True)
    means = F.avg_pool2d(torch.where(valid, image, 0.0), 2, ceil_mode=True) / share  # NaN where no pixel is valid
    ordered = means.flatten(2).sort(dim=2).values  # NaN comes last
    last = ordered.isfinite().sum(dim=2, keepdim=True).clamp(min=1) - 1
    found = [ordered.gather(2, (last * fraction).round().long()) for fraction in fractions]
    return [quantile.nan_to_num()[..., None] for quantile in found]


class Global(Normalization):
    """Standardise each channel with one mean and one standard deviation, those of the training folds.

    A channel that is constant in the training folds becomes 0.

    Parameters
    ----------
    channels
        Number of image planes.
    log
        Take log10 first; values of 0 or below take the smallest positive value of a sample of the training folds.
    """

    floor: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, channels: int, log: bool = False) -> None:
        super().__init__()
        self.log = log
        for name, value in (("floor", 1.0), ("mean", 0.0), ("std", 1.0)):
            self.register_buffer(name, torch.full((channels,), value, dtype=torch.float64))

    @override
    def fit(self, values: Tensor) -> None:
        for channel, row in enumerate(values):
            row = row[row.isfinite() & (row > 0)] if self.log else row[row.isfinite()]
            if not len(row):
                kind = "positive" if self.log else "valid"
                raise DataError(f"Normalization: channel {channel + 1} has no {kind} pixel in the training folds.")
            if self.log:
                self.floor[channel] = row.min()
                row = row.log10()
            mean, std = row.mean(), row.std(correction=0)
            self.mean[channel], self.std[channel] = mean, torch.where(std > 1e-6 * mean.abs(), std, torch.inf)

    @override
    def forward(self, image: Tensor, valid: Tensor) -> Tensor:
        values = torch.where(valid, image, 0).double()
        if self.log:
            values = torch.maximum(values, self.floor.view(1, -1, 1, 1)).log10()
        return ((values - self.mean.view(1, -1, 1, 1)) / self.std.view(1, -1, 1, 1)).float()


class NormalizationComponent(Component[Normalization]):
    """The part common to the configurations of all normalizations."""

    @override
    def build(self, channels: int) -> Normalization:
        """Return the normalization of images of `channels` planes."""
        return super().build(channels=channels)


class MinMaxConfig(NormalizationComponent, builds=MinMax):
    """Each patch from its own minimum (0) to its own maximum (1), over its valid pixels (Zavagno et al. 2023)."""

    type: Literal["minmax"] = "minmax"


class LogConfig(NormalizationComponent, builds=Log):
    """log10, then each patch from its minimum (0) to its maximum (1): for positive maps of wide range, as N(H2)."""

    type: Literal["log"]


class ZScoreConfig(NormalizationComponent, builds=ZScore):
    """Each patch to mean 0 and standard deviation 1 over its valid pixels."""

    type: Literal["zscore"]


class AsinhConfig(NormalizationComponent, builds=Asinh):
    """asinh of the value over `softening` patch medians of |value|, then min-max: linear if faint, log if bright."""

    type: Literal["asinh"]

    softening: PositiveFloat = 1.0
    """Where the stretch turns from linear to logarithmic, in medians of |value|; larger is more linear."""


class RobustConfig(NormalizationComponent, builds=Robust):
    """asinh of (value - median) / spread of each patch: no scale, zero level, bright source or odd pixel matters."""

    type: Literal["robust"]


class GlobalConfig(NormalizationComponent, builds=Global):
    """Mean 0 and standard deviation 1 over the training folds, saved with the model: bright patches stay bright."""

    type: Literal["global"]

    log: bool = False
    """Take log10 first (values of 0 or below take the smallest positive one of a sample of the training folds)."""


class NoneConfig(NormalizationComponent, builds=Normalization):
    """The values as they are."""

    type: Literal["none"]


class CustomNormalizationConfig(NormalizationComponent, CustomConfig[Normalization]):
    """A `Normalization` of your own: called with `channels` and `kwargs`."""

    methods: ClassVar[tuple[str, ...]] = ("forward", "fit")


NormalizationConfig = Annotated[
    Annotated[
        MinMaxConfig
        | LogConfig
        | ZScoreConfig
        | AsinhConfig
        | RobustConfig
        | GlobalConfig
        | NoneConfig
        | CustomNormalizationConfig,
        Field(discriminator="type"),
    ],
    ignore_tag_case,
]
