import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bigsf.training.components.losses import AnyLossConfig, BCEConfig, FocalConfig, LossSum, SkeletonRecallConfig
from conftest import own_members

LOSSES = own_members(AnyLossConfig)
each_loss = pytest.mark.parametrize("config", LOSSES, ids=lambda config: config.type)


def batch(seed: int = 0, n: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits, target and weight; half of the pixels have no weight."""
    generator = torch.Generator().manual_seed(seed)
    logits, chance = (torch.randn((n, 1, 8, 12), generator=generator) for _ in range(2))
    target = (torch.randn(logits.shape, generator=generator) > 0.5).float()
    return 3 * logits, target, (chance > 0).float()


def add(*parts: LossSum) -> LossSum:
    return LossSum(sum((p.total for p in parts), torch.zeros(())), sum((p.weight for p in parts), torch.zeros(())))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_the_focal_loss_has_a_gradient_where_the_answer_is_exact(gamma: float) -> None:
    logits = torch.tensor([[[[30.0, -200.0, 0.0]]]], requires_grad=True)
    target, weight = torch.tensor([[[[1.0, 0.0, 1.0]]]]), torch.ones(1, 1, 1, 3)
    FocalConfig(type="focal", gamma=gamma).build()(logits, target, weight).mean().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad.flatten()[2] < 0


@pytest.mark.parametrize("config", [loss for loss in LOSSES if loss.type in ("bce", "focal")])
@settings(max_examples=20)
@given(seed=st.integers(0, 999), edges=st.lists(st.integers(0, 5), max_size=3))
def test_losses_that_are_sums_over_pixels_add_over_any_division(
    config: AnyLossConfig, seed: int, edges: list[int]
) -> None:
    loss, arrays = config.build(), batch(seed)
    bounds = sorted({0, 5, *edges})
    parts = add(*(loss(*(a[i:j] for a in arrays)) for i, j in pairwise(bounds)))
    whole = loss(*arrays)
    torch.testing.assert_close(parts.total, whole.total)
    torch.testing.assert_close(parts.weight, whole.weight)


@each_loss
def test_pixels_without_weight_do_not_matter(config: AnyLossConfig) -> None:
    loss, (logits, target, weight) = config.build(), batch()
    other = torch.where(weight > 0, logits, -1e4 * logits), torch.where(weight > 0, target, 1 - target)
    torch.testing.assert_close(tuple(loss(*other, weight)), tuple(loss(logits, target, weight)))


@each_loss
def test_pixels_without_weight_have_no_gradient(config: AnyLossConfig) -> None:
    logits, target, weight = batch()
    logits.requires_grad_()
    config.build()(logits, target, weight).mean().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert not logits.grad[weight == 0].any()
    assert logits.grad[weight > 0].any()


@each_loss
def test_batch_without_labels_gives_zero_and_no_gradient(config: AnyLossConfig) -> None:
    logits, target, weight = batch()
    logits.requires_grad_()
    result = config.build()(logits, target, torch.zeros_like(weight))
    result.mean().backward()  # type: ignore[no-untyped-call]
    assert [float(number.detach()) for number in (*result, result.mean())] == [0, 0, 0]
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@each_loss
def test_certain_logits_are_finite_and_right_ones_cost_less(config: AnyLossConfig) -> None:
    _, target, weight = batch()
    right, wrong = (config.build()(sign * 100 * (2 * target - 1), target, weight).mean() for sign in (1, -1))
    assert 0 <= float(right) < float(wrong) < math.inf


@each_loss
def test_following_the_gradient_lowers_the_loss(config: AnyLossConfig) -> None:
    loss, (logits, target, weight) = config.build(), batch()
    logits.requires_grad_()
    before = loss(logits, target, weight).mean()
    before.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert float(loss(logits.detach() - 0.1 * logits.grad, target, weight).mean()) < float(before.detach())


@each_loss
def test_unlabelled_pixels_cost_less_the_less_they_weigh(config: AnyLossConfig) -> None:
    """A false structure on unlabelled sky, beside a true one on labelled."""
    target = torch.zeros(1, 1, 32, 32)
    target[..., 6:9, :] = 1
    logits = torch.where(target > 0, 6.0, -6.0)
    logits[..., 20:23, :] = 6.0
    loss = config.build()

    def cost(unlabelled: float) -> float:
        weight = torch.ones_like(target)
        weight[..., 16:, :] = unlabelled
        found = loss(logits, target, weight)
        return float(found.total / found.weight)

    assert cost(0.1) < cost(0.5) < cost(1.0)


def test_bce_by_hand() -> None:
    logits = torch.tensor([0.0, math.log(3)]).reshape(1, 1, 1, 2)
    result = BCEConfig().build()(logits, torch.tensor([1.0, 0.0]).reshape(logits.shape), torch.tensor([[[[1.0, 0.5]]]]))
    assert float(result.total) == pytest.approx(math.log(2) + 0.5 * math.log(4))
    assert float(result.weight) == 1.5
    assert float(result.mean()) == pytest.approx(4 / 3 * math.log(2))


@pytest.mark.parametrize(
    ("width", "found", "recall"),
    [
        (7, (14, 17), 1),  # the middle of the bar is row 15
        (7, (12, 14), 0),
        (7, (14, 15), 1 / 3),
        (1, (12, 13), 1),  # nothing beside the target counts
        (16, (19, 21), 1 / 2),  # two rows in the middle, and one on either side
    ],
)
def test_skeleton_recall_counts_the_pixels_about_the_middle(width: int, found: tuple[int, int], recall: float) -> None:
    target = torch.zeros(1, 1, 64, 400)
    target[..., 12 : 12 + width, :] = 1
    logits = torch.full_like(target, -50)
    logits[..., slice(*found), :] = 50
    config = SkeletonRecallConfig(type="skeleton_recall", recall_weight=1)
    result = config.build()(logits, target, torch.ones_like(target))
    assert float(result.mean()) == pytest.approx(1 - recall, abs=0.01)


def test_skeleton_recall_of_a_patch_that_is_all_target() -> None:
    target = torch.ones(1, 1, 8, 8)
    loss = SkeletonRecallConfig(type="skeleton_recall").build()
    assert 0 <= float(loss(torch.full_like(target, 50), target, target).mean()) < 1e-3
