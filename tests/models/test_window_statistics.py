from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from bigsf.arrays import FloatArray
from bigsf.models.window_statistics import (
    MOST_WINDOWS,
    QUANTITIES,
    Range,
    concatenated,
    map_statistics,
    noise_level,
    patch_spread,
    ranges,
    window_statistics,
)
from conftest import ArrayMap


def white_noise(n: int = 2, size: int = 128) -> Tensor:
    return 3 * torch.randn((n, 1, size, size), generator=torch.Generator().manual_seed(0))


def test_noise_and_spread_are_those_of_white_noise() -> None:
    noise = white_noise()
    noise[0, 0, :50] = torch.nan
    torch.testing.assert_close(noise_level(noise).flatten(), torch.tensor([3.0, 3.0]), rtol=0.03, atol=0)
    torch.testing.assert_close(patch_spread(noise).flatten(), torch.tensor([3.0, 3.0]), rtol=0.03, atol=0)


def test_white_noise_is_all_noise_and_not_smooth() -> None:
    found = window_statistics(30 + white_noise())
    expected = {"noise": 1.0, "smoothness": 1.0, "skewness": 1.0, "contrast": 0.1}
    for name in QUANTITIES:
        np.testing.assert_allclose(found[name], expected[name], rtol=0.04)


def test_a_slope_has_no_noise_and_is_as_smooth_as_can_be() -> None:
    y, x = np.mgrid[:21, :21]
    (noise,), (smoothness,), (skewness,), _ = window_statistics(
        torch.tensor(y + x, dtype=torch.float32)[None, None]
    ).values()
    assert (noise, smoothness, skewness) == (0, 2, 1)


def test_skewness_and_contrast_can_be_computed_by_hand() -> None:
    squares = torch.arange(101.0).square().expand(1, 1, 101, 101)  # quantiles: 5^2, 50^2, 95^2
    found = window_statistics(squares)
    assert found["skewness"] == pytest.approx((95**2 - 50**2) / (50**2 - 5**2))
    distance = np.median(np.abs(np.arange(101) ** 2 - 2500))
    assert found["contrast"] == pytest.approx(1.4826 * distance / 2500)


@pytest.mark.parametrize("change", [lambda window: 1e22 * window, lambda window: 5 * window + 1e3])
def test_unit_and_zero_level_make_no_difference_but_to_the_contrast(change: Callable[[Tensor], Tensor]) -> None:
    window = 100 + white_noise(5, 32).cumsum(dim=3)
    before, after = window_statistics(window), window_statistics(change(window))
    for name in ("noise", "smoothness", "skewness"):
        np.testing.assert_allclose(after[name], before[name], rtol=1e-3)


def test_a_window_of_one_value_has_no_statistics_and_one_that_is_mostly_missing_does_not_count() -> None:
    windows = torch.ones((3, 1, 16, 16))
    windows[1, :, :9] = torch.nan
    windows[2, :, :8] = torch.nan
    found = window_statistics(windows)
    np.testing.assert_array_equal(found["noise"], [np.nan, np.nan])
    assert ranges(found).keys() == {"contrast"}  # 0
    assert len(window_statistics(windows[1:2])["noise"]) == 0


def test_a_range_is_that_of_the_windows_that_have_the_quantity() -> None:
    values = np.append(np.arange(101.0), np.nan)
    statistics = window_statistics(torch.ones((1, 1, 16, 16)))
    found = ranges(statistics | {"noise": values})
    assert found["noise"] == Range(5, 50, 95)
    assert "smoothness" not in found


def test_small_windows_are_taken_together() -> None:
    statistics = window_statistics(torch.ones((1, 1, 16, 16))) | {"noise": np.tile([1.0, 2.0, 2.0, 9.0], 50)}
    assert ranges(statistics, 32)["noise"] == Range(2, 2, 2)
    assert ranges(statistics, 64)["noise"] == Range(1, 2, 9)


def field(ny: int, nx: int) -> FloatArray:
    image = np.random.default_rng(1).normal(size=(1, ny, nx)).cumsum(axis=1).cumsum(axis=2)
    return image.astype(np.float32)


def test_windows_of_a_map_overlap_by_half_and_leave_out_missing_areas() -> None:
    image = field(64, 96)
    image[:, :, 40:] = np.nan
    found = map_statistics(ArrayMap(image), 16)
    lefts = [0, 8, 16, 24, 32]  # the last one is half missing
    by_hand = [image[:, y : y + 16, x : x + 16] for y in range(0, 49, 8) for x in lefts]
    expected = window_statistics(torch.from_numpy(np.stack(by_hand)))
    assert len(found["noise"]) == 7 * 5
    np.testing.assert_array_equal(found["smoothness"], expected["smoothness"])


def test_a_binned_map_has_the_windows_of_its_means() -> None:
    image = field(96, 120)
    binned = image.reshape(1, 32, 3, 40, 3).mean(axis=(2, 4))
    found, expected = map_statistics(ArrayMap(image), 16, 3), map_statistics(ArrayMap(binned), 16)
    np.testing.assert_allclose(found["smoothness"], expected["smoothness"], rtol=1e-4)


class CountedMap(ArrayMap):
    """A map that counts the rows that were read."""

    rows = 0
    most = 0

    def read_rows(self, y0: int, y1: int) -> FloatArray:
        self.rows, self.most = self.rows + y1 - y0, max(self.most, y1 - y0)
        return super().read_rows(y0, y1)


def test_a_sample_of_a_large_map_is_bounded_and_reaches_from_end_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    large = CountedMap(field(2000, 600))
    found = map_statistics(large, 16)
    assert len(found["noise"]) == MOST_WINDOWS
    assert large.rows == 20 * 16
    np.testing.assert_array_equal(
        found["noise"][-1], window_statistics(torch.from_numpy(large.image[None, :, -16:, -16:]))["noise"][0]
    )
    monkeypatch.setattr("bigsf.models.window_statistics.CHUNK_PIXELS", 2000)
    narrow = CountedMap(large.image)
    np.testing.assert_array_equal(map_statistics(narrow, 16)["noise"], found["noise"])
    assert narrow.most == 3


def test_a_map_smaller_than_a_window_is_one_window() -> None:
    assert len(map_statistics(ArrayMap(field(10, 12)), 16)["noise"]) == 1
    for shape in ((1, 1), (1, 40), (4, 40)):
        assert len(map_statistics(ArrayMap(field(*shape)), 16)["noise"]) == 0
    assert (
        ranges(concatenated([])) == ranges(map_statistics(ArrayMap(np.full((1, 40, 40), np.nan, np.float32)), 16)) == {}
    )
