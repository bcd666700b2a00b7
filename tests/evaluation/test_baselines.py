import numpy as np
import numpy.typing as npt
import pytest
from scipy.ndimage import distance_transform_edt, gaussian_filter

from bigsf.arrays import FloatArray
from bigsf.evaluation.baselines import BASELINES, BaselineMaps, first_scale
from bigsf.evaluation.ridge_filters import frangi, sato
from bigsf.maps.tiling import CHUNK_PIXELS
from conftest import ArrayMap


def tall_map(missing: bool = True) -> FloatArray:
    """Return a column density of 300 x 50 pixels with two ridges and a gap of missing pixels."""
    y, x = np.mgrid[:300, :50]
    ridges = sum(np.exp(-0.5 * ((x - c - 6 * np.sin(y / 30)) / 2) ** 2) for c in (15, 35))
    image = 1e22 * (1 + np.asarray(ridges)) * np.random.default_rng(0).lognormal(0, 0.1, y.shape)
    if missing:
        image[140:160, 10:20] = np.nan
    return np.asarray(image, np.float32)


def formulas(image: FloatArray) -> dict[tuple[str, str], npt.NDArray[np.float64]]:
    """Return the baselines of the whole map at once."""
    y, x = distance_transform_edt(np.isnan(image), return_distances=False, return_indices=True)
    log_n = np.log10(image[y, x].astype(float))
    return {
        ("column density", "unfiltered"): log_n,
        ("local contrast", "sigma 6 px"): log_n - gaussian_filter(log_n, 6),
        ("local contrast", "sigma 12 px"): log_n - gaussian_filter(log_n, 12),
        ("local contrast", "sigma 24 px"): log_n - gaussian_filter(log_n, 24),
        ("Sato filter", "sigma 1.5, 2, 3 px"): sato(log_n, [1.5, 2, 3]),
        ("Sato filter", "sigma 3, 4, 6 px"): sato(log_n, [3, 4, 6]),
        ("Sato filter", "sigma 6, 8, 12 px"): sato(log_n, [6, 8, 12]),
        ("Frangi filter", "sigma 1.5, 2, 3 px"): frangi(log_n, [1.5, 2, 3]),
        ("Frangi filter", "sigma 3, 4, 6 px"): frangi(log_n, [3, 4, 6]),
        ("Frangi filter", "sigma 6, 8, 12 px"): frangi(log_n, [6, 8, 12]),
    }


SCALES = [(name, scale) for name, scales in BASELINES.items() for scale in scales]


def test_each_filter_has_the_scales_that_are_named() -> None:
    assert set(formulas(tall_map())) == set(SCALES)


@pytest.mark.parametrize("filtering", SCALES, ids=" ".join)
@pytest.mark.parametrize("rows", [1, 37, 300])
@pytest.mark.parametrize("chunk_pixels", [8000, CHUNK_PIXELS])  # 8000: chunks of a few columns
def test_bands_and_chunks_give_the_formula_of_the_whole_map(
    filtering: tuple[str, str], rows: int, chunk_pixels: int
) -> None:
    image = tall_map()
    maps = BaselineMaps(ArrayMap(image[None]), chunk_pixels=chunk_pixels)
    expected = formulas(image)[filtering]
    some = range(0, 300, rows) if rows > 1 else range(120, 180, 20)
    for y0 in some:
        y1 = min(y0 + rows, 300)
        np.testing.assert_allclose(maps.rows(*filtering, y0, y1), expected[y0:y1], atol=2e-6)


@pytest.mark.parametrize("turned", [False, True])  # the map is narrower, or less high, than the filters reach
@pytest.mark.parametrize("filtering", SCALES, ids=" ".join)
def test_chunks_and_columns_change_no_bit(filtering: tuple[str, str], turned: bool) -> None:
    image = tall_map().T if turned else tall_map()
    small, large = (BaselineMaps(ArrayMap(image[None]), chunk_pixels=pixels) for pixels in (8000, CHUNK_PIXELS))
    whole = large.rows(*filtering, 0, len(image))
    np.testing.assert_array_equal(small.rows(*filtering, 20, 45), whole[20:45])
    part = small.rows(*filtering, 5, 35, columns=[(3, 10), (20, 50)])
    np.testing.assert_array_equal(part, whole[5:35, [*range(3, 10), *range(20, 50)]])


