"""Batch -> batch: the family of augmentations, on whole batches and on the device.

An augmentation first draws one number or more for each patch of the global batch, on the CPU, from a generator that
is a function of (seed, epoch, step); then it applies those of the patches at hand. So a resumed run draws the same,
and so do two processes that share a batch.
"""

import math
from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple, Protocol, cast

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from bigsf.config import Config, CustomConfig, ignore_tag_case

_PIECES = 8  # straight pieces of an arc


class Batch(NamedTuple):
    """Patches as the trainer sees them."""

    image: Tensor
    """Raw values `(b, c, y, x)` in the unit of the map, NaN = missing."""
    target: Tensor
    """1 on known structures, float32 `(b, 1, y, x)`."""
    labelled: Tensor
    """True where the truth is known, `(b, 1, y, x)`."""
    position: Tensor | None
    """Position of the patches' centres `(b, 2)`: they stay where they are under flips and rotations."""

    def move(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        """Move image, target and labelled together."""
        return Batch(function(self.image), function(self.target), function(self.labelled), self.position)


Draw = npt.NDArray[np.generic]


class Augmentation(Protocol):
    """Changes a batch at random."""

    def draw(self, generator: np.random.Generator, n: int) -> Draw:
        """Return the random numbers of n patches, first axis n."""
        ...

    def apply(self, batch: Batch, draw: Tensor) -> Batch:
        """Return the batch changed by the numbers drawn for its patches."""
        ...


class FlipConfig(Config):
    """Mirror each patch left to right, top to bottom, both or not, with equal odds."""

    type: Literal["flip"] = "flip"

    def build(self) -> Augmentation:
        """Return the augmentation."""
        return Flip()


class Flip(Augmentation):
    """Mirror along y, x, both or neither."""

    def draw(self, generator: np.random.Generator, n: int) -> Draw:  # noqa: D102
        return generator.integers(0, 2, (n, 2)).astype(bool)

    def apply(self, batch: Batch, draw: Tensor) -> Batch:  # noqa: D102
        def flipped(plane: Tensor) -> Tensor:
            for axis in (2, 3):
                plane = torch.where(draw[:, axis - 2].view(-1, 1, 1, 1), plane.flip(axis), plane)
            return plane

        return batch.move(flipped)


class Rotate90Config(Config):
    """Turn each patch by 0, 90, 180 or 270 degrees, with equal odds."""

    type: Literal["rotate90"]

    def build(self) -> Augmentation:
        """Return the augmentation."""
        return Rotate90()


class Rotate90(Augmentation):
    """Turn by quarter turns."""

    def draw(self, generator: np.random.Generator, n: int) -> Draw:  # noqa: D102
        return generator.integers(0, 4, n)

    def apply(self, batch: Batch, draw: Tensor) -> Batch:  # noqa: D102
        def turned(plane: Tensor) -> Tensor:
            result = plane.clone()
            for quarters in (1, 2, 3):
                chosen = draw == quarters
                result[chosen] = plane[chosen].rot90(quarters, (2, 3))
            return result

        return batch.move(turned)


class RotateConfig(Config):
    """Turn each patch by any angle and scale it; the corners that come from outside are missing.

    Turned pixels are interpolated, which smooths the map a little: prefer flips and quarter turns where they suffice.
    """

    type: Literal["rotate"]

    degrees: float = Field(default=180.0, ge=0, le=180)
    """Largest angle, to either side."""

    zoom: float = Field(default=1.0, ge=1, le=4)
    """Largest magnification, and its inverse: 1 keeps the scale, 1.5 mixes scales from 1/1.5 to 1.5."""

    def build(self) -> Augmentation:
        """Return the augmentation."""
        return Rotate(self.degrees, self.zoom)


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

    def draw(self, generator: np.random.Generator, n: int) -> Draw:  # noqa: D102
        angle = np.deg2rad(generator.uniform(-self.degrees, self.degrees, n))
        scale = self.zoom ** generator.uniform(-1, 1, n)
        return np.stack([np.cos(angle), np.sin(angle)], axis=1) / scale[:, None]

    def apply(self, batch: Batch, draw: Tensor) -> Batch:  # noqa: D102
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


class NoiseConfig(Config):
    """Add Gaussian noise in proportion to the signal: each pixel is multiplied by 1 + noise."""

    type: Literal["noise"]

    fraction: PositiveFloat = 0.02
    """Largest standard deviation as a fraction of the signal; each patch draws its own below it."""

    def build(self) -> Augmentation:
        """Return the augmentation."""
        return Noise(self.fraction)


class Noise(Augmentation):
    """Multiplicative Gaussian noise.

    Parameters
    ----------
    fraction
        Largest standard deviation.
    """

    def __init__(self, fraction: float) -> None:
        self.fraction = fraction

    def draw(self, generator: np.random.Generator, n: int) -> Draw:  # noqa: D102
        return np.stack([generator.uniform(0, self.fraction, n), generator.integers(0, 2**53, n)], axis=1)

    def apply(self, batch: Batch, draw: Tensor) -> Batch:  # noqa: D102
        noise = torch.stack([_normal(int(seed), batch.image.shape[1:]) for seed in draw[:, 1].tolist()])
        size = draw[:, 0].float().view(-1, 1, 1, 1)
        return batch._replace(image=batch.image * (1 + size * noise.to(batch.image.device)))


class GainConfig(Config):
    """Multiply each patch by a smooth field, e.g. as a wrong zero level or a gradient of the background would."""

    type: Literal["gain"]

    fraction: PositiveFloat = 0.3
    """Standard deviation of the logarithm of the field at its 3 x 3 knots."""

    def build(self) -> Augmentation:
        """Return the augmentation."""
        return Gain(self.fraction)


class Gain(Augmentation):
    """Multiply by the exponential of a smooth field through 3 x 3 normal deviates.

    Parameters
    ----------
    fraction
        Standard deviation at the knots.
    """

    def __init__(self, fraction: float) -> None:
        self.fraction = fraction

    def draw(self, generator: np.random.Generator, n: int) -> Draw:  # noqa: D102
        return generator.normal(0, self.fraction, (n, 1, 3, 3))

    def apply(self, batch: Batch, draw: Tensor) -> Batch:  # noqa: D102
        field = F.interpolate(draw.float(), batch.image.shape[2:], mode="bicubic", align_corners=True)
        return batch._replace(image=batch.image * field.exp())


class BlurConfig(Config):
    """Smooth each patch with a Gaussian, as a larger beam would; missing pixels do not spread."""

    type: Literal["blur"]

    sigma: PositiveFloat = 1.0
    """Largest sigma in pixels; each patch draws its own below it."""

    def build(self) -> Augmentation:
        """Return the augmentation."""
        return Blur(self.sigma)


class Blur(Augmentation):
    """Gaussian smoothing over valid pixels.

    Parameters
    ----------
    sigma
        Largest sigma in pixels.
    """

    def __init__(self, sigma: float) -> None:
        self.sigma = sigma

    def draw(self, generator: np.random.Generator, n: int) -> Draw:  # noqa: D102
        return generator.uniform(0, self.sigma, n)

    def apply(self, batch: Batch, draw: Tensor) -> Batch:  # noqa: D102
        reach = int(np.ceil(3 * self.sigma))
        x = torch.arange(-reach, reach + 1, device=draw.device)
        kernel = torch.exp(-0.5 * (x / draw.float().clamp(min=1e-3)[:, None]) ** 2)
        kernel = kernel / kernel.sum(dim=1, keepdim=True)
        valid = batch.image.isfinite()
        scale = torch.where(valid, batch.image, 0).abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-30)
        smooth = _convolved(torch.where(valid, batch.image / scale, 0), kernel) * scale
        return batch._replace(image=torch.where(valid, smooth / _convolved(valid.float(), kernel), torch.nan))


