from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits
from scipy.ndimage import maximum_filter1d

from bigsf.evaluation.baseline_scales import ScaledBaselines, first_scales
from bigsf.evaluation.map_scores import MapScores
from bigsf.evaluation.out_of_fold import (
    ensemble_mean,
    ensemble_std,
    mean_threshold,
    score_out_of_fold,
    write_out_of_fold,
)
from bigsf.folds.folds import Folds
from bigsf.folds.splits import SplitConfig
from bigsf.metrics.thresholds import Thresholds
from bigsf.models.sliding_window import SlidingWindowPredictor
from bigsf.patches.patch_file import PatchFile
from conftest import StubModel, write_patch_file

NAN = np.nan
PROBABILITIES = np.array([[[0.2, NAN, NAN]], [[0.4, 0.6, NAN]]], np.float32)  # of two models, for three pixels


def constant_model(probability: float) -> StubModel:
    return StubModel(lambda image, _: torch.full_like(image, probability))


def test_the_mean_is_that_of_the_models_that_predicted_a_pixel() -> None:
    mean, std = ensemble_mean(PROBABILITIES), ensemble_std(PROBABILITIES)
    np.testing.assert_allclose(mean, [[0.3, 0.6, NAN]], rtol=1e-6)
    np.testing.assert_allclose(std, [[0.1, 0, NAN]], rtol=1e-6)


def test_the_threshold_is_that_of_the_models_that_predicted_a_pixel() -> None:
    np.testing.assert_allclose(mean_threshold(PROBABILITIES, [0.1, 0.5]), [[0.3, 0.5, NAN]], rtol=1e-6)


def test_each_fold_is_predicted_by_the_models_that_it_is_a_test_fold_of(patch_file: PatchFile, tmp_path: Path) -> None:
    """Model i has the probability (i + 1) / 10 everywhere, and the same threshold."""
    folds = Folds.make(patch_file, SplitConfig(k=4, k_train=1, area_size=32))
    models = [constant_model(i / 10) for i in range(1, 5)]
    thresholds = [Thresholds(whole=i / 10, labelled=1.0) for i in range(1, 5)]
    path, predictor = tmp_path / "out_of_fold.fits", SlidingWindowPredictor(models, 16)
    out_of_fold = write_out_of_fold(path, predictor, folds, thresholds, "a: 1")
    with fits.open(path) as hdus:
        planes = {hdu.name: np.array(hdu.data) for hdu in hdus if hdu.is_image}
        assert dict(hdus["PROVENANCE"].data)["config"] == "a: 1"
    valid = np.isfinite(patch_file.image[0])
    np.testing.assert_array_equal(planes["FOLD"], np.where(valid, folds.rows(0, patch_file.shape[0]), 0))
    for fold in range(1, 5):
        values = np.array([(i + 1) / 10 for i, split in enumerate(folds.splits) if fold in split.test])
        assert len(values) == 2
        where = planes["FOLD"] == fold
        np.testing.assert_allclose(planes["PRIMARY"][where], values.mean(), rtol=1e-6)
        np.testing.assert_allclose(planes["STD"][where], values.std(), rtol=1e-6)
    assert np.isnan(planes["PRIMARY"][~valid]).all()
    assert not planes["MASK"][~valid].any()
    scores = MapScores(folds, ScaledBaselines(patch_file, first_scales(4)))
    score_out_of_fold(scores, predictor, thresholds)
    assert scores.predicted == scores.valid == valid.sum()
    seams = out_of_fold.seams.scores()
    assert seams.beside == pytest.approx(0, abs=1e-6)
    assert 0.05 < (seams.across or 0) < 0.15


