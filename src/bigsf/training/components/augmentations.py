"""Batch -> batch, changed at random: the family of augmentations, on whole batches and on the device.

An augmentation first draws random numbers for each patch of the batch, over all processes. It draws them on the CPU,
from a generator that depends on (seed, epoch, step) alone. It then applies the numbers of the patches of its own
process. A resumed run, and several processes that share a batch, therefore make the same changes.
"""

from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, PositiveFloat
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from bigsf.config import Component, CustomConfig, ignore_tag_case
from bigsf.training.components.batch import Augmentation, Batch, Draw, convolved, gaussian_kernels, normal_deviates
from bigsf.training.components.disturbances import BordersConfig, GapsConfig, SourcesConfig
from bigsf.training.components.filament_augmentation import FilamentsConfig
from bigsf.training.components.levels import MultipliesValues
from bigsf.training.components.noises import BeamNoiseConfig, StripesConfig
from bigsf.training.components.paste_augmentation import PasteConfig


class Flip(Augmentation):
    """Mirror along y, x, both or neither."""

    @override
    def draw(self, generator: np.random.Generator, n: int) -> Draw:
        return generator.integers(0, 2, (n, 2)).astype(bool)

    @override
    def apply(self, batch: Batch, draw: Tensor) -> Batch:
        def flipped(plane: Tensor) -> Tensor:
            for axis in (2, 3):
                plane = torch.where(draw[:, axis - 2].view(-1, 1, 1, 1), plane.flip(axis), plane)
            return plane

        return batch.move(flipped)


class FlipConfig(Component[Augmentation], builds=Flip):
    """Mirror each patch left to right, top to bottom, both or not, with equal odds."""

    type: Literal["flip"] = "flip"


class Rotate90(Augmentation):
    """Turn by quarter turns."""

    @override
    def draw(self, generator: np.random.Generator, n: int) -> Draw:
        return generator.integers(0, 4, n)

    @override
    def apply(self, batch: Batch, draw: Tensor) -> Batch:
        def turned(plane: Tensor) -> Tensor:
            result = plane.clone()
            for quarters in (1, 2, 3):
                chosen = draw == quarters
                result[chosen] = plane[chosen].rot90(quarters, (2, 3))
            return result

        return batch.move(turned)


class Rotate90Config(Component[Augmentation], builds=Rotate90):
    """Turn each patch by 0, 90, 180 or 270 degrees, with equal odds."""

    type: Literal["rotate90"]


class Rotate(Augmentation):
    """Turn and scale about the centre: the image bilinear over its valid pixels, masks nearest.

    Parameters
    ----------
    degrees
        Largest angle.
    zoom
        Largest magnification.
    """

    def __init__(self, degrees: float, zoom: float) -> None:
        self.degrees, self.zoom = degrees, zoom

    @override
    def draw(self, generator: np.random.Generator, n: int) -> Draw:
        angle = np.deg2rad(generator.uniform(-self.degrees, self.degrees, n))
        scale = self.zoom ** generator.uniform(-1, 1, n)
        return np.stack([np.cos(angle), np.sin(angle)], axis=1) / scale[:, None]

    @override
    def apply(self, batch: Batch, draw: Tensor) -> Batch:
        cosine, sine = draw.float().unbind(dim=1)
        zero = torch.zeros_like(cosine)
        matrix = torch.stack([cosine, -sine, zero, sine, cosine, zero], dim=1).view(-1, 2, 3)
        grid = F.affine_grid(matrix, list(batch.image[:, :1].shape), align_corners=False)

        def sampled(plane: Tensor, mode: str) -> Tensor:
            return F.grid_sample(plane.float(), grid, mode=mode, padding_mode="zeros", align_corners=False)

        valid = batch.image.isfinite()
        scale = torch.where(valid, batch.image, 0).abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-30)
        share = sampled(valid.float(), "bilinear")
        image = sampled(torch.where(valid, batch.image / scale, 0), "bilinear") / share * scale
        seen = share > 0.5
        inside = seen.all(dim=1, keepdim=True)
        return Batch(
            torch.where(seen, image, torch.nan),
            sampled(batch.target, "nearest") * inside,
            (sampled(batch.labelled, "nearest") > 0.5) & inside,
            batch.position,
        )