def _convolved(planes: Tensor, kernel: Tensor) -> Tensor:
    """Convolve `(b, c, y, x)` along y and x, each patch with its own kernel `(b, k)`; zero outside."""
    b, c, ny, nx = planes.shape
    reach, kernels = kernel.shape[1] // 2, kernel.repeat_interleave(c, dim=0)
    flat = planes.reshape(1, b * c, ny, nx)
    flat = F.conv2d(flat, kernels[:, None, :, None], padding=(reach, 0), groups=b * c)
    return F.conv2d(flat, kernels[:, None, None, :], padding=(0, reach), groups=b * c).view(b, c, ny, nx)


def _normal(seed: int, shape: torch.Size) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class FilamentsConfig(Config):
    """Add filaments of known place and label them, faint ones included: what an incomplete catalogue does not teach."""

    type: Literal["filaments"]

    number: PositiveInt = 3
    """Most filaments in a patch; each patch draws its own number, from 0 on."""

    contrast: tuple[PositiveFloat, PositiveFloat] = (0.05, 1.0)
    """Range of the peak excess, in units of what is there; log-uniform. The lowest is what the model learns to find."""

    width_px: tuple[PositiveFloat, PositiveFloat] = (2.0, 6.0)
    """Range of the full width at half maximum, in pixels of the map; uniform."""

    length_px: tuple[PositiveFloat, PositiveFloat] = (15.0, 90.0)
    """Range of the length; log-uniform."""

    def build(self) -> Augmentation:
        """Return the augmentation."""
        return AddFilaments(self.number, self.contrast, self.width_px, self.length_px)


