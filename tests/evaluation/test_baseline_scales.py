import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from bigsf.arrays import BoolArray
from bigsf.evaluation.baseline_scales import ScaledBaselines, choose_scales, first_scales
from bigsf.evaluation.baselines import BASELINES, BaselineMaps
from bigsf.folds.folds import Folds
from bigsf.folds.splits import SplitConfig
from bigsf.maps.tiling import Tile
from bigsf.metrics.threshold_curve import ThresholdCurve, quantile_edges
from bigsf.patches.patch_file import PatchFile
from conftest import ArrayMap

FILTERS = [name for name, scales in BASELINES.items() if len(scales) > 1]


@pytest.fixture
def folds(patch_file: PatchFile) -> Folds:
    return Folds.make(patch_file, SplitConfig(k=4, area_size=32))


def set_target(folds: Folds, name: str, scale_of_fold: dict[int, str]) -> None:
    """Make a map of noise, and what a baseline marks at one scale the target of each fold."""
    file = folds.patch_file
    ny, nx = file.shape
    file.image = np.random.default_rng(0).lognormal(50, 0.2, file.image.shape).astype(np.float32)
    maps, fold = BaselineMaps(file), folds.rows(0, ny)
    file.target, file.labelled = np.zeros((ny, nx), np.uint8), np.ones((ny, nx), np.uint8)
    for number, scale in scale_of_fold.items():
        values = maps.rows(name, scale, 0, ny)
        file.target[fold == number] = (values >= np.quantile(values, 0.8))[fold == number]


@pytest.mark.parametrize("name", FILTERS)
def test_each_split_gets_the_scale_that_is_right_on_its_validation_folds(folds: Folds, name: str) -> None:
    first, second, third = BASELINES[name]
    set_target(folds, name, {1: third, 2: second, 3: first, 4: third})
    chosen = choose_scales(folds, folds.splits)
    assert [split.validation for split in folds.splits] == [[3], [4], [1], [2]]
    assert chosen[name] == [first, third, third, second]
    assert chosen["column density"] == ["unfiltered"] * 4


def test_the_choice_is_that_of_the_best_dice_on_validation_pixels_alone(folds: Folds) -> None:
    file = folds.patch_file
    target, where = file.labels()[0] > 0, np.isfinite(file.image[0])
    maps, fold = BaselineMaps(file), folds.rows(0, file.shape[0])
    chosen = choose_scales(folds, folds.splits)
    for name, scales in BASELINES.items():
        for split, scale in zip(folds.splits, chosen[name], strict=True):
            counted = where & np.isin(fold, split.validation)
            dice = {}
            for each in scales:
                values = maps.rows(name, each, 0, file.shape[0])[counted]
                curve = ThresholdCurve(quantile_edges(values))
                curve.update(values, target[counted])
                dice[each] = curve.best_dice().dice
            assert scale == max(dice, key=lambda each: dice[each])


def test_the_labels_of_test_folds_have_no_say(folds: Folds) -> None:
    split = folds.splits[0]
    expected = choose_scales(folds, [split])
    target, labelled = (np.array(plane) for plane in folds.patch_file.labels())
    tested = np.isin(folds.rows(0, folds.patch_file.shape[0]), split.test)
    target[tested] = np.random.default_rng(0).random(tested.sum()) < 0.5
    folds.patch_file.target, folds.patch_file.labelled = target, labelled
    assert choose_scales(folds, [split]) == expected


def test_without_a_target_the_scale_is_the_first(folds: Folds) -> None:
    folds.patch_file.target = np.zeros(folds.patch_file.shape, np.uint8)
    assert choose_scales(folds, folds.splits) == first_scales(4)


