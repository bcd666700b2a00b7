"""Batch -> batch with filaments of known place added."""

import math
from typing import Literal

import numpy as np
import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from bigsf.config import Config
from bigsf.training.components.batch import Augmentation, Batch, Draw

_SEGMENTS = 8  # straight pieces of an arc


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
        along = torch.linspace(-0.5, 0.5, _SEGMENTS + 1, device=draw.device)
        angle = heading + turn * (along[:-1] + along[1:]) / 2
        dy, dx = (
            length / _SEGMENTS * way for way in (angle.sin(), angle.cos())
        )  # of each straight piece, (b, k, pieces)
        middle = _SEGMENTS // 2
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
