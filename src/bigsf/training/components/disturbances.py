"""Batch -> batch as a harder map would show it: with sources, borders and gaps.

What an augmentation of this module adds is no filament: the pixels that it hides become background.
"""

import math
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import AfterValidator, Field, PositiveInt
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from bigsf.config import Component
from bigsf.training.components.batch import (
    Augmentation,
    Batch,
    Draw,
    PositiveRange,
    check_range,
    normal_deviates,
)
from bigsf.training.components.levels import MeasuredInLevels, MultipliesValues

_HIDDEN = 0.3  # of the level of the patch: a source that adds more than this hides what is under it
_KNOTS = 8  # of the random field whose highest parts become gaps, along each axis


def hide(batch: Batch, image: Tensor, hidden: Tensor) -> Batch:
    """Return the batch with another image, whose pixels `hidden` `(b, 1, y, x)` are background where they have data."""
    valid = image.isfinite().all(dim=1, keepdim=True)
    target = torch.where(hidden | ~valid, 0.0, batch.target)
    return Batch(image, target, (batch.labelled | hidden) & valid, batch.position)


class Sources(MeasuredInLevels):
    """Add round Gaussian sources, and odd pixels, which are narrower sources.

    Parameters
    ----------
    probability, number, brightness, width_px, saturated
        As in `SourcesConfig`.
    """

    def __init__(
        self,
        probability: float,
        number: int,
        brightness: tuple[float, float],
        width_px: tuple[float, float],
        saturated: float,
    ) -> None:
        self.probability, self.number, self.saturated = probability, number, saturated
        self.brightness, self.width_px = brightness, width_px

    @override
    def draw(self, generator: np.random.Generator, n: int) -> Draw:
        low, high = np.log([self.brightness, self.width_px]).T
        values = np.exp(generator.uniform(low, high, (n, self.number, 2)))
        some = np.arange(self.number) < generator.integers(1, self.number + 1, (n, 1))
        values[..., 0] *= some & (generator.uniform(size=(n, 1)) < self.probability)
        limit = np.full((n, 1, 1), np.inf)
        if self.saturated:
            limit = np.exp(generator.uniform(low[0], high[0], (n, 1, 1)))
            limit[generator.uniform(size=n) >= self.saturated] = np.inf
        places = generator.uniform(size=(n, self.number, 2))
        return np.concatenate([values, places, limit.repeat(self.number, axis=1)], axis=2)

    @override
    def apply(self, batch: Batch, draw: Tensor) -> Batch:
        brightness, width, y, x, limit = draw.float()[..., None, None].unbind(dim=2)  # (b, number, 1, 1) each
        ny, nx = batch.image.shape[2:]
        to_y = torch.arange(ny, device=draw.device).view(-1, 1) - y * ny
        to_x = torch.arange(nx, device=draw.device) - x * nx
        profile = torch.exp(-4 * math.log(2) * (to_y**2 + to_x**2) / width**2)
        excess = (brightness * profile).sum(dim=1, keepdim=True)
        image = torch.where(excess > limit[:, :1], torch.nan, batch.image + excess * self.unit(batch.image))
        return hide(batch, image, (excess > _HIDDEN) & (batch.target == 0))


class SourcesConfig(Component[Augmentation], builds=Sources):
    """Add bright round sources to some patches. They are background or missing, however bright, if not on a target."""

    type: Literal["sources"]

    probability: float = Field(default=0.25, ge=0, le=1)
    """Part of the patches that get sources."""

    number: PositiveInt = 3
    """Most sources in a patch."""

    brightness: PositiveRange = (0.5, 300.0)
    """Range of the peak, in medians of |value| of each patch and channel, or in their spread
    where the map is not linear or of both signs; log-uniform."""

    width_px: PositiveRange = (0.7, 4.0)
    """Range of the full width at half maximum; log-uniform. Below one pixel they are odd pixels."""

    saturated: float = Field(default=0.0, ge=0, le=1)
    """Part of the patches with a limit, drawn from the range of `brightness`: pixels to which sources add more are
    missing, as those of a saturated detector are."""


