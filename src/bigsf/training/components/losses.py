"""Logits + target + weights of pixels -> loss: the family of losses.

A loss returns a sum and a weight, and their ratio is the value of the loss. Sums and weights are added over batches and
processes. Losses that are sums over pixels (bce, focal) therefore do not depend on how a data set is divided into
batches, or a batch into processes. Overlap losses (dice, tversky, cldice) compare whole batches and depend on it a
little. A batch without pixels of weight above 0 has sum 0 and weight 0, so that it changes nothing and is never NaN.
"""

from typing import Annotated, ClassVar, Literal, NamedTuple, Protocol

from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from bigsf.config import Component, CustomConfig, ignore_tag_case


class LossSum(NamedTuple):
    """A weighted sum of losses and the sum of its weights, both scalars."""

    total: Tensor
    weight: Tensor

    def mean(self) -> Tensor:
        """Return total over weight; 0 where no pixel has weight."""
        return self.total / self.weight.clamp(min=1e-12)


class Loss(Protocol):
    """A function from logits, target and weights to a loss."""

    def __call__(self, logits: Tensor, target: Tensor, weight: Tensor) -> LossSum:
        """Return the loss.

        Parameters
        ----------
        logits
            float32 `(b, 1, y, x)`.
        target
            0 or 1, float32 of the same shape.
        weight
            Weight of each pixel, of the same shape; 0 where it does not count.
        """
        ...


class LossConfig(Component[Loss]):
    """The part common to all losses."""

    not_arguments: ClassVar[frozenset[str]] = frozenset({"type", "unlabelled_weight"})

    unlabelled_weight: NonNegativeFloat = 0.3
    """Weight of valid pixels without a label, taken as background; labelled ones have 1. Above 0 the model marks less
    of the map: catalogues are incomplete, but most of the sky is background."""


def bce(logits: Tensor, target: Tensor, weight: Tensor) -> LossSum:
    """Return the binary cross-entropy, summed over pixels."""
    return LossSum(F.binary_cross_entropy_with_logits(logits, target, weight, reduction="sum"), weight.sum())


class BCEConfig(LossConfig, builds=lambda: bce):
    """Binary cross-entropy of each pixel."""

    type: Literal["bce"] = "bce"


class Focal(Loss):
    """The sum over pixels of (1 - p)**gamma times the binary cross-entropy, with p the probability of the target."""

    def __init__(self, gamma: float) -> None:
        self.gamma = gamma

    @override
    def __call__(self, logits: Tensor, target: Tensor, weight: Tensor) -> LossSum:
        entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        wrong = (target - logits.sigmoid()).abs()
        return LossSum((weight * wrong**self.gamma * entropy).sum(), weight.sum())


class FocalConfig(LossConfig, builds=Focal):
    """Binary cross-entropy that fades for pixels that are right already (Lin et al. 2017)."""

    type: Literal["focal"]

    gamma: NonNegativeFloat = 2.0
    """How fast easy pixels fade; 0 is bce."""


class Tversky(Loss):
    """The Tversky loss of a whole batch; alpha = beta = 1/2 is the Dice loss."""

    def __init__(self, alpha: float, beta: float) -> None:
        self.alpha, self.beta = alpha, beta

    @override
    def __call__(self, logits: Tensor, target: Tensor, weight: Tensor) -> LossSum:
        probability = logits.sigmoid()
        true = (weight * probability * target).sum()
        false_positive = (weight * probability * (1 - target)).sum()
        false_negative = (weight * (1 - probability) * target).sum()
        whole = true + self.alpha * false_positive + self.beta * false_negative
        return _of_batch(1 - (true + _SMOOTH) / (whole + _SMOOTH), weight)


class TverskyConfig(LossConfig, builds=Tversky):
    """1 - TP / (TP + alpha FP + beta FN), with probabilities for counts (Salehi et al. 2017)."""

    type: Literal["tversky"]

    alpha: NonNegativeFloat = 0.3
    """Cost of a false positive; more of it marks less."""

    beta: NonNegativeFloat = 0.7
    """Cost of a false negative; more of it marks more."""


