"""Logits and labels -> weighted sums of losses: the family of losses.

A loss returns a sum and the sum of the weights; their ratio is the loss. Both sums add over batches and processes. For
losses that are sums over pixels (bce, focal), the loss of a set is therefore the same however it is divided into
batches. Losses of overlaps and skeletons (dice, tversky, cldice, skeleton_recall) compare whole batches, so that it is
only nearly the same. A batch in which no pixel has weight has sum 0 and weight 0, and thus no effect.
"""

from functools import partial
from typing import Annotated, ClassVar, Literal, NamedTuple, Protocol

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from bigsf.config import Component, CustomConfig, ignore_tag_case
from bigsf.errors import ConfigError


class LossSum(NamedTuple):
    """A weighted sum of losses and the sum of its weights.

    Examples
    --------
    >>> bigsf.LossSum(torch.tensor(6.0), torch.tensor(3.0)).mean()
    tensor(2.)
    """

    total: Tensor
    """Sum of weight times loss, a scalar."""
    weight: Tensor
    """Sum of the weights, a scalar."""

    def mean(self) -> Tensor:
        """Return total over weight; 0 where nothing has weight."""
        return self.total / self.weight.clamp(min=1e-12)


class Loss(Protocol):
    """The quantity that training minimises."""

    def __call__(self, logits: Tensor, target: Tensor, weight: Tensor) -> LossSum:
        """Return the loss of a batch.

        Parameters
        ----------
        logits
            float32 `(b, 1, y, x)`.
        target
            1 on structures and 0 elsewhere, float32 of the same shape.
        weight
            Weight of each pixel, float32 of the same shape; 0 where the pixel does not count.
        """
        ...


def checked(answer: LossSum) -> LossSum:
    """Return what a loss, which may be the user's own, has returned.

    Raises
    ------
    ConfigError
        Where it is no sum of tensors of one number each.
    """
    if not isinstance(answer, LossSum):
        raise ConfigError(f"The loss returns {type(answer).__name__}; expected bigsf.LossSum(total, weight).")
    for name, value in answer._asdict().items():
        if not isinstance(value, Tensor):
            raise ConfigError(f"The loss returns a {name} of type {type(value).__name__}; expected a tensor.")
        if value.ndim:
            raise ConfigError(f"The loss returns a {name} of shape {tuple(value.shape)}; expected one number.")
    return answer


class BCE(Loss):
    """Binary cross-entropy, summed over pixels."""

    @override
    def __call__(self, logits: Tensor, target: Tensor, weight: Tensor) -> LossSum:
        return LossSum(F.binary_cross_entropy_with_logits(logits, target, weight, reduction="sum"), weight.sum())


class Focal(Loss):
    """Focal loss (Lin et al. 2017), summed over pixels: (1 - probability of the target)**gamma times the BCE."""

    def __init__(self, gamma: float) -> None:
        self.gamma = gamma

    @override
    def __call__(self, logits: Tensor, target: Tensor, weight: Tensor) -> LossSum:
        entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        wrong = (target - logits.sigmoid()).abs().clamp(min=_LEAST_WRONG)
        return LossSum((weight * wrong**self.gamma * entropy).sum(), weight.sum())


class Tversky(Loss):
    """Tversky loss of a whole batch (Salehi et al. 2017); with alpha = beta = 1/2 it is the Dice loss."""

    def __init__(self, alpha: float = 0.5, beta: float = 0.5) -> None:
        self.alpha, self.beta = alpha, beta

    @override
    def __call__(self, logits: Tensor, target: Tensor, weight: Tensor) -> LossSum:
        probability = logits.sigmoid()
        true = (weight * probability * target).sum()
        false_positive = (weight * probability * (1 - target)).sum()
        false_negative = (weight * (1 - probability) * target).sum()
        whole = true + self.alpha * false_positive + self.beta * false_negative
        return _of_batch(1 - (true + _SMOOTH) / (whole + _SMOOTH), weight)


class CenterlineDice(Loss):
    """Centreline Dice of soft skeletons (Shit et al. 2021), for the pixels that have weight."""

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


class SkeletonRecall(Loss):
    """1 - recall of the target's skeletons in a whole batch (after Kirchhoff et al. 2024, arXiv 2404.03010).

    A skeleton is widened by one pixel on each side, within the target, so that a wide structure counts hardly more
    than a narrow one of the same length. Here it is morphological (Lantuéjoul 1978); in the paper, it is thinned and
    widened by two pixels.
    """

    @override
    def __call__(self, logits: Tensor, target: Tensor, weight: Tensor) -> LossSum:
        truth = target * (weight > 0)
        line = weight * truth * F.max_pool2d(_skeleton(truth), 3, stride=1, padding=1)
        found = (line * logits.sigmoid()).sum()
        return _of_batch(1 - (found + _SMOOTH) / (line.sum() + _SMOOTH), weight)


