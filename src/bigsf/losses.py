"""What training makes small: the family of losses, masked by weights.

A loss returns a sum and a weight; their ratio is the loss. Sums and weights add over batches and processes, so that
the loss of a set, or of a batch spread over processes, is the same however it was cut. A batch without labelled
pixels has sum 0 and weight 0: it contributes nothing and makes no NaN.
"""

from typing import Annotated, Literal, NamedTuple, Protocol, cast

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from bigsf.config import Config, CustomConfig, ignore_tag_case


class LossSum(NamedTuple):
    """A weighted sum of losses and the sum of its weights, both scalars."""

    total: Tensor
    weight: Tensor

    def mean(self) -> Tensor:
        """Return total over weight, 0 where nothing had weight."""
        return self.total / self.weight.clamp(min=1e-12)


class Loss(Protocol):
    """What the trainer calls."""

    def __call__(self, logits: Tensor, target: Tensor, weight: Tensor) -> LossSum:
        """Return the loss.

        Parameters
        ----------
        logits
            float32 `(b, 1, y, x)`.
        target
            0 or 1, float32 of the same shape.
        weight
            Weight of each pixel, 0 where it does not count.
        """
        ...


class LossConfig(Config):
    """The part common to all losses."""

    unlabelled_weight: float = Field(default=0.0, ge=0)
    """Weight of valid pixels without a label, taken as background; labelled ones have 1. Above 0 the model marks less
    of the map: catalogues are incomplete, but most of the sky is background."""


class BCEConfig(LossConfig):
    """Binary cross-entropy of each pixel."""

    type: Literal["bce"] = "bce"

    def build(self) -> Loss:
        """Return the loss."""
        return bce


def bce(logits: Tensor, target: Tensor, weight: Tensor) -> LossSum:
    """Sum of the binary cross-entropy over pixels."""
    return LossSum(F.binary_cross_entropy_with_logits(logits, target, weight, reduction="sum"), weight.sum())


class CustomLossConfig(LossConfig, CustomConfig):
    """A `Loss` of your own: the target is called with `kwargs` and returns it."""

    def build(self) -> Loss:
        """Import and call the target."""
        return cast(Loss, self.load()(**self.kwargs))


AnyLossConfig = Annotated[
    Annotated[BCEConfig | CustomLossConfig, Field(discriminator="type")],
    ignore_tag_case,
]