class DiceLossConfig(LossConfig, builds=lambda: Tversky(0.5, 0.5)):
    """1 - Dice, with probabilities for counts (Milletari et al. 2016)."""

    type: Literal["dice"]


class CLDice(Loss):
    """Centreline Dice on soft skeletons (Shit et al. 2021), over pixels that have weight."""

    def __init__(self, iterations: int) -> None:
        self.iterations = iterations

    @override
    def __call__(self, logits: Tensor, target: Tensor, weight: Tensor) -> LossSum:
        counted = (weight > 0).float()
        probability, truth = logits.sigmoid() * counted, target * counted
        found_line, true_line = (soft_skeleton(mask, self.iterations) for mask in (probability, truth))
        found_line, true_line = found_line * weight, true_line * weight
        precision = ((found_line * truth).sum() + _SMOOTH) / (found_line.sum() + _SMOOTH)
        sensitivity = ((true_line * probability).sum() + _SMOOTH) / (true_line.sum() + _SMOOTH)
        return _of_batch(1 - 2 * precision * sensitivity / (precision + sensitivity), weight)


def soft_skeleton(mask: Tensor, iterations: int) -> Tensor:
    """Return the soft skeleton of masks or probabilities `(b, 1, y, x)` (Shit et al. 2021, algorithm 1)."""
    skeleton = F.relu(mask - _opened(mask))
    for _ in range(iterations):
        mask = _eroded(mask)
        ridge = F.relu(mask - _opened(mask))
        skeleton = skeleton + F.relu(ridge - skeleton * ridge)
    return skeleton


class Mixed(Loss):
    """The weighted mean of two losses of the same pixels."""

    def __init__(self, first: Loss, second: Loss, share_of_second: float) -> None:
        self.first, self.second, self.share = first, second, share_of_second

    @override
    def __call__(self, logits: Tensor, target: Tensor, weight: Tensor) -> LossSum:
        first, second = self.first(logits, target, weight), self.second(logits, target, weight)
        return LossSum((1 - self.share) * first.total + self.share * second.total, first.weight)


class BCEDiceConfig(LossConfig, builds=lambda dice_weight: Mixed(bce, Tversky(0.5, 0.5), dice_weight)):
    """The mean of bce and dice, weighted."""

    type: Literal["bce_dice"]

    dice_weight: float = Field(default=0.5, ge=0, le=1)
    """Share of dice; the rest is bce."""


class CLDiceConfig(
    LossConfig, builds=lambda cldice_weight, iterations: Mixed(Tversky(0.5, 0.5), CLDice(iterations), cldice_weight)
):
    """Dice and centreline Dice, weighted: the latter compares soft skeletons, so that thin structures stay whole."""

    type: Literal["cldice"]

    cldice_weight: float = Field(default=0.5, ge=0, le=1)
    """Share of centreline Dice; the rest is Dice."""

    iterations: PositiveInt = 5
    """Steps of the soft skeleton: half the width in pixels of the widest structure."""


class CustomLossConfig(LossConfig, CustomConfig[Loss]):
    """A `Loss` of your own: the target is called with `kwargs` and returns it."""


AnyLossConfig = Annotated[
    Annotated[
        BCEConfig | DiceLossConfig | BCEDiceConfig | FocalConfig | TverskyConfig | CLDiceConfig | CustomLossConfig,
        Field(discriminator="type"),
    ],
    ignore_tag_case,
]


_SMOOTH = 1.0  # in pixels; ratios of empty masks are defined with it


def _of_batch(value: Tensor, weight: Tensor) -> LossSum:
    """Return the loss of a whole batch as a sum over its pixels."""
    return LossSum(value * weight.sum(), weight.sum())


def _eroded(mask: Tensor) -> Tensor:
    return -F.max_pool2d(-mask, 3, stride=1, padding=1)


def _opened(mask: Tensor) -> Tensor:
    return F.max_pool2d(_eroded(mask), 3, stride=1, padding=1)
