import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from bigsf.folds.areas import AreaGrid, distinct_width
from bigsf.maps.wcs import sky_period_px
from conftest import galactic_header

quick = settings(max_examples=50, deadline=None)


def test_regular_areas_by_hand() -> None:
    areas = AreaGrid.regular((10, 25), area_size=8, patch_size=3, period_px=np.inf)
    assert areas.y_edges == (0, 10)  # 2 rows are too narrow for a patch and join the area above
    assert areas.x_edges == (0, 8, 16, 25)
    assert areas.shape == (1, 3)


def test_remainder_wide_enough_for_a_patch_is_an_area() -> None:
    areas = AreaGrid.regular((11, 19), area_size=8, patch_size=3, period_px=np.inf)
    assert (areas.y_edges, areas.x_edges) == ((0, 8, 11), (0, 8, 16, 19))


def test_map_smaller_than_an_area_is_one_area() -> None:
    assert AreaGrid.regular((5, 6), area_size=64, patch_size=9, period_px=np.inf).shape == (1, 1)


@quick
@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 50), st.integers(1, 50))
def test_regular_areas_tile_the_map_and_hold_a_patch(ny: int, nx: int, area_size: int, patch_size: int) -> None:
    areas = AreaGrid.regular((ny, nx), max(area_size, patch_size), patch_size, np.inf)
    for edges, length in ((areas.y_edges, ny), (areas.x_edges, nx)):
        assert (edges[0], edges[-1]) == (0, length)
        assert min(np.diff(edges)) >= min(patch_size, length)


@quick
@given(st.integers(8, 200), st.integers(8, 200), st.integers(1, 8))
def test_strips_are_equal_and_along_the_longer_axis(ny: int, nx: int, k: int) -> None:
    areas = AreaGrid.strips((ny, nx), k, np.inf)
    assert areas.shape == ((k, 1) if ny > nx else (1, k))
    long = areas.y_edges if ny > nx else areas.x_edges
    assert (long[0], long[-1]) == (0, max(ny, nx))
    assert np.ptp(np.diff(long)) <= 1


def test_areas_stop_where_the_sky_repeats() -> None:
    assert AreaGrid.regular((10, 48), 10, 4, period_px=40.7).x_edges == (0, 10, 20, 30, 40)
    assert AreaGrid.strips((10, 48), 4, period_px=40.7).x_edges == (0, 10, 20, 30, 40)
    assert distinct_width(48, 40.7) == 40
    assert distinct_width(30, 40.7) == 30
    assert distinct_width(48, np.inf) == 48


@quick
@given(st.integers(4, 30), st.integers(4, 30), st.integers(2, 12), st.integers(0, 2**31))
def test_sums_and_membership_are_those_of_slices(ny: int, nx: int, area_size: int, seed: int) -> None:
    mask = np.random.default_rng(seed).integers(0, 2, (ny, nx)).astype(np.uint8)
    areas = AreaGrid.regular((ny, nx), area_size, 2, np.inf)
    numbers = np.arange(np.prod(areas.shape)).reshape(areas.shape)
    by_area = np.zeros((ny, nx), int)
    for (i, j), number in np.ndenumerate(numbers):
        part = slice(areas.y_edges[i], areas.y_edges[i + 1]), slice(areas.x_edges[j], areas.x_edges[j + 1])
        by_area[part] = number
        assert areas.sums(mask)[i, j] == mask[part].sum()
    positions = np.argwhere(mask >= 0)
    np.testing.assert_array_equal(numbers[areas.area_of(positions)], by_area.ravel())
    np.testing.assert_array_equal(areas.rows(numbers, 1, ny - 1), by_area[1:-1])


def test_sums_leave_out_sky_shown_twice() -> None:
    areas = AreaGrid.regular((4, 12), 5, 2, period_px=10.0)
    assert areas.sums(np.ones((4, 12), np.uint8)).tolist() == [[20, 20]]


