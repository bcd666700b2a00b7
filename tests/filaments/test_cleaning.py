import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.measure import label
from skimage.morphology import opening, reconstruction

from bigsf.arrays import Float64Array
from bigsf.errors import ConfigError
from bigsf.filaments.catalogue import Filaments
from bigsf.filaments.cleaning import Cleaning, near_border


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


# --- components at the border of the valid map ------------------------------------------------------------------------


def test_a_ring_at_the_edge_of_the_map_is_left_out() -> None:
    mask = np.ones((40, 50), np.bool_)
    mask[3:-3, 3:-3] = False
    mask[20:23, 10:40] = True  # a filament inside
    inside = np.zeros_like(mask)
    inside[20:23, 10:40] = True
    np.testing.assert_array_equal(Cleaning(border=3)(mask), inside)
    np.testing.assert_array_equal(Cleaning(border=2)(mask), mask)  # 344 of the 504 pixels of the ring
    np.testing.assert_array_equal(Cleaning(border=0)(mask), mask)


def test_a_filament_that_crosses_the_edge_is_kept_whole() -> None:
    mask = np.zeros((30, 40), np.bool_)
    mask[:10, 20:23] = True
    np.testing.assert_array_equal(Cleaning(border=3)(mask), mask)


def test_a_component_is_kept_where_a_quarter_of_it_lies_farther_from_the_border() -> None:
    mask = np.zeros((30, 40), np.bool_)
    mask[:4, 10:12] = True
    mask[:3, 20:25] = mask[3, 20:24] = True  # four of 19 pixels
    kept = Cleaning(border=3)(mask)
    np.testing.assert_array_equal(kept[:, :15], mask[:, :15])
    assert not kept[:, 15:].any()


def test_missing_data_has_a_border_and_bad_pixels_have_none() -> None:
    valid, mask = np.ones((30, 60), np.bool_), np.zeros((30, 60), np.bool_)
    valid[:, 30:40] = False
    mask[5:25, 27:30] = True  # a stripe along the gap
    mask[5:25, 40:44] = True  # wider: three of four columns lie within three pixels
    mask[10, 8:24] = True
    valid[10, 9:24:4] = False  # bad pixels along a filament
    valid[:, 15] = False  # a bad column across it
    mask[9] |= mask[10]
    mask &= valid
    expected = mask.copy()
    expected[5:25, 27:30] = False
    for chunk_pixels in (60, 130, 10_000):
        found = Cleaning(border=3)(mask, valid=valid, chunk_pixels=chunk_pixels)
        np.testing.assert_array_equal(found, expected)


def test_slivers_of_valid_data_between_gaps_are_left_out() -> None:
    valid, mask = np.zeros((30, 60), np.bool_), np.zeros((30, 60), np.bool_)
    valid[:, 10:16] = valid[:, 30:] = True  # a sliver six pixels wide
    mask[5:25, 12:14] = mask[5:25, 44:46] = True
    kept = Cleaning(border=3)(mask, valid=valid)
    np.testing.assert_array_equal(kept, mask & (np.arange(60) > 20))
    np.testing.assert_array_equal(Cleaning(border=2)(mask, valid=valid), mask)


@pytest.mark.parametrize("distance_px", [1, 2, 3, 4, 40])
@pytest.mark.parametrize("seed", range(3))
def test_the_border_is_that_of_gaps_into_which_a_square_fits(distance_px: int, seed: int) -> None:
    valid = gaussian_filter(np.random.default_rng(seed).normal(size=(33, 41)), 2) > -0.1
    d = distance_px
    missing = np.pad(~valid, 2 * d, constant_values=True)
    near = np.zeros_like(missing)
    for y, x in np.ndindex(missing.shape[0] - d + 1, missing.shape[1] - d + 1):
        if missing[y : y + d, x : x + d].all():
            near[max(y - d, 0) : y + 2 * d, max(x - d, 0) : x + 2 * d] = True
    expected = near[2 * d : -2 * d, 2 * d : -2 * d]
    found = np.concatenate([near_border(valid, d, y0, y0 + 11) for y0 in range(0, 33, 11)])
    np.testing.assert_array_equal(found, expected)


# --- components without length ----------------------------------------------------------------------------------------


def test_spots_are_no_filaments() -> None:
    mask = np.zeros((40, 60), np.bool_)
    mask[3, 3] = True  # a pixel
    y, x = np.mgrid[:40, :60]
    mask |= np.hypot(y - 12, x - 12) < 4.2  # a round spot
    mask[20, 5:9] = True  # a line of four pixels
    mask[25, 5:10] = True  # a line of five
    mask[30:33, 5:40] = True  # a filament
    kept = Cleaning(min_skeleton=5)(mask)
    np.testing.assert_array_equal(kept, mask & (y >= 25))
    assert (Filaments(kept).catalog()["length_px"] > 0).all()


def test_min_skeleton_counts_the_pixels_of_the_skeleton(probability: Float64Array) -> None:
    mask = probability >= 0.6
    components = label(mask, connectivity=2)
    skeleton = np.bincount(components[Filaments(mask).skeleton() > 0], minlength=components.max() + 1)
    expected = mask & (skeleton[components] >= 5)
    assert 0 < expected.sum() < mask.sum()
    np.testing.assert_array_equal(Cleaning(min_skeleton=5)(mask), expected)


@pytest.mark.parametrize(
    ("cleaning", "found", "least"),
    [
        (Cleaning(min_area=0), "min_area=0", 1),
        (Cleaning(min_skeleton=0), "min_skeleton=0", 1),
        (Cleaning(border=-1), "border=-1", 0),
    ],
)
def test_numbers_out_of_range_are_refused(cleaning: Cleaning, found: str, least: int) -> None:
    with pytest.raises(ConfigError, match=f"{found}: expected a number of pixels, from {least} on"):
        cleaning.check(0.5)


def test_the_conditions_that_are_on_are_named() -> None:
    cleaning = Cleaning(0.1, True, 20, 5, 3)
    assert str(cleaning) == "hysteresis 0.1, reconstruct, min-area 20, min-skeleton 5, border 3"