def test_the_rims_of_missing_data_are_no_seams(tmp_path: Path) -> None:
    """The map is flat but for the pixels beside two holes; a seam lies far from the first, and beside the second."""
    image = np.full((1, 64, 64), 1e22, np.float32)
    image[:, 5:12, 5:12] = image[:, 33:40, 20:27] = 2e22
    image[:, 7:10, 7:10] = image[:, 35:38, 22:25] = np.nan
    labels = np.isfinite(image[0]).astype(np.uint8)
    file = write_patch_file(tmp_path / "holes.h5", image, 16, 8, (labels, labels))
    folds = Folds.make(file, SplitConfig(k=4, k_train=1, area_size=32))
    model = StubModel(lambda image, _: (image / 1e23).nan_to_num())
    predictor = SlidingWindowPredictor([model] * 4, 16)
    thresholds = [Thresholds(whole=0.5, labelled=0.5)] * 4
    found = write_out_of_fold(tmp_path / "map.fits", predictor, folds, thresholds, "").seams.scores()
    with fits.open(tmp_path / "map.fits") as hdus:
        mean = np.array(hdus[0].data)
    fold, steps = folds.rows(0, 64), np.zeros((2, 2))
    for values, numbers in ((mean, fold), (mean.T, fold.T)):
        seam = np.diff(numbers.astype(int), axis=0) != 0
        beside = maximum_filter1d(seam, 3, axis=0) & ~seam
        for kind, where in enumerate((seam, beside)):
            step = abs(np.diff(values, axis=0))[where]
            steps[kind] += np.nansum(step), np.isfinite(step).sum()
    assert found.pairs == steps[0, 1]
    assert found.across == pytest.approx(steps[0, 0] / steps[0, 1])
    assert found.beside == pytest.approx(steps[1, 0] / steps[1, 1])


def test_two_processes_that_share_the_rows_score_the_same(patch_file: PatchFile) -> None:
    folds = Folds.make(patch_file, SplitConfig(k=4, k_train=2, area_size=32))
    model = StubModel(lambda image, _: torch.sigmoid((image / 1e22 - 3).nan_to_num()))
    predictor = SlidingWindowPredictor([model] * 4, patch_file.patch_size)
    thresholds = [Thresholds(whole=0.5, labelled=0.3)] * 4
    baselines = ScaledBaselines(patch_file, first_scales(4))
    alone, first, second = (MapScores(folds, baselines) for _ in range(3))
    score_out_of_fold(alone, predictor, thresholds)
    for rank, share in enumerate((first, second)):
        score_out_of_fold(share, predictor, thresholds, rank, size=2)
    assert 0 < first.predicted < alone.predicted
    for name, part in first.counts.items():
        part.merge({key: np.asarray(value) for key, value in second.counts[name].state().items()})
    assert (first.predicted, first.valid) == (alone.predicted, alone.valid)
    np.testing.assert_equal(first.table(), alone.table())
    assert first.threshold_costs() == alone.threshold_costs()


@pytest.mark.parametrize("overlap", [0, 8])
def test_pixels_that_a_model_learnt_from_before_are_counted(
    patch_file: PatchFile, tmp_path: Path, overlap: int
) -> None:
    folds = Folds.make(patch_file, SplitConfig(k=4, k_train=2, area_size=32, overlap=overlap))
    models = [constant_model(0.5)] * len(folds.splits)
    thresholds = [Thresholds(whole=0.5, labelled=0.5)] * len(models)
    predictor = SlidingWindowPredictor(models, patch_file.patch_size)
    out_of_fold = write_out_of_fold(tmp_path / "out_of_fold.fits", predictor, folds, thresholds, "a: 1")
    fold, seen = folds.rows(0, patch_file.shape[0]), np.zeros(patch_file.shape, np.bool_)
    for split in folds.splits:
        painted = np.zeros(patch_file.shape, np.bool_)
        for y, x in patch_file.positions[folds.patches_in(split.train)]:
            painted[y : y + patch_file.patch_size, x : x + patch_file.patch_size] = True
        seen |= painted & np.isin(fold, split.test)
    seen &= np.isfinite(patch_file.image[0])
    assert out_of_fold.seen.tolist() == [seen.sum(), (seen & (patch_file.labels()[1] > 0)).sum()]
    assert bool(out_of_fold.seen[1]) == bool(overlap)