@pytest.mark.parametrize("period", [40.0, 40.3, 40.7])
def test_sky_shown_twice_belongs_to_the_area_of_its_first_showing(period: float) -> None:
    areas = AreaGrid.regular((4, 48), 10, 4, period)
    numbers = np.array([[1, 2, 3, 4]])
    (row,) = areas.rows(numbers, 0, 1)
    assert row[:40].tolist() == [1] * 10 + [2] * 10 + [3] * 10 + [4] * 10
    assert set(row[41:].tolist()) == {1}
    assert row[40] in (1, 4)  # it lies across the seam


@pytest.mark.parametrize("period", [10.0, 10.2, 10.6])
def test_a_map_may_show_the_sky_three_times(period: float) -> None:
    areas = AreaGrid.regular((4, 31), 5, 2, period)
    (row,) = areas.rows(np.array([[1, 2]]), 0, 1)
    for turn in (1, 2):
        first = np.arange(np.ceil(turn * period), np.ceil(turn * period) + 4).astype(int)
        assert set(row[first].tolist()) == {1}
        assert set(row[first + 5].tolist()) == {2}
    _, new_sky = areas.keeps(np.array([[0, 0], [0, 22]]), 2, 0, 0)
    assert new_sky.tolist() == [True, False]


@pytest.mark.parametrize(
    ("overlap", "gap", "last_y", "last_x"),
    [(0, 0, [6, 16], [6, 16, 21]), (3, 0, [9, 16], [9, 19, 21]), (0, 2, [4, 16], [4, 14, 21])],
)
def test_patches_kept_by_hand(overlap: int, gap: int, last_y: list[int], last_x: list[int]) -> None:
    areas = AreaGrid.regular((20, 25), 10, 4, np.inf)
    y = np.arange(17)
    inside, new_sky = areas.keeps(np.stack([y, 0 * y], 1), 4, overlap, gap)
    assert [int(y[inside & (y < 10)].max()), int(y[inside].max())] == last_y
    assert inside.sum() == last_y[0] + 1 + 7
    x = np.arange(22)
    inside, new_sky = areas.keeps(np.stack([0 * x, x], 1), 4, overlap, gap)
    assert new_sky.all()
    assert [int(x[inside & (x >= x0) & (x < x0 + 10)].max()) for x0 in (0, 10, 20)] == last_x


@pytest.mark.parametrize(("period", "gap", "last"), [(40.7, 0, 36), (40.7, 3, 33), (48.5, 0, 44), (np.inf, 9, 44)])
def test_no_patch_shows_sky_again(period: float, gap: int, last: int) -> None:
    areas = AreaGrid.regular((10, 48), 10, 4, period)
    x = np.arange(45)
    _, new_sky = areas.keeps(np.stack([0 * x, x], 1), 4, 0, gap)
    assert x[new_sky].tolist() == list(range(last + 1))


def test_sky_period_of_the_higal_plane() -> None:
    wcs = WCS(galactic_header(114000, 1800, step_deg=11.5 / 3600))
    assert sky_period_px(wcs, (1800, 114000)) == pytest.approx(112695.652, abs=0.001)


def changed(**cards: object) -> WCS:
    header: fits.Header = galactic_header(20, 10, step_deg=1.0)
    header.update(cards)
    return WCS(header)


def test_sky_period_of_cylindrical_maps_only() -> None:
    assert sky_period_px(changed(), (10, 20)) == pytest.approx(360)
    assert sky_period_px(changed(CTYPE1="RA---CEA", CTYPE2="DEC--CEA"), (10, 20)) == pytest.approx(360)
    assert sky_period_px(changed(CDELT1=0.5), (10, 20)) == pytest.approx(720)
    assert sky_period_px(None, (10, 20)) == np.inf
    assert sky_period_px(changed(CTYPE1="GLON-TAN", CTYPE2="GLAT-TAN"), (10, 20)) == np.inf
    assert sky_period_px(changed(CTYPE1="GLAT-CAR", CTYPE2="GLON-CAR"), (10, 20)) == np.inf
    assert sky_period_px(changed(CROTA2=30.0), (10, 20)) == np.inf