def test_on_large_maps_the_area_with_most_target_pixels_decides(folds: Folds) -> None:
    """A sample of so few pixels is a part of one area. In this area another scale is right than elsewhere."""
    first, _, third = BASELINES["Sato filter"]
    set_target(folds, "Sato filter", dict.fromkeys(range(1, 5), first))
    target, area = folds.patch_file.target, np.s_[32:64, 64:96]
    assert target is not None
    values = BaselineMaps(folds.patch_file).rows("Sato filter", third, 32, 64)[:, 64:96]
    most = int(folds.areas.sums(target).max())
    target[area] = values > np.sort(values, axis=None)[-most - 2]
    splits = [split for split in folds.splits if folds.grid[1, 2] in split.validation]
    assert choose_scales(folds, splits, most_pixels=500)["Sato filter"] == [third]
    assert choose_scales(folds, splits)["Sato filter"] == [first]


NOISE = gaussian_filter(np.random.default_rng(1).normal(0, 1, (1, 60, 80)), (0, 4, 4))
SKY = ArrayMap(np.exp(5 * NOISE).astype(np.float32))


def rows(y0: int, y1: int) -> Tile:
    return Tile(y0, y1, 0, 80)


def test_each_pixel_has_the_scale_of_the_split_that_tests_it() -> None:
    """The first split tests the left half and both test the lowest rows; the upper right is tested by none."""
    first, second, _ = BASELINES["Sato filter"]

    def tests(tile: Tile) -> BoolArray:
        mask = np.zeros((2, 60, 80), np.bool_)
        mask[0, :, :40] = mask[0, :10] = mask[1, :10] = mask[1, 10:30, 40:] = True
        return mask[:, tile.rows, tile.columns]

    scaled = ScaledBaselines(SKY, {**first_scales(2), "Sato filter": [first, second]}, tests)
    one, two = (BaselineMaps(SKY).rows("Sato filter", scale, 0, 60) for scale in (first, second))
    two *= one.std() / two.std()
    expected = np.where(tests(rows(0, 60))[0], one, two)
    both = ~(tests(rows(0, 60))[0] ^ tests(rows(0, 60))[1])
    expected[both] = (one + two)[both] / 2
    np.testing.assert_allclose(scaled.tile("Sato filter", rows(0, 60)), expected, rtol=1e-6)
    np.testing.assert_allclose(scaled.tile("Sato filter", rows(5, 35)), expected[5:35], rtol=1e-6)
    np.testing.assert_allclose(scaled.tile("Sato filter", Tile(5, 35, 20, 70)), expected[5:35, 20:70], rtol=1e-6)
    contrast = BaselineMaps(SKY).rows("local contrast", "sigma 12 px", 3, 9)
    np.testing.assert_array_equal(scaled.tile("local contrast", rows(3, 9)), contrast)


def test_without_a_mask_every_split_tests_every_pixel() -> None:
    first, _, third = BASELINES["local contrast"]
    scales = {"local contrast": [first, third, third]}
    one, three = (BaselineMaps(SKY).rows("local contrast", scale, 0, 60) for scale in (first, third))
    factor = one.std() / three.std()
    assert factor < 0.95
    scaled = ScaledBaselines(SKY, scales)
    np.testing.assert_allclose(scaled.tile("local contrast", rows(0, 60)), (one + 2 * factor * three) / 3, atol=1e-6)
    stretched = ArrayMap(SKY.read_rows(0, 60) ** 3)  # local contrasts are three times as high
    np.testing.assert_allclose(
        scaled.on_map(stretched).tile("local contrast", rows(0, 60)), one + 2 * factor * three, atol=1e-5
    )


def test_factors_come_from_valid_pixels_and_a_flat_map_has_none() -> None:
    first, _, third = BASELINES["local contrast"]
    sky = SKY.read_rows(0, 60).copy()
    sky[0, 20:40, 30:50] = np.nan
    one, three = (BaselineMaps(ArrayMap(sky)).rows("local contrast", scale, 0, 60) for scale in (first, third))
    valid = np.isfinite(sky[0])
    expected = (one + three * one[valid].std() / three[valid].std()) / 2
    scales = {"local contrast": [first, third]}
    np.testing.assert_allclose(
        ScaledBaselines(ArrayMap(sky), scales).tile("local contrast", rows(0, 60)), expected, atol=1e-6
    )
    flat = ScaledBaselines(ArrayMap(np.ones((1, 60, 80), np.float32)), scales)
    assert not flat.tile("local contrast", rows(0, 60)).any()
