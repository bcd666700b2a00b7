import numpy as np
import pytest
import torch
from torch import Tensor

from bigsf.evaluation.mask_thresholds import find_mask_thresholds
from bigsf.folds.folds import Folds
from bigsf.folds.splits import SplitConfig
from bigsf.metrics.threshold_curve import ThresholdCurve
from bigsf.metrics.thresholds import Thresholds
from bigsf.models.sliding_window import SlidingWindowPredictor
from bigsf.patches.patch_file import PatchFile
from conftest import StubModel


@pytest.fixture
def folds(patch_file: PatchFile) -> Folds:
    return Folds.make(patch_file, SplitConfig(k=4, area_size=32))


def falling_to_the_right(slope: float) -> StubModel:
    """Return a model that sees the level of the map, and marks less in the right columns of a window."""

    def probability(image: Tensor, _: Tensor | None) -> Tensor:
        return torch.sigmoid((image / 1e22 - 3).nan_to_num() - slope * torch.linspace(0, 1, image.shape[-1]))

    return StubModel(probability)


def predictor(folds: Folds, stride: int, tta: bool) -> SlidingWindowPredictor:
    models = [falling_to_the_right(slope) for slope in range(1, 1 + len(folds.splits))]
    return SlidingWindowPredictor(models, folds.patch_file.patch_size, stride, tta=tta)


@pytest.mark.parametrize(("stride", "tta"), [(8, False), (4, True)])
def test_thresholds_are_those_of_a_map_that_is_predicted_in_the_same_way(folds: Folds, stride: int, tta: bool) -> None:
    file = folds.patch_file
    target, labelled = (plane > 0 for plane in file.labels())
    maps = np.concatenate([band for *_, band in predictor(folds, stride, tta).predict_bands(file)], axis=1)
    fold = folds.rows(0, file.shape[0])
    found = find_mask_thresholds(predictor(folds, stride, tta), folds)
    for split, probability, thresholds in zip(folds.splits, maps, found, strict=True):
        expected = {}
        where = np.isfinite(probability) & np.isin(fold, split.validation) & folds.areas.first_sky
        for kind, counted in (("whole", where), ("labelled", where & labelled)):
            curve = ThresholdCurve()
            curve.update(probability[counted], target[counted])
            expected[kind] = curve.best_dice().threshold
        assert thresholds == Thresholds(**expected)


def test_they_depend_on_how_the_map_is_predicted(folds: Folds) -> None:
    once, often = (find_mask_thresholds(predictor(folds, *how), folds) for how in ((8, False), (4, True)))
    assert all(one != other for one, other in zip(once, often, strict=True))


def test_on_large_maps_they_come_from_a_sample_that_holds_the_area_with_most_target_pixels(folds: Folds) -> None:
    """A model that counts its windows tells how much was predicted."""
    predicted: list[int] = []

    def count(image: Tensor, _: Tensor | None) -> Tensor:
        predicted.append(len(image))
        return torch.sigmoid((image / 1e22 - 3).nan_to_num())

    counting = SlidingWindowPredictor([StubModel(count)] * len(folds.splits), 16, 16)
    windows = []
    for most_pixels in (10**6, 32 * 32):
        predicted.clear()
        thresholds = find_mask_thresholds(counting, folds, most_pixels)
        windows.append(sum(predicted))
        assert all(each.whole != 0.5 for each in thresholds)  # 0.5 stands for a sample without target pixels
    assert windows[1] < windows[0] / 1.5
    assert windows[1] <= len(folds.splits) * 9
