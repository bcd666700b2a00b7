"""Batch -> batch: the family of augmentations, on whole batches and on the device.

An augmentation first draws one number or more for each patch of the global batch, on the CPU, from a generator that
is a function of (seed, epoch, step); then it applies those of the patches at hand. So a resumed run draws the same,
and so do two processes that share a batch.
"""

from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple, Protocol, cast

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from bigsf.config import Config, CustomConfig, ignore_tag_case


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


class CustomAugmentationConfig(CustomConfig):
    """An `Augmentation` of your own: called with `kwargs`."""

    def build(self) -> Augmentation:
        """Import and call the target."""
        return cast(Augmentation, self.load()(**self.kwargs))


AugmentationConfig = Annotated[
    Annotated[FlipConfig | Rotate90Config | CustomAugmentationConfig, Field(discriminator="type")],
    ignore_tag_case,
]
