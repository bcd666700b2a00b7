"""The batch of training patches, and the protocol of the augmentations that change it."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor


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


class Augmentation(Protocol):
    """Changes a batch at random."""

    def draw(self, generator: np.random.Generator, n: int) -> Draw:
        """Return the random numbers of n patches, as an array `(n, ...)`."""
        ...

    def apply(self, batch: Batch, draw: Tensor) -> Batch:
        """Return the batch changed by the random numbers `(b, ...)` of its patches."""
        ...
