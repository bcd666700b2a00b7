import logging
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from bigsf.folds.folds import Folds
from bigsf.folds.splits import SplitConfig
from bigsf.models.sliding_window import SlidingWindowPredictor
from bigsf.patches.patch_file import PatchFile
from bigsf.training.kfold_plan import count_windows, plan_out_of_fold, predicted_windows
from bigsf.training.run_config import OutOfFoldConfig, RunConfig
from conftest import ArrayMap, StubModel


@pytest.mark.parametrize("scales", [[1], [2], [1, 2, 4]])
@pytest.mark.parametrize("stride", [4, 6, 16])
@pytest.mark.parametrize("which", [[1], [2, 3], [1, 2, 3, 4]])
def test_windows_are_counted_as_the_predictor_takes_them(
    patch_file: PatchFile, which: list[int], stride: int, scales: list[int]
) -> None:
    folds = Folds.make(patch_file, SplitConfig(k=4, area_size=40))
    seen = []

    def count(image: Tensor, position: Tensor | None) -> Tensor:
        seen.append(len(image))
        return image

    predictor = SlidingWindowPredictor([StubModel(count)], patch_file.patch_size, stride, scales=scales)
    whole = ArrayMap(np.ones((1, *patch_file.shape), np.float32))
    predicted = np.isin(folds.rows(0, patch_file.shape[0]), which)[None]
    for _ in predictor.predict_bands(whole, lambda tile: predicted[:, tile.rows, tile.columns]):
        pass
    assert sum(seen) == count_windows(folds, np.isin(folds.grid, which), stride, scales)


def config_of(file: PatchFile, trainer: dict[str, Any], out_of_fold: dict[str, Any]) -> RunConfig:
    return RunConfig.from_dict({"data": {"path": file.path}, "trainer": trainer, "out_of_fold": out_of_fold})


def test_a_map_is_predicted_with_less_work_where_that_would_take_longer_than_the_training(
    patch_file: PatchFile, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    folds, window = Folds.make(patch_file, SplitConfig(k=4, area_size=40)), patch_file.patch_size
    config = config_of(patch_file, {"epochs": 1}, {})
    plans = [(window // 4, True), (window // 2, True), (window // 2, False)]
    work = [predicted_windows(OutOfFoldConfig(stride=s, tta=tta), config, folds) for s, tta in plans]
    assert work[0] > work[1] > work[2]
    trained = sum(len(folds.training_patches(split.train)) for split in folds.splits)
    for affordable, expected in zip([work[0], work[0] - 1, work[1] - 1, 0], [*plans, plans[2]], strict=True):
        monkeypatch.setattr("bigsf.training.kfold_plan.PATCHES_SEEN", 0)
        monkeypatch.setattr("bigsf.training.kfold_plan._WINDOWS_PER_PATCH", affordable / trained)
        caplog.clear()
        assert plan_out_of_fold(config, folds) == OutOfFoldConfig(stride=expected[0], tta=expected[1])
        assert ("The map is large" in caplog.text) == (expected != plans[0])
    assert f"stride of {window // 2} pixels in one orientation" in caplog.text


def test_a_short_training_counts_as_the_default_one(patch_file: PatchFile) -> None:
    folds = Folds.make(patch_file, SplitConfig(k=4, area_size=40))
    short = config_of(patch_file, {"epochs": 1}, {})
    short = short.model_copy(update={"data": short.data.model_copy(update={"samples_per_epoch": 1})})
    assert plan_out_of_fold(short, folds) == OutOfFoldConfig(stride=patch_file.patch_size // 4, tta=True)


@pytest.mark.parametrize("asked", [{"stride": 3}, {"tta": True}, {"stride": 3, "tta": True}])
def test_what_was_asked_for_is_kept(
    patch_file: PatchFile, monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any]
) -> None:
    monkeypatch.setattr("bigsf.training.kfold_plan._WINDOWS_PER_PATCH", 0)
    folds = Folds.make(patch_file, SplitConfig(k=4, area_size=40))
    expected = {"stride": patch_file.patch_size // 2, "tta": False} | asked
    assert plan_out_of_fold(config_of(patch_file, {}, asked), folds) == OutOfFoldConfig(**expected)
