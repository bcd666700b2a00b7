"""A network, a loss and a metric of one's own, for custom.yaml: nothing in BigSF knows of them."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bigsf import LossSum


class DilatedNet(nn.Module):
    """Five convolutions at full resolution that see ever further apart.

    Parameters
    ----------
    features
        Feature maps of each layer.
    """

    def __init__(self, features: int = 16) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number, dilation in enumerate((1, 2, 4, 8, 16)):
            layers += [
                nn.Conv2d(features if number else 1, features, 3, padding=dilation, dilation=dilation),
                nn.GELU(),
            ]
        self.layers = nn.Sequential(*layers, nn.Conv2d(features, 1, 1))

    def forward(self, patches: Tensor, position: Tensor | None = None) -> Tensor:
        """Return logits `(b, 1, y, x)` of normalised patches `(b, 1, y, x)`."""
        logits: Tensor = self.layers(patches)
        return logits


class Brier:
    """Squared difference of probability and truth, summed over pixels."""

    def __call__(self, logits: Tensor, target: Tensor, weight: Tensor) -> LossSum:
        """Return the weighted sum and the sum of weights."""
        return LossSum((weight * (torch.sigmoid(logits) - target) ** 2).sum(), weight.sum())


class MarkedFraction:
    """Fraction of labelled pixels at or above a probability.

    Parameters
    ----------
    threshold
        The probability.
    """

    def __init__(self, threshold: float = 0.5) -> None:
        self.threshold = threshold
        self.reset()

    def update(
        self, probability: npt.NDArray[np.float32], target: npt.NDArray[np.bool_], labelled: npt.NDArray[np.bool_]
    ) -> None:
        """Take a chunk of the map, each array `(ny, nx)`."""
        self.marked += int((probability[labelled] >= self.threshold).sum())
        self.pixels += int(labelled.sum())

    def compute(self) -> float:
        """Return the fraction of all that was taken."""
        return self.marked / self.pixels if self.pixels else float("nan")

    def reset(self) -> None:
        """Forget all that was taken."""
        self.marked = self.pixels = 0

    def state(self) -> dict[str, int]:
        """Return what was taken, for other processes."""
        return {"marked": self.marked, "pixels": self.pixels}

    def merge(self, state: Mapping[str, npt.NDArray[np.int64]]) -> None:
        """Take what another process has taken."""
        self.marked, self.pixels = self.marked + int(state["marked"]), self.pixels + int(state["pixels"])
