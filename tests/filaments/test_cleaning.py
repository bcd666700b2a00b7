import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.measure import label
from skimage.morphology import opening, reconstruction

from bigsf.arrays import Float64Array
from bigsf.filaments.cleaning import Cleaning


@pytest.fixture(params=range(5))
def probability(request: pytest.FixtureRequest) -> Float64Array:
    """Return a map of blobs and lines of many sizes."""
    noise = gaussian_filter(np.random.default_rng(request.param).normal(size=(70, 90)), 1.5)
    return np.asarray(np.clip(0.5 + 0.5 * noise / noise.std(), 0, 1))


def test_nothing_is_removed_by_default(probability: Float64Array) -> None:
    mask = probability >= 0.6
    assert not Cleaning()
    np.testing.assert_array_equal(Cleaning()(mask), mask)


def test_reconstruct_is_the_opening_by_reconstruction_of_scikit_image(probability: Float64Array) -> None:
    mask = probability >= 0.6
    framed = np.pad(mask, 4)  # nothing is marked outside of the map
    expected = reconstruction(opening(framed, np.ones((4, 4))), framed, footprint=np.ones((3, 3)))[4:-4, 4:-4] > 0
    assert 0 < expected.sum() < mask.sum()
    np.testing.assert_array_equal(Cleaning(reconstruct=True)(mask), expected)


def test_hysteresis_is_the_reconstruction_of_the_higher_threshold_below_the_lower(probability: Float64Array) -> None:
    low, high = probability >= 0.6, probability >= 0.9
    expected = reconstruction(high, low, footprint=np.ones((3, 3))) > 0
    assert high.sum() < expected.sum() < low.sum()
    np.testing.assert_array_equal(Cleaning(hysteresis=0.6)(low, high), expected)


def test_min_area_keeps_components_of_that_many_pixels(probability: Float64Array) -> None:
    mask = probability >= 0.6
    components = label(mask, connectivity=2)
    size = np.bincount(components.ravel())
    least = int(np.median(size[1:]))
    expected = mask & (size[components] >= least)
    assert 0 < expected.sum() < mask.sum()
    np.testing.assert_array_equal(Cleaning(min_area=least)(mask), expected)
    in_chunks = Cleaning(min_area=least)(mask, chunk_pixels=200)  # components lie in several chunks
    np.testing.assert_array_equal(in_chunks, expected)


def test_reconstruct_removes_a_line_three_pixels_wide_and_keeps_one_of_four() -> None:
    mask = np.zeros((40, 40), np.bool_)
    mask[5:8, 2:38] = mask[20:24, 2:38] = True
    kept = Cleaning(reconstruct=True)(mask)
    assert not kept[:15].any()
    np.testing.assert_array_equal(kept[15:], mask[15:])


def test_components_must_meet_all_conditions() -> None:
    mask, certain = np.zeros((2, 30, 60), np.bool_)
    mask[2:6, 2:6] = certain[3, 3] = True  # certain, thick, small
    mask[10:12, 2:50] = certain[10, 30] = True  # certain, large, thin
    mask[20:26, 2:50] = True  # large and thick, but nowhere certain
    mask[20:26, 55:60] = certain[22, 57] = True  # meets all conditions
    kept = Cleaning(hysteresis=0.1, reconstruct=True, min_area=20)(mask, certain)
    np.testing.assert_array_equal(np.argwhere(kept).min(axis=0), [20, 55])
    assert kept.sum() == 30