class Mixed(Loss):
    """The weighted mean of two losses of the same pixels."""

    def __init__(self, first: Loss, second: Loss, share_of_second: float) -> None:
        self.first, self.second, self.share = first, second, share_of_second

    @override
    def __call__(self, logits: Tensor, target: Tensor, weight: Tensor) -> LossSum:
        first, second = self.first(logits, target, weight), self.second(logits, target, weight)
        return LossSum((1 - self.share) * first.total + self.share * second.total, first.weight)


def soft_skeleton(mask: Tensor, iterations: int) -> Tensor:
    """Return the soft skeleton of masks or probabilities `(b, 1, y, x)` (Shit et al. 2021, algorithm 1)."""
    skeleton = F.relu(mask - _opened(mask))
    for _ in range(iterations):
        mask = _eroded(mask)
        ridge = F.relu(mask - _opened(mask))
        skeleton = skeleton + F.relu(ridge - skeleton * ridge)
    return skeleton


def _skeleton(mask: Tensor) -> Tensor:
    """Return the morphological skeleton of masks `(b, 1, y, x)` of any width: what each erosion and opening parts."""
    skeleton = mask - _opened(mask)
    while not torch.equal(thinner := _eroded(mask), mask):
        mask = thinner
        skeleton = torch.maximum(skeleton, mask - _opened(mask))
    return skeleton


def _eroded(mask: Tensor) -> Tensor:
    return -F.max_pool2d(-mask, 3, stride=1, padding=1)


def _opened(mask: Tensor) -> Tensor:
    return F.max_pool2d(_eroded(mask), 3, stride=1, padding=1)


_SMOOTH = 1.0  # pixels; it keeps ratios of empty masks defined
_LEAST_WRONG = 1e-12  # the derivative of a root is infinite at 0


def _of_batch(value: Tensor, weight: Tensor) -> LossSum:
    """Return the loss of a whole batch as a sum over its pixels."""
    return LossSum(value * weight.sum(), weight.sum())


class LossConfig(Component[Loss]):
    """The part common to all losses."""

    not_arguments: ClassVar[frozenset[str]] = frozenset({"type", "unlabelled_weight"})

    unlabelled_weight: NonNegativeFloat = 0.3
    """Weight of valid pixels without a label, which count as background; labelled pixels have weight 1. Above 0 the
    model marks less of the map: catalogues are incomplete, but most of the sky is background."""


class BCEConfig(LossConfig, builds=BCE):
    """Binary cross-entropy of each pixel."""

    type: Literal["bce"] = "bce"


class FocalConfig(LossConfig, builds=Focal):
    """Binary cross-entropy with less weight on pixels that are right already (Lin et al. 2017)."""

    type: Literal["focal"]

    gamma: NonNegativeFloat = 2.0
    """How fast the weight falls for pixels that are right; with 0 the loss is bce."""


class TverskyConfig(LossConfig, builds=Tversky):
    """1 - TP / (TP + alpha FP + beta FN), with probabilities for counts (Salehi et al. 2017)."""

    type: Literal["tversky"]

    alpha: NonNegativeFloat = 0.3
    """Cost of a false positive; a higher cost marks less."""

    beta: NonNegativeFloat = 0.7
    """Cost of a false negative; a higher cost marks more."""


class DiceLossConfig(LossConfig, builds=partial(Tversky, alpha=0.5, beta=0.5)):
    """1 - Dice, with probabilities for counts (Milletari et al. 2016)."""

    type: Literal["dice"]


class BCEDiceConfig(LossConfig, builds=lambda dice_weight: Mixed(BCE(), Tversky(), dice_weight)):
    """The weighted mean of bce and dice."""

    type: Literal["bce_dice"]

    dice_weight: float = Field(default=0.5, ge=0, le=1)
    """Share of dice; the rest is bce."""


class CLDiceConfig(
    LossConfig,
    builds=lambda cldice_weight, iterations: Mixed(Tversky(), CenterlineDice(iterations), cldice_weight),
):
    """The weighted mean of dice and centreline Dice, which compares soft skeletons to keep thin structures whole."""

    type: Literal["cldice"]

    cldice_weight: float = Field(default=0.5, ge=0, le=1)
    """Share of centreline Dice; the rest is Dice."""

    iterations: PositiveInt = 5
    """Steps of the soft skeleton: half the width in pixels of the widest structure."""


class SkeletonRecallConfig(LossConfig, builds=lambda recall_weight: Mixed(BCE(), SkeletonRecall(), recall_weight)):
    """The weighted mean of bce and 1 - recall of the target's skeletons, in which wide structures count hardly more."""

    type: Literal["skeleton_recall"]

    recall_weight: float = Field(default=0.4, ge=0, le=1)
    """Share of skeleton recall; the rest is bce."""


class CustomLossConfig(LossConfig, CustomConfig[Loss]):
    """A `Loss` of your own: the target is called with `kwargs` and returns it."""


AnyLossConfig = Annotated[
    Annotated[
        BCEConfig
        | DiceLossConfig
        | BCEDiceConfig
        | FocalConfig
        | TverskyConfig
        | CLDiceConfig
        | SkeletonRecallConfig
        | CustomLossConfig,
        Field(discriminator="type"),
    ],
    ignore_tag_case,
]