class AddFilaments(Augmentation):
    """Add contrast * |value| * a Gaussian profile around arcs to each patch; the pixels within half a width are target.

    Parameters
    ----------
    number
        Most filaments in a patch.
    contrast, width_px, length_px
        Ranges.
    """

    def __init__(
        self,
        number: int,
        contrast: tuple[float, float],
        width_px: tuple[float, float],
        length_px: tuple[float, float],
    ) -> None:
        self.number = number
        self.contrast, self.width_px, self.length_px = contrast, width_px, length_px

    def draw(self, generator: np.random.Generator, n: int) -> Draw:  # noqa: D102
        low, high = np.log([self.contrast, self.length_px]).T
        contrast, length = np.exp(generator.uniform(low, high, (n, self.number, 2))).transpose(2, 0, 1)
        contrast *= np.arange(self.number) < generator.integers(0, self.number + 1, (n, 1))
        low, high = np.array([self.width_px, (0, 1), (0, 1), (-np.pi, np.pi), (-1.5, 1.5)]).T
        rest = generator.uniform(low, high, (n, self.number, 5))
        return np.concatenate([contrast[..., None], length[..., None], rest], axis=2)

    def apply(self, batch: Batch, draw: Tensor) -> Batch:  # noqa: D102
        contrast, length, width, y, x, heading, turn = draw.float()[:, :, :, None].unbind(dim=2)
        ny, nx = batch.image.shape[2:]
        along = torch.linspace(-0.5, 0.5, _PIECES + 1, device=draw.device)
        angle = heading + turn * (along[:-1] + along[1:]) / 2
        dy, dx = (
            length / _PIECES * way for way in (angle.sin(), angle.cos())
        )  # of each straight piece, (b, k, pieces)
        middle = _PIECES // 2
        y, x = (
            (zero * size + step.cumsum(2) - step[:, :, :middle].sum(2, keepdim=True) - step)[..., None, None]
            for zero, size, step in ((y, ny, dy), (x, nx, dx))
        )
        dy, dx = dy[..., None, None], dx[..., None, None]
        to_y = torch.arange(ny, device=draw.device).view(-1, 1) - y
        to_x = torch.arange(nx, device=draw.device) - x
        part = ((to_y * dy + to_x * dx) / (dy**2 + dx**2)).clamp(0, 1)
        distance2 = ((to_y - part * dy) ** 2 + (to_x - part * dx) ** 2).amin(dim=2)  # (b, k, y, x)
        contrast, width = contrast[..., None], width[..., None]
        excess = contrast * torch.exp(-4 * math.log(2) * distance2 / width**2)
        inside = ((distance2 <= (width / 2) ** 2) & (contrast > 0)).any(dim=1, keepdim=True)
        inside = inside & batch.image.isfinite().all(dim=1, keepdim=True)
        return Batch(
            batch.image + batch.image.abs() * excess.sum(dim=1, keepdim=True),
            torch.where(inside, 1.0, batch.target),
            batch.labelled | inside,
            batch.position,
        )


class CustomAugmentationConfig(CustomConfig):
    """An `Augmentation` of your own: called with `kwargs`."""

    def build(self) -> Augmentation:
        """Import and call the target."""
        return cast(Augmentation, self.call())


AugmentationConfig = Annotated[
    Annotated[
        FlipConfig
        | Rotate90Config
        | RotateConfig
        | NoiseConfig
        | GainConfig
        | BlurConfig
        | FilamentsConfig
        | CustomAugmentationConfig,
        Field(discriminator="type"),
    ],
    ignore_tag_case,
]
