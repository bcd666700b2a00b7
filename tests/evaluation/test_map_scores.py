from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from bigsf.arrays import BoolArray, FloatArray
from bigsf.evaluation.baseline_scales import ScaledBaselines, choose_scales, first_scales
from bigsf.evaluation.baselines import BASELINES, BaselineMaps, first_scale
from bigsf.evaluation.map_scores import MODEL, MapScores, baseline_scores
from bigsf.folds.folds import Folds
from bigsf.folds.folds_file import load_folds
from bigsf.folds.splits import Split
from bigsf.patches.patch_file import PatchFile

CHOSEN = {"labelled": 0.3, "whole": 0.9}
"""Thresholds that validation might have chosen."""


@pytest.fixture
def folds(patch_file: PatchFile, folds_path: Path) -> Folds:
    return load_folds(folds_path, patch_file)


@pytest.fixture
def probability(patch_file: PatchFile) -> FloatArray:
    """Return a simulated map of probabilities, NaN where the map is missing."""
    noise = np.random.default_rng(5).random(patch_file.shape)
    probability = np.clip(0.4 * patch_file.labels()[0] + 0.6 * noise, 0, 1).astype(np.float32)
    probability[~np.isfinite(patch_file.image[0])] = np.nan
    return probability


def scored(folds: Folds, probability: FloatArray) -> MapScores:
    scores = MapScores(folds, ScaledBaselines(folds.patch_file, first_scales(4)))
    for y0, y1 in pairwise(folds.areas.y_edges):
        rows = probability[y0:y1]
        scores.update(y0, y1, np.isfinite(rows), rows, {kind: rows >= level for kind, level in CHOSEN.items()})
    return scores


def pixels(folds: Folds, probability: FloatArray, kind: str) -> tuple[BoolArray, BoolArray]:
    """Return which pixels are scored, and which are true."""
    target, labelled = folds.patch_file.labels()
    valid = np.isfinite(probability)
    return (valid & (labelled > 0) if kind == "labelled" else valid), target > 0


@pytest.mark.parametrize("kind", ["labelled", "whole"])
def test_scores_are_those_of_scikit_learn(folds: Folds, probability: FloatArray, kind: str) -> None:
    table = scored(folds, probability).table()
    assert list(table) == [MODEL, *BASELINES]
    where, true = pixels(folds, probability, kind)
    baselines, ny = BaselineMaps(folds.patch_file), folds.patch_file.shape[0]
    maps = {name: baselines.rows(name, first_scale(name), 0, ny) for name in BASELINES}
    for name, values in {MODEL: probability, **maps}.items():
        expected = average_precision_score(true[where], values[where])
        assert table[name][kind]["average_precision"] == pytest.approx(expected, abs=1e-3)
        assert table[name][kind]["roc_auc"] == pytest.approx(roc_auc_score(true[where], values[where]), abs=1e-3)


@pytest.mark.parametrize("kind", CHOSEN)
def test_cost_of_thresholds_is_the_dice_that_is_lost(folds: Folds, probability: FloatArray, kind: str) -> None:
    scores = scored(folds, probability)
    where, true = pixels(folds, probability, kind)
    marked = probability >= CHOSEN[kind]
    cost = scores.threshold_costs()[kind]
    assert cost.dice == pytest.approx(2 * (marked & true)[where].sum() / (marked[where].sum() + true[where].sum()))
    assert cost.best_dice == scores.table()[MODEL][kind]["best_dice"]
    assert cost.best_threshold == scores.best_thresholds()[MODEL][kind]
    assert (cost.dice or 0) + (cost.cost or 0) == pytest.approx(cost.best_dice)
    assert (cost.cost or 0) >= 0  # one model, so that its best threshold is the best of all


def test_predicted_and_valid_pixels_are_counted(folds: Folds, probability: FloatArray) -> None:
    valid = int(np.isfinite(probability).sum())
    probability[:40] = np.nan
    scores = scored(folds, probability)
    assert (scores.predicted, scores.valid) == (np.isfinite(probability).sum(), valid)


def test_a_ground_truth_is_scored_on_all_valid_pixels(folds: Folds, probability: FloatArray) -> None:
    folds.patch_file.truth = np.ones(folds.patch_file.shape, np.uint8)
    scores = scored(folds, probability)
    assert list(scores.table()[MODEL]) == ["labelled", "whole", "truth"]
    assert scores.table()[MODEL]["truth"]["precision"] == 1
    assert set(scores.curves().calibration) == {"labelled", "whole", "truth"}
    assert set(scores.threshold_costs()) == {"labelled", "whole"}  # validation never sees the ground truth


def test_calibration_counts_all_pixels(folds: Folds, probability: FloatArray) -> None:
    calibration = scored(folds, probability).curves().calibration["whole"]
    assert sum(calibration.pixels) == np.isfinite(probability).sum()


def test_baselines_are_scored_on_the_test_folds_at_the_scales_of_validation(folds: Folds) -> None:
    split = Split([1], [4], [2, 3])
    table, scales = baseline_scores(folds, split)
    assert list(table) == list(scales) == list(BASELINES)
    assert scales == {name: chosen for name, (chosen,) in choose_scales(folds, [split]).items()}
    ny = folds.patch_file.shape[0]
    where, true = np.isfinite(folds.patch_file.image[0]), folds.patch_file.labels()[0] > 0
    where &= np.isin(folds.rows(0, ny), [2, 3])
    for name, scale in scales.items():
        values = BaselineMaps(folds.patch_file).rows(name, scale, 0, ny)
        expected = average_precision_score(true[where], values[where])
        assert table[name]["whole"]["average_precision"] == pytest.approx(expected, abs=1e-3)
