import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigsf.arrays import BoolArray
from bigsf.metrics.skeleton_score import SkeletonScore


def line(y: int, x0: int = 5, x1: int = 35) -> BoolArray:
    mask = np.zeros((30, 40), np.bool_)
    mask[y, x0:x1] = True
    return mask


everywhere = np.ones((30, 40), np.bool_)


def scored(found: BoolArray, true: BoolArray, predicted: BoolArray = everywhere) -> dict[str, float]:
    score = SkeletonScore()
    score.update(found, true, predicted)
    return score.table()


def test_the_same_lines_are_perfect() -> None:
    assert set(scored(line(10), line(10)).values()) == {1.0}


def test_a_line_beside_the_true_one_counts_from_its_distance_on() -> None:
    table = scored(line(12), line(10))
    assert table["cldice"] == 0
    assert [table[f"completeness_{radius}px"] for radius in (1, 2, 3)] == [0, 1, 1]
    assert [table[f"purity_{radius}px"] for radius in (1, 2, 3)] == [0, 1, 1]


def test_half_a_line_is_pure_and_half_complete() -> None:
    table = scored(line(10, 5, 20), line(10))
    assert table["purity_1px"] == 1
    assert table["completeness_1px"] == pytest.approx(16 / 30)  # the end reaches a pixel further
    assert table["cldice"] == pytest.approx(2 / 3)


def test_only_predicted_pixels_count() -> None:
    predicted = everywhere.copy()
    predicted[:, 20:] = False
    assert scored(line(10, 5, 20), line(10), predicted)["completeness_1px"] == 1


@pytest.mark.parametrize(("found", "true"), [(True, False), (False, True), (False, False)])
def test_absent_lines(found: bool, true: bool) -> None:
    nothing = np.zeros((30, 40), np.bool_)
    table = scored(line(10) if found else nothing, line(10) if true else nothing)
    assert np.isnan(table["purity_1px"]) == (not found)
    assert np.isnan(table["completeness_1px"]) == (not true)
    assert table["cldice"] == 0 if found or true else np.isnan(table["cldice"])


@given(st.integers(0, 2**31))
def test_parts_add_up(seed: int) -> None:
    found, true = np.random.default_rng(seed).random((2, 20, 20)) < 0.3
    left = np.arange(20) < 8
    whole, first, second = SkeletonScore(), SkeletonScore(), SkeletonScore()
    whole.update(found, true, np.ones((20, 20), np.bool_))
    first.update(found, true, np.broadcast_to(left, (20, 20)))
    second.update(found, true, np.broadcast_to(~left, (20, 20)))
    first.merge(second.state())
    assert first.table() == pytest.approx(whole.table(), nan_ok=True)
    first.reset()
    assert np.isnan(first.table()["purity_1px"])
