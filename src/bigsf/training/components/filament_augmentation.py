"""Batch -> batch with filaments of known place added."""

import math
from typing import Literal, NamedTuple

import numpy as np
import torch
from pydantic import PositiveInt
from torch import Tensor
from typing_extensions import override

from bigsf.config import Component
from bigsf.models.window_statistics import noise_level
from bigsf.training.components.batch import Augmentation, Batch, Draw, PositiveRange
from bigsf.training.components.levels import MeasuredInLevels

_BACKGROUND_PX = 12  # sigma of the Gaussian mean that is the local background, as for filaments that are injected
_SEGMENTS = 8  # straight segments of an arc
_SLENDER = 4  # a filament is at least so many widths long
_PLUMMER = 2 ** (2 / 3) - 1  # (half a width / R)^2 where (1 + (r / R)^2)^-1.5 is one half at half a width


class AddFilaments(MeasuredInLevels):
    """Add filaments to each patch, and label them as target.

    A filament adds contrast * unit * profile to the first channel. The profile around an arc, a chain of straight
    segments, is a Gaussian or that of Plummer, (1 + (r / R)^2)^-1.5, at random. The unit is the absolute local mean:
    the Gaussian mean of sigma 12 pixels over the valid pixels of the patch. On maps that are no linear maps of mostly
    one sign (see `fit`), it is the spread of the patch. Pixels within half a width of the arc become target,
    whatever they were, where the filament changes their value and its peak stands out of the noise of the patch.

    Parameters
    ----------
    number
        Most filaments in a patch.
    contrast, width_px, length_px
        Ranges, as in `FilamentsConfig`.
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
        self.level, self.least = local_mean_size, contrast[0]

    @override
    def draw(self, generator: np.random.Generator, n: int) -> Draw:
        """Return (contrast, length, width, Plummer, y, x, heading, turn) of each filament, `(n, number, 8)`.

        Positions y and x are fractions of the patch, angles are in radians, and a contrast of 0 is no filament.
        """
        low, high = np.log([self.contrast, self.length_px, self.width_px]).T
        contrast, length, width = np.exp(generator.uniform(low, high, (n, self.number, 3))).transpose(2, 0, 1)
        contrast *= np.arange(self.number) < generator.integers(0, self.number + 1, (n, 1))
        length = np.maximum(length, _SLENDER * width)
        low, high = np.array([(0, 1), (0, 1), (0, 1), (-np.pi, np.pi), (-1.5, 1.5)]).T
        rest = generator.uniform(low, high, (n, self.number, 5))
        return np.concatenate([np.stack([contrast, length, width], axis=2), rest], axis=2)

    @override
    def apply(self, batch: Batch, draw: Tensor) -> Batch:
        """Return the batch with the filaments drawn for its patches, `(b, number, 8)`."""
        contrast, length, width, plummer, y, x, heading, turn = draw.float()[:, :, :, None].unbind(dim=2)  # (b, k, 1)
        ny, nx = batch.image.shape[2:]
        dy, dx = arc_steps(length, heading, turn)
        chain = Chain(segment_starts(y * ny, dy), segment_starts(x * nx, dx), dy, dx)
        contrast, width, plummer = (value[..., None] for value in (contrast, width, plummer))  # (b, k, 1, 1)
        scaled2 = 4 * chain.squared_distance(ny, nx) / width**2  # 1 at half a width
        profile = torch.where(plummer < 0.5, torch.exp(-math.log(2) * scaled2), (1 + _PLUMMER * scaled2) ** -1.5)
        first = batch.image[:, :1]
        unit = self.unit(first)
        seen = contrast * unit > noise_level(first)  # (b, k, y, x)
        inside = ((scaled2 <= 1) & seen).any(dim=1, keepdim=True)
        return brightened(batch, unit * (contrast * profile).sum(dim=1, keepdim=True), inside)


class FilamentsConfig(Component[Augmentation], builds=AddFilaments):
    """Add filaments of known place and label them, faint ones included: what an incomplete catalogue does not teach.

    They are added to the first channel. Give this augmentation after those that add noise: a filament that is fainter
    than the noise gets no label.
    """

    type: Literal["filaments"]

    number: PositiveInt = 3
    """Most filaments in a patch; each patch draws its own number, from 0 on."""

    contrast: PositiveRange = (0.05, 1.0)
    """Range of the peak excess; log-uniform. The lowest is what the model learns to find. It is in units of the local
    mean (Gaussian, sigma 12 pixels), or of the spread of the patch where the map is not linear or has both signs."""

    width_px: PositiveRange = (2.0, 6.0)
    """Range of the full width at half maximum, in pixels of the map; log-uniform."""

    length_px: PositiveRange = (15.0, 90.0)
    """Range of the length, log-uniform; a filament is at least four widths long."""


def brightened(batch: Batch, excess: Tensor, inside: Tensor) -> Batch:
    """Return a batch with an excess added to its first channel, and labelled as target where it changes the value.

    Parameters
    ----------
    batch
        The batch.
    excess
        What is added, `(b, 1, y, x)`.
    inside
        The pixels that become target, `(b, 1, y, x)`, where they are valid.
    """
    first = batch.image[:, :1]
    brighter = first + excess
    inside = inside & batch.image.isfinite().all(dim=1, keepdim=True) & (brighter != first)
    return Batch(
        torch.cat([brighter, batch.image[:, 1:]], dim=1),
        torch.where(inside, 1.0, batch.target),
        batch.labelled | inside,
        batch.position,
    )


def local_mean_size(plane: Tensor) -> Tensor:
    """Return the absolute local mean of patches `(b, 1, y, x)`."""
    return local_mean(plane).abs()


def local_mean(plane: Tensor) -> Tensor:
    """Return the Gaussian mean of sigma 12 pixels over the valid pixels of patches `(b, 1, y, x)`.

    It is a number at missing pixels too, and 0 in a patch without a valid pixel.
    """
    along_y, along_x = (_gaussian(size, plane.device) for size in plane.shape[2:])
    valid = plane.isfinite()
    coverage = along_y @ valid.to(plane.dtype) @ along_x
    return along_y @ torch.where(valid, plane, 0) @ along_x / coverage.clamp(min=1e-9)


def _gaussian(size: int, device: torch.device) -> Tensor:
    """Return the weight of each pixel of a row in the mean at each other, `(size, size)`."""
    pixels = torch.arange(size, device=device, dtype=torch.float32)
    return torch.exp(-0.5 * ((pixels[:, None] - pixels) / _BACKGROUND_PX) ** 2)


def arc_steps(length: Tensor, heading: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
    """Return the steps (dy, dx) along an arc, in pixels, of each of its straight segments.

    Parameters
    ----------
    length
        Length of the arcs in pixels, `(b, k, 1)`.
    heading
        Their direction in the middle, `(b, k, 1)`, in radians from x towards y.
    turn
        The angle by which the direction changes from end to end, `(b, k, 1)`, in radians.

    Returns
    -------
    dy, dx : Tensor
        `(b, k, segments)` each.
    """
    along = torch.linspace(-0.5, 0.5, _SEGMENTS + 1, device=length.device)
    direction = heading + turn * (along[:-1] + along[1:]) / 2
    return length / _SEGMENTS * direction.sin(), length / _SEGMENTS * direction.cos()


def segment_starts(middle: Tensor, steps: Tensor) -> Tensor:
    """Return where each segment starts along one axis, `(b, k, segments)`, when the arc has its middle there.

    Parameters
    ----------
    middle
        Coordinate of the middle of the arcs in pixels, `(b, k, 1)`.
    steps
        The steps of the segments along the axis, `(b, k, segments)`.
    """
    to_middle = steps[:, :, : _SEGMENTS // 2].sum(2, keepdim=True)
    return middle + steps.cumsum(2) - to_middle - steps


class Chain(NamedTuple):
    """Chains of straight segments: where each segment starts, and its step, `(b, k, segments)` in pixels."""

    y: Tensor
    x: Tensor
    dy: Tensor
    dx: Tensor

    def squared_distance(self, ny: int, nx: int) -> Tensor:
        """Return the squared distance of each pixel of a patch from each chain, `(b, k, ny, nx)`, in pixels."""
        y, x, dy, dx = (plane[..., None, None] for plane in self)  # (b, k, segments, 1, 1)
        to_y = torch.arange(ny, device=y.device).view(-1, 1) - y  # (b, k, segments, ny, 1)
        to_x = torch.arange(nx, device=x.device) - x  # (b, k, segments, 1, nx)
        nearest = ((to_y * dy + to_x * dx) / (dy**2 + dx**2)).clamp(0, 1)  # fraction of the segment
        return ((to_y - nearest * dy) ** 2 + (to_x - nearest * dx) ** 2).amin(dim=2)
