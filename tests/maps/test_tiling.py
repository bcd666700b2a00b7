import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigsf.maps.tiling import bands, blend_weight, count_in_windows, window_starts

quick = settings(max_examples=60, deadline=None)
sizes = st.integers(1, 30)


@quick
@given(sizes, sizes, st.data())
def test_windows_cover_every_pixel_and_none_outside(length: int, window: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, window))
    painted = np.zeros(length + window, int)
    for start in window_starts(length, window, stride):
        painted[start : start + window] += 1
    assert painted[:length].min() > 0
    assert painted[max(length, window) :].sum() == 0


@quick
@given(sizes, sizes, sizes)
def test_window_starts_rise_by_the_stride_and_end_flush(length: int, window: int, stride: int) -> None:
    starts = window_starts(length, window, stride)
    assert starts[0] == 0
    assert starts[-1] == max(length - window, 0)
    assert set(np.diff(starts)[:-1]) <= {stride}
    assert all(0 < step <= stride for step in np.diff(starts))


def test_window_starts_by_hand() -> None:
    assert window_starts(10, 4, 2).tolist() == [0, 2, 4, 6]
    assert window_starts(11, 4, 2).tolist() == [0, 2, 4, 6, 7]
    assert window_starts(3, 4, 2).tolist() == [0]


@pytest.mark.parametrize("window", [1, 2, 5, 32, 256])
def test_blend_weights_are_positive_and_symmetric(window: int) -> None:
    weight = blend_weight(window)
    assert weight.shape == (window, window)
    assert weight.min() > 0
    np.testing.assert_allclose(weight, weight[::-1, ::-1], rtol=1e-4)
    np.testing.assert_array_equal(weight, weight.T)


@quick
@given(st.integers(1, 16), st.integers(2, 5), st.integers(2, 5))
def test_blend_weights_at_half_stride_sum_to_a_constant(half: int, down: int, across: int) -> None:
    total = np.zeros(((down + 1) * half, (across + 1) * half))
    for y in range(down):
        for x in range(across):
            total[y * half : (y + 2) * half, x * half : (x + 2) * half] += blend_weight(2 * half)
    np.testing.assert_allclose(total[half:-half, half:-half], 1, rtol=1e-5)


@quick
@given(st.integers(0, 50), sizes)
def test_bands_follow_each_other(length: int, rows: int) -> None:
    assert [y for y0, y1 in bands(length, rows) for y in range(y0, y1)] == list(range(length))
    assert all(y1 - y0 <= rows for y0, y1 in bands(length, rows))


@quick
@given(st.integers(1, 6), st.integers(0, 9), st.integers(0, 9), st.integers(1, 4), st.integers(0, 2**31))
def test_counts_in_windows_are_those_of_slices(window: int, down: int, across: int, stride: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((window + down, window + across)) < 0.3
    y, x = (window_starts(length, window, stride) for length in mask.shape)
    expected = [[mask[i : i + window, j : j + window].sum() for j in x] for i in y]
    np.testing.assert_array_equal(count_in_windows(mask, window, y, x), expected)
