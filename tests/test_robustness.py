"""The disturbed maps of the benchmark of robustness are what their names say."""

from pathlib import Path

import numpy as np
import pytest
import robustness
from astropy.io import fits

from bigsf.arrays import FloatArray
from bigsf.evaluation.injection import PROFILES, Profile
from bigsf.training.kfold import KFold


@pytest.fixture(scope="module")
def image() -> FloatArray:
    generator = np.random.default_rng(0)
    plane = 1e22 * np.exp(0.5 * robustness.beam_noise((160, 192), 1, 4.0)) * generator.uniform(0.99, 1.01, (160, 192))
    plane[:20, :10] = np.nan
    return np.asarray(plane, np.float32)


@pytest.mark.parametrize("profile", PROFILES)
def test_injected_filaments_have_their_contrast_and_width(profile: Profile) -> None:
    flat = np.full((300, 300), 2.0, np.float32)
    disturbed, places = robustness.with_filaments(flat, 0.5, 8, 0, profile)
    assert len(places) >= 2
    excess = disturbed / flat - 1
    assert excess.max() == pytest.approx(0.5, rel=0.02)
    for place in places:
        assert excess[place].min() == pytest.approx(0.25, rel=0.15)


def test_random_phases_keep_the_values_and_the_spectrum(image: FloatArray) -> None:
    shuffled = robustness.random_phases(image)
    valid = np.isfinite(image)
    np.testing.assert_array_equal(np.isfinite(shuffled), valid)
    assert np.nanmedian(shuffled) == pytest.approx(np.nanmedian(image), rel=0.05)
    neighbours = [np.nanmean(np.abs(np.diff(np.log(plane), axis=1))) for plane in (image, shuffled)]
    assert neighbours[1] == pytest.approx(neighbours[0], rel=0.3)
    assert abs(np.corrcoef(image[valid], shuffled[valid])[0, 1]) < 0.5


def test_bins_are_means_of_valid_pixels() -> None:
    plane = np.array([[1, 3, np.nan, np.nan], [5, 7, np.nan, 1]], np.float32)
    np.testing.assert_array_equal(robustness.binned(plane, 2), [[4, np.nan]])


def test_rows_judge_a_method_by_what_it_marks(image: FloatArray) -> None:
    def brightest(plane: FloatArray) -> FloatArray:
        return plane

    before = robustness.marked(brightest(image), None)
    assert before[np.isfinite(image)].mean() == pytest.approx(robustness.TENTH, abs=0.01)
    found = {case.name: robustness.judge(brightest, None, before, case) for case in robustness.cases(image)}
    for name in ("median subtracted", "log10", "log10 of N / median"):
        assert found[name] == pytest.approx(1, abs=0.01)
    assert found["white noise, 1% of the median"] > found["white noise, 10% of the median"] > 0.5
    assert found["zeros for missing data: on them and their rim"] < 0.4
    assert found["binned by 2"] > 0.8
    assert found["border of 3 px raised by half"] > 0.1


def test_each_model_of_a_kfold_predicts_its_test_folds(trained_kfold: Path) -> None:
    image = KFold.from_folder(trained_kfold).patch_file.image[0]
    score = robustness.out_of_fold(trained_kfold, tta=False).scores[0](image)
    np.testing.assert_allclose(score, fits.getdata(trained_kfold / "out_of_fold.fits"), atol=1e-5)


def test_masks_follow_a_map_that_is_binned_or_oversampled() -> None:
    masks = np.arange(7 * 8).reshape(1, 7, 8) % 3 == 0
    np.testing.assert_array_equal(robustness.on_grid(masks, (7, 8)), masks)
    np.testing.assert_array_equal(robustness.on_grid(masks, (3, 4)), masks[:, :6:2, ::2])
    np.testing.assert_array_equal(robustness.on_grid(masks, (21, 24)), masks.repeat(3, 1).repeat(3, 2))