class Borders(MultipliesValues):
    """Multiply a narrow stripe along y or x by a factor, and leave out the map beyond it.

    Parameters
    ----------
    probability, width_px, factor
        As in `BordersConfig`.
    """

    def __init__(self, probability: float, width_px: tuple[int, int], factor: float) -> None:
        self.probability, self.width_px, self.factor = probability, width_px, factor

    @override
    def draw(self, generator: np.random.Generator, n: int) -> Draw:
        columns = [
            generator.uniform(size=n) < self.probability,
            generator.integers(0, 2, n),  # axis
            generator.uniform(-1 / 3, 1 / 3, n),  # where it begins, from either end; 0 is the border of the patch
            generator.integers(self.width_px[0], self.width_px[1] + 1, n),
            generator.uniform(-1, 1, n) * math.log(self.factor),
            generator.uniform(0, 0.3, n) * generator.integers(0, 2, n),  # roughness along the stripe
            generator.uniform(size=n) < 2 / 3,  # the map ends there
            generator.integers(0, 2**53, n),
        ]
        return np.stack(columns, axis=1).astype(np.float64)

    @override
    def apply(self, batch: Batch, draw: Tensor) -> Batch:
        chosen, axis, start, width, factor, rough, ends = draw[:, :7].float().view(len(draw), 7, 1, 1, 1).unbind(dim=1)
        ny, nx = batch.image.shape[2:]
        y = torch.arange(ny, device=draw.device).view(-1, 1).expand(ny, nx)
        x = torch.arange(nx, device=draw.device).expand(ny, nx)
        along = torch.where(axis > 0, x, y)
        along = torch.where(start < 0, torch.where(axis > 0, nx - 1 - x, ny - 1 - y), along)
        depth = along - (start.abs() * torch.where(axis > 0, nx, ny)).floor()
        stripe = (chosen > 0) & (depth >= 0) & (depth < width)
        change = torch.exp(factor + rough * normal_deviates(draw[:, 7], batch.image))
        image = torch.where(stripe, self.times(batch.image, change), batch.image)
        image = torch.where((chosen > 0) & (ends > 0) & (depth < 0), torch.nan, image)
        return hide(batch, image, stripe)


class BordersConfig(Component[Augmentation], builds=Borders):
    """Raise or lower a narrow stripe of some patches, mostly with nothing beyond it: the edge of a tile, a bad scan."""

    type: Literal["borders"]

    probability: float = Field(default=0.15, ge=0, le=1)
    """Part of the patches that get a stripe."""

    width_px: Annotated[tuple[PositiveInt, PositiveInt], AfterValidator(check_range)] = (1, 4)
    """Range of its width."""

    factor: float = Field(default=2.0, gt=1)
    """Largest factor of the stripe, and its inverse the smallest."""


class Gaps(Augmentation):
    """Set blots or stripes to zero or to missing.

    Parameters
    ----------
    probability, zeros
        As in `GapsConfig`.
    """

    def __init__(self, probability: float, zeros: float) -> None:
        self.probability, self.zeros = probability, zeros

    @override
    def draw(self, generator: np.random.Generator, n: int) -> Draw:
        columns = [
            generator.uniform(size=n) < self.probability,
            generator.uniform(size=n) < self.zeros,
            generator.uniform(-0.5, 1.5, n),  # level of the field above which there is a gap
            generator.uniform(size=n) < 1 / 5,  # stripes in place of blots
            generator.integers(8, 25, n),  # period of the stripes
            generator.integers(2, 7, n),  # pixels between two stripes
            generator.integers(0, 2**31, n),
        ]
        return np.stack(columns, axis=1).astype(np.float64)

    @override
    def apply(self, batch: Batch, draw: Tensor) -> Batch:
        chosen, zero, level, stripes, period, between = draw[:, :6].float().view(len(draw), 6, 1, 1, 1).unbind(dim=1)
        knots = normal_deviates(draw[:, 6], batch.image.new_empty(1, 1, _KNOTS, _KNOTS))
        field = F.interpolate(knots, batch.image.shape[2:], mode="bicubic", align_corners=True)
        x = torch.arange(batch.image.shape[3], device=draw.device)
        gap = torch.where(stripes > 0, (x + draw[:, 6].view(-1, 1, 1, 1)) % period >= between, field > level)
        gap = gap & (chosen > 0) & batch.image.isfinite().all(dim=1, keepdim=True)
        image = torch.where(gap, torch.where(zero > 0, 0.0, torch.nan), batch.image)
        return hide(batch, image, gap)


class GapsConfig(Component[Augmentation], builds=Gaps):
    """Set parts of some patches to missing, or to zero, which many maps have for missing."""

    type: Literal["gaps"]

    probability: float = Field(default=0.25, ge=0, le=1)
    """Part of the patches that get gaps."""

    zeros: float = Field(default=0.4, ge=0, le=1)
    """Part of the gaps that are filled with zeros, and labelled as background; the others are missing."""
