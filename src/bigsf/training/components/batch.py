"""The batch of training patches, the protocol of the augmentations that change it, and what several of them use."""

from collections.abc import Callable
from typing import Annotated, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from pydantic import AfterValidator, PositiveFloat
from torch import Tensor
from torch.nn import functional as F


class Batch(NamedTuple):
    """Patches as the network is trained on them, with their labels."""

    image: Tensor
    """Raw values `(b, c, y, x)` in the unit of the map; NaN is missing."""
    target: Tensor
    """1 on known structures, float32 `(b, 1, y, x)`."""
    labelled: Tensor
    """True where the target is known, `(b, 1, y, x)`."""
    position: Tensor | None
    """Positions of the centres of the patches, `(b, 2)`. Flips and rotations leave them where they are."""

    def move(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        """Return the batch with a function applied to image, target and labelled alike, e.g. a flip."""
        return Batch(function(self.image), function(self.target), function(self.labelled), self.position)


Draw = npt.NDArray[np.generic]
"""Random numbers of n patches, `(n, ...)`."""


def check_range(value: tuple[float, float]) -> tuple[float, float]:
    """Return a range (lowest, highest); raise `ValueError` where its ends stand the other way round."""
    if value[0] > value[1]:
        raise ValueError(f"found {list(value)}, expected the lowest value and then the highest.")
    return value


PositiveRange = Annotated[tuple[PositiveFloat, PositiveFloat], AfterValidator(check_range)]
"""A range of values above 0, from lowest to highest."""


class Augmentation(Protocol):
    """Changes a batch at random."""

    def draw(self, generator: np.random.Generator, n: int) -> Draw:
        """Return the random numbers of n patches, as an array `(n, ...)`."""
        ...

    def apply(self, batch: Batch, draw: Tensor) -> Batch:
        """Return the batch changed by the random numbers `(b, ...)` of its patches."""
        ...


def gaussian_kernels(sigma: Tensor, reach: int) -> Tensor:
    """Return Gaussian kernels of sum 1 and of these sigmas `(b,)` in pixels, `(b, 2 reach + 1)`."""
    x = torch.arange(-reach, reach + 1, device=sigma.device)
    kernels = torch.exp(-0.5 * (x / sigma.clamp(min=1e-3)[:, None]) ** 2)
    return kernels / kernels.sum(dim=1, keepdim=True)


def convolved(planes: Tensor, kernels: Tensor) -> Tensor:
    """Convolve planes `(b, c, y, x)` along y and x, each patch with its own kernel `(b, k)`, with zeros outside."""
    b, c, ny, nx = planes.shape
    reach, each = kernels.shape[1] // 2, kernels.repeat_interleave(c, dim=0)
    flat = planes.reshape(1, b * c, ny, nx)
    flat = F.conv2d(flat, each[:, None, :, None], padding=(reach, 0), groups=b * c)
    return F.conv2d(flat, each[:, None, None, :], padding=(0, reach), groups=b * c).view(b, c, ny, nx)


def normal_deviates(seeds: Tensor, like: Tensor) -> Tensor:
    """Return normal deviates of the shape of a patch of `like`, `(b, c, y, x)`, from a seed for each patch `(b,)`."""
    generators = (torch.Generator().manual_seed(int(seed)) for seed in seeds.tolist())
    return torch.stack([torch.randn(like.shape[1:], generator=each) for each in generators]).to(like.device)