def test_a_missing_pixel_takes_the_value_of_the_nearest_valid_one() -> None:
    image = np.array([[1, np.nan, np.nan, np.nan, 10], [1, np.nan, 100, np.nan, 10]], np.float32)
    filled = BaselineMaps(ArrayMap(image[None])).rows("column density", "unfiltered", 0, 2)
    assert filled[:, :2].tolist() == [[0, 0], [0, filled[1, 1]]]
    assert filled[1, 1] in (0, 2)  # as far from 1 as from 100
    assert filled[:, [2, 4]].tolist() == [[2, 1], [2, 1]]


def test_far_from_all_valid_pixels_is_the_median() -> None:
    """The map is 1 at the left and 100 at the right of 200 missing columns, and 1 is the more frequent value."""
    image = np.full((3, 230), np.nan, np.float32)
    image[:, :20], image[:, 220:] = 1, 100
    maps = BaselineMaps(ArrayMap(image[None]))
    assert maps.median == 1
    expected = np.repeat([0, 0, 0, 2, 2], [20, 68, 64, 68, 10])
    np.testing.assert_array_equal(maps.rows("column density", "unfiltered", 0, 3), np.tile(expected, (3, 1)))


@pytest.mark.parametrize("filtering", SCALES[1:], ids=" ".join)
@pytest.mark.parametrize("hole", [np.s_[100:140, 20:40], np.s_[40:260, :], np.s_[::3, 1::2]])
def test_a_hole_in_a_flat_map_is_not_seen(filtering: tuple[str, str], hole: tuple[slice, slice]) -> None:
    """The map has one level outside of a hole and another, more frequent one far from it."""
    image = np.full((900, 50), 1e21, np.float32)
    image[:400] = 1e22
    image[hole] = np.nan
    rows = BaselineMaps(ArrayMap(image[None])).rows(*filtering, 0, 300)
    assert np.abs(rows[np.isfinite(image[:300])]).max() < 1e-9


def test_filled_holes_do_not_depend_on_bands_and_chunks() -> None:
    """Pixels are missing at random, so that many are as near to one valid pixel as to another."""
    generator = np.random.default_rng(1)
    image = generator.lognormal(0, 0.3, (400, 90)).astype(np.float32)
    image[generator.random(image.shape) < 0.8] = np.nan
    image[100:330, 10:80] = np.nan
    planes = ArrayMap(image[None])
    whole = BaselineMaps(planes).rows("column density", "unfiltered", 0, 400)
    maps = BaselineMaps(planes, chunk_pixels=8000)
    for y0, y1 in ((0, 31), (100, 101), (150, 250), (320, 400)):
        np.testing.assert_array_equal(maps.rows("column density", "unfiltered", y0, y1), whole[y0:y1])


def test_a_value_that_is_not_positive_counts_as_missing_where_the_sample_has_none() -> None:
    image = np.full((1, 10, 1000), 10, np.float32)
    image[0, 5, 1] = 0
    maps = BaselineMaps(ArrayMap(image), sample_pixels=100)
    assert maps.log
    np.testing.assert_array_equal(maps.rows("column density", "unfiltered", 0, 10), 1)


def test_map_with_many_values_of_zero_or_below_is_taken_as_it_is() -> None:
    image = tall_map(missing=False)
    image[:5] = -1e21
    maps = BaselineMaps(ArrayMap(image[None]))
    assert not maps.log
    np.testing.assert_array_equal(maps.rows("column density", "unfiltered", 0, 300), image)


def test_an_odd_pixel_of_zero_does_not_take_the_logarithm_from_the_filters() -> None:
    image = tall_map(missing=False)
    with_zero = image.copy()
    with_zero[5, 5] = 0
    maps, other = (BaselineMaps(ArrayMap(each[None])) for each in (image, with_zero))
    assert other.log
    for name in BASELINES:
        one, two = (each.rows(name, first_scale(name), 100, 300) for each in (maps, other))
        np.testing.assert_array_equal(one, two)


def test_map_without_a_valid_pixel_is_flat() -> None:
    maps = BaselineMaps(ArrayMap(np.full((1, 70, 20), np.nan, np.float32)))
    for filtering in SCALES:
        assert np.abs(maps.rows(*filtering, 0, 70)).max() < 1e-12
