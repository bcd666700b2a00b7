import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigsf.evaluation.seams import SeamContrast


def test_a_step_at_every_border_is_found() -> None:
    predictor = np.zeros((8, 9), np.uint8)
    predictor[:, 5:] += 1
    predictor[4:] += 2
    jump = SeamContrast()
    for y in (0, 4):
        jump.update(0.25 * predictor[y : y + 4].astype(np.float32), predictor[y : y + 4])
    table = jump.table()
    assert table["pairs"] == 8 + 9
    assert table["across"] == pytest.approx((8 * 0.25 + 9 * 0.5) / 17)
    assert table["beside"] == 0


def test_a_smooth_map_has_no_jump() -> None:
    y, x = np.mgrid[:12, :20]
    jump = SeamContrast()
    for top in (0, 4, 8):
        jump.update((0.02 * x + 0.02 * y)[top : top + 4].astype(np.float32), (x // 5 + y // 4)[top : top + 4])
    table = jump.table()
    assert table["across"] == pytest.approx(0.02, rel=1e-4)
    assert table["beside"] == pytest.approx(0.02, rel=1e-4)


@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(2, 5))
def test_bands_count_what_the_whole_map_counts(seed: int, rows: int, height: int) -> None:
    generator = np.random.default_rng(seed)
    values = generator.random((rows * height, 11)).astype(np.float32)
    values[generator.random(values.shape) < 0.1] = np.nan
    predictor = generator.integers(1, 4, (rows, 4)).repeat(height, 0).repeat(3, 1)[:, :11]
    jump = SeamContrast()
    for y in range(0, len(values), height):
        jump.update(values[y : y + height], predictor[y : y + height])
    across = []
    for step_y, step_x in ((0, 1), (1, 0)):
        here, there = np.s_[: len(values) - step_y, : 11 - step_x], np.s_[step_y:, step_x:]
        across.append(abs(values[here] - values[there])[predictor[here] != predictor[there]])
    finite = np.concatenate(across)[np.isfinite(np.concatenate(across))]
    table = jump.table()
    assert table["pairs"] == len(finite)
    if len(finite):
        assert table["across"] == pytest.approx(finite.mean(), rel=1e-4)


def test_nothing_to_compare_is_not_a_number() -> None:
    jump = SeamContrast()
    jump.update(np.ones((4, 4), np.float32), np.ones((4, 4), np.uint8))
    assert np.isnan(jump.table()["across"])