class RotateConfig(Component[Augmentation], builds=Rotate):
    """Turn each patch by any angle and scale it; the corners that come from outside are missing.

    Turned pixels are interpolated, which smooths the map a little: prefer flips and quarter turns where they suffice.
    """

    type: Literal["rotate"]

    degrees: float = Field(default=180.0, ge=0, le=180)
    """Largest angle, to either side."""

    zoom: float = Field(default=1.0, ge=1, le=4)
    """Largest magnification, and its inverse: 1 keeps the scale, 1.5 mixes scales from 1/1.5 to 1.5."""


class Noise(MultipliesValues):
    """Multiplicative Gaussian noise.

    Parameters
    ----------
    fraction
        Largest standard deviation.
    """

    def __init__(self, fraction: float) -> None:
        self.fraction = fraction

    @override
    def draw(self, generator: np.random.Generator, n: int) -> Draw:
        return np.stack([generator.uniform(0, self.fraction, n), generator.integers(0, 2**53, n)], axis=1)

    @override
    def apply(self, batch: Batch, draw: Tensor) -> Batch:
        size = draw[:, 0].float().view(-1, 1, 1, 1)
        return batch._replace(image=self.times(batch.image, 1 + size * normal_deviates(draw[:, 1], batch.image)))


class NoiseConfig(Component[Augmentation], builds=Noise):
    """Add Gaussian noise in proportion to the signal: each pixel is multiplied by 1 + noise."""

    type: Literal["noise"]

    fraction: PositiveFloat = 0.02
    """Largest standard deviation as a fraction of the signal; each patch draws its own below it."""


class Gain(MultipliesValues):
    """Multiply by the exponential of a smooth field through 3 x 3 normal deviates.

    Parameters
    ----------
    fraction
        Standard deviation at the knots.
    """

    def __init__(self, fraction: float) -> None:
        self.fraction = fraction

    @override
    def draw(self, generator: np.random.Generator, n: int) -> Draw:
        return generator.normal(0, self.fraction, (n, 1, 3, 3))

    @override
    def apply(self, batch: Batch, draw: Tensor) -> Batch:
        field = F.interpolate(draw.float(), batch.image.shape[2:], mode="bicubic", align_corners=True)
        return batch._replace(image=self.times(batch.image, field.exp()))


class GainConfig(Component[Augmentation], builds=Gain):
    """Multiply each patch by a smooth field, as errors of the calibration or of the flat field do."""

    type: Literal["gain"]

    fraction: PositiveFloat = 0.3
    """Standard deviation of the logarithm of the field at its 3 x 3 knots."""


class Blur(Augmentation):
    """Gaussian smoothing over valid pixels.

    Parameters
    ----------
    sigma
        Largest sigma in pixels.
    """

    def __init__(self, sigma: float) -> None:
        self.sigma = sigma

    @override
    def draw(self, generator: np.random.Generator, n: int) -> Draw:
        return generator.uniform(0, self.sigma, n)

    @override
    def apply(self, batch: Batch, draw: Tensor) -> Batch:
        kernel = gaussian_kernels(draw.float(), reach=int(np.ceil(3 * self.sigma)))
        valid = batch.image.isfinite()
        scale = torch.where(valid, batch.image, 0).abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-30)
        smooth = convolved(torch.where(valid, batch.image / scale, 0), kernel) * scale
        return batch._replace(image=torch.where(valid, smooth / convolved(valid.float(), kernel), torch.nan))


class BlurConfig(Component[Augmentation], builds=Blur):
    """Smooth each patch with a Gaussian, as a larger beam would; missing pixels do not spread."""

    type: Literal["blur"]

    sigma: PositiveFloat = 1.0
    """Largest sigma in pixels; each patch draws its own below it."""


class CustomAugmentationConfig(CustomConfig[Augmentation]):
    """An `Augmentation` of your own: called with `kwargs`."""

    methods: ClassVar[tuple[str, ...]] = ("draw", "apply")


AugmentationConfig = Annotated[
    Annotated[
        FlipConfig
        | Rotate90Config
        | RotateConfig
        | NoiseConfig
        | GainConfig
        | BlurConfig
        | FilamentsConfig
        | PasteConfig
        | BeamNoiseConfig
        | SourcesConfig
        | BordersConfig
        | GapsConfig
        | StripesConfig
        | CustomAugmentationConfig,
        Field(discriminator="type"),
    ],
    ignore_tag_case,
]
