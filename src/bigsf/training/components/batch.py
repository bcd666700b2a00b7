"""The batch that augmentations change, and what an augmentation is."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor


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
