"""Batch -> batch with the noise of a harder map: white, of the beam, or in stripes."""

import math
from typing import Literal

import numpy as np
import torch
from pydantic import Field, PositiveFloat
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from bigsf.config import Component
from bigsf.training.components.batch import (
    Augmentation,
    Batch,
    Draw,
    PositiveRange,
    convolved,
    gaussian_kernels,
    normal_deviates,
)
from bigsf.training.components.levels import MeasuredInLevels


class BeamNoise(MeasuredInLevels):
    """Add Gaussian noise, white or as smooth as a beam.

    Parameters
    ----------
    probability, fraction, beam_px
        As in `BeamNoiseConfig`.
    """

    def __init__(self, probability: float, fraction: tuple[float, float], beam_px: float) -> None:
        self.probability, self.fraction, self.beam_px = probability, fraction, beam_px

    @override
    def draw(self, generator: np.random.Generator, n: int) -> Draw:
        low, high = np.log(self.fraction)
        size = np.exp(generator.uniform(low, high, n)) * (generator.uniform(size=n) < self.probability)
        sigma = generator.uniform(0, self.beam_px / math.sqrt(8 * math.log(2)), n) * generator.integers(0, 2, n)
        return np.stack([size, sigma, generator.integers(0, 2**53, n)], axis=1)

    @override
    def apply(self, batch: Batch, draw: Tensor) -> Batch:
        size, sigma = draw[:, :2].float().unbind(dim=1)
        reach, (ny, nx) = math.ceil(1.5 * self.beam_px), batch.image.shape[2:]
        kernels = gaussian_kernels(sigma, reach)
        around = batch.image.new_empty(1, batch.image.shape[1], ny + 2 * reach, nx + 2 * reach)
        noise = convolved(normal_deviates(draw[:, 2], around), kernels)[..., reach:-reach, reach:-reach]
        scale = (size / kernels.square().sum(dim=1)).view(-1, 1, 1, 1)
        return batch._replace(image=batch.image + self.unit(batch.image) * scale * noise)


class BeamNoiseConfig(Component[Augmentation], builds=BeamNoise):
    """Add Gaussian noise that does not depend on the signal to some patches: white, or as smooth as a beam."""

    type: Literal["beam_noise"]

    probability: float = Field(default=0.5, ge=0, le=1)
    """Part of the patches that get noise."""

    fraction: PositiveRange = (0.003, 0.1)
    """Range of the standard deviation, in medians of |value| of each patch and channel, or in their spread
    where the map is not linear or of both signs; log-uniform."""

    beam_px: PositiveFloat = 4.0
    """Largest full width at half maximum of the beam in pixels. Half of the noise is white."""


class Stripes(MeasuredInLevels):
    """Add parallel stripes at any angle, whose values across are smooth Gaussian noise.

    Parameters
    ----------
    probability, fraction, width_px
        As in `StripesConfig`.
    """

    def __init__(self, probability: float, fraction: tuple[float, float], width_px: tuple[float, float]) -> None:
        self.probability, self.fraction, self.width_px = probability, fraction, width_px

    @override
    def draw(self, generator: np.random.Generator, n: int) -> Draw:
        low, high = np.log([self.fraction, self.width_px]).T
        size, width = np.exp(generator.uniform(low, high, (n, 2))).T
        size *= generator.uniform(size=n) < self.probability
        sigma = width / math.sqrt(8 * math.log(2))
        angle = generator.uniform(0, math.pi, n)
        return np.stack([size, sigma, angle, generator.integers(0, 2**53, n)], axis=1)

    @override
    def apply(self, batch: Batch, draw: Tensor) -> Batch:
        size, sigma, angle = draw[:, :3].float().view(-1, 3, 1, 1).unbind(dim=1)
        ny, nx = batch.image.shape[2:]
        reach = math.ceil(1.5 * self.width_px[1])
        kernels = gaussian_kernels(sigma.flatten(), reach)
        across = normal_deviates(draw[:, 3], batch.image.new_empty(1, 2 * nx + ny + 2 * reach + 2))
        across = F.conv1d(across[None], kernels[:, None], groups=len(draw))[0] / kernels.norm(dim=1, keepdim=True)
        y = torch.arange(ny, device=draw.device).view(-1, 1)
        x = torch.arange(nx, device=draw.device)
        place = nx + y * angle.sin() + x * angle.cos()  # 0 to 2 nx + ny
        first = place.long()
        before, after = (across.gather(1, (first + step).flatten(1)).view(place.shape) for step in (0, 1))
        stripes = torch.lerp(before, after, place - first)[:, None]
        return batch._replace(image=batch.image + self.unit(batch.image) * size[:, None] * stripes)


class StripesConfig(Component[Augmentation], builds=Stripes):
    """Add parallel stripes to some patches, at one angle each: the scans of a telescope. They get no label."""

    type: Literal["stripes"]

    probability: float = Field(default=0.15, ge=0, le=1)
    """Part of the patches that get stripes."""

    fraction: PositiveRange = (0.01, 0.1)
    """Range of their standard deviation, in medians of |value| of each patch and channel, or in their spread
    where the map is not linear or of both signs; log-uniform."""

    width_px: PositiveRange = (1.0, 4.0)
    """Range of the full width at half maximum of the smoothing across the stripes; log-uniform."""
