import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from bigsf.folds.folds import Folds
from bigsf.folds.folds_file import load_folds
from bigsf.maps.tiling import in_bands
from bigsf.metrics.config import metric_name
from bigsf.metrics.thresholds import Thresholds
from bigsf.models.sliding_window import SlidingWindowPredictor
from bigsf.patches.patch_file import PatchFile
from bigsf.training.components.losses import BCEConfig
from bigsf.training.run_config import TrainerConfig
from bigsf.training.validation import CHUNK_COLUMNS, Evaluation, Validator
from conftest import StubModel

Mask = npt.NDArray[np.bool_]
PIXELWISE = StubModel(lambda image, _: torch.sigmoid(20 * (image.nan_to_num(nan=1e22).log10() - 22.35)))
"""It predicts each pixel by its value alone, so that a map of any size can be computed by hand."""


@pytest.fixture(scope="module")
def folds(patch_path: Path, folds_path: Path) -> Folds:
    return load_folds(folds_path, PatchFile(patch_path))


@pytest.fixture(scope="module")
def evaluated(folds: Folds) -> Callable[..., Evaluation]:
    kinds: list[dict[str, Any]] = [{"type": "dice"}, {"type": "average_precision"}, {"type": "roc_auc"}]

    def make(
        which: list[int], unlabelled_weight: float = 0.0, batch_size: int = 32, chunk_columns: int = CHUNK_COLUMNS
    ) -> Evaluation:
        metrics = TrainerConfig.from_dict({"metrics": kinds}).metrics
        built = {metric_name(metric): metric.build() for metric in metrics}
        predictor = SlidingWindowPredictor([PIXELWISE], 16, batch_size=batch_size)
        loss = BCEConfig().build()
        validator = Validator(predictor, folds, built, loss, unlabelled_weight, chunk_columns=chunk_columns)
        return validator.evaluate(which)

    return make


@pytest.fixture(scope="module")
def whole_map(folds: Folds) -> tuple[npt.NDArray[np.float64], Mask, Mask, Mask, npt.NDArray[np.uint8]]:
    """Return probability, truth, labelled, valid and fold number of every pixel."""
    file = folds.patch_file
    target, labelled = file.labels()
    image = torch.from_numpy(np.array(file.image))[None]
    probability = PIXELWISE.probabilities(image)[0, 0].double().numpy()
    return probability, target > 0, labelled > 0, np.isfinite(file.image[0]), folds.rows(0, file.shape[0])


@pytest.mark.parametrize("which", [[3], [2, 4], [1, 2, 3, 4]])
@pytest.mark.parametrize("batch_size", [1, 1000])
def test_scores_are_those_of_the_whole_map_at_once(
    evaluated: Callable[..., Evaluation], whole_map: tuple[Any, ...], which: list[int], batch_size: int
) -> None:
    probability, truth, labelled, valid, fold = whole_map
    predicted = valid & np.isin(fold, which)
    known = predicted & labelled
    found = evaluated(which, batch_size=batch_size)
    marked = probability >= 0.5
    assert found.loss == pytest.approx(log_loss(truth[known], probability[known]), rel=1e-3)
    assert found.metrics == pytest.approx(
        {
            "dice": 2 * (marked & truth & known).sum() / ((marked & known).sum() + (truth & known).sum()),
            "average_precision": average_precision_score(truth[known], probability[known]),
            "roc_auc": roc_auc_score(truth[known], probability[known]),
        },
        abs=1e-3,
    )
    whole = average_precision_score(truth[predicted], probability[predicted])
    assert found.quantities["whole_average_precision"] == pytest.approx(whole, abs=1e-3)
    assert whole != pytest.approx(found.metrics["average_precision"], abs=1e-3)


def test_chunks_of_a_wide_map_score_the_same(evaluated: Callable[..., Evaluation]) -> None:
    whole = evaluated([2, 4], 0.3)
    in_chunks = evaluated([2, 4], 0.3, chunk_columns=23)
    assert in_chunks.quantities == pytest.approx(whole.quantities, rel=1e-6)
    np.testing.assert_array_equal(in_chunks.whole.positives, whole.whole.positives)


def test_every_pixel_of_the_folds_is_predicted_once(
    evaluated: Callable[..., Evaluation], whole_map: tuple[Any, ...]
) -> None:
    _, truth, labelled, valid, fold = whole_map
    found = evaluated([1, 4])
    predicted = valid & np.isin(fold, [1, 4])
    for curve, where in ((found.whole, predicted), (found.labelled, predicted & labelled)):
        assert curve.positives.sum() == (truth & where).sum()
        assert curve.negatives.sum() == (~truth & where).sum()


def test_unlabelled_pixels_weigh_in_the_loss_as_background(
    evaluated: Callable[..., Evaluation], whole_map: tuple[Any, ...]
) -> None:
    probability, truth, labelled, valid, _ = whole_map
    weight = np.where(labelled, 1.0, 0.25)[valid]
    expected = log_loss(truth[valid], probability[valid], sample_weight=weight)
    assert evaluated([1, 2, 3, 4], unlabelled_weight=0.25).loss == pytest.approx(expected, rel=1e-3)


def test_thresholds_are_those_of_best_dice(evaluated: Callable[..., Evaluation]) -> None:
    found = evaluated([1, 2])
    assert found.thresholds == Thresholds(
        whole=found.whole.best_dice().threshold, labelled=found.labelled.best_dice().threshold
    )
    assert found.quantities["whole_dice"] == found.whole.best_dice().dice


def test_folds_without_a_label_score_nan(evaluated: Callable[..., Evaluation]) -> None:
    found = evaluated([])
    assert all(math.isnan(value) for value in found.quantities.values())
    assert found.thresholds == Thresholds(whole=0.5, labelled=0.5)


@given(cuts=st.sets(st.integers(1, 29)), edges=st.sets(st.integers(1, 29)))
def test_rows_are_regrouped_from_edge_to_edge(cuts: set[int], edges: set[int]) -> None:
    rows = np.arange(60, dtype=np.float32).reshape(1, 30, 2)
    tops, wanted = [0, *sorted(cuts), 30], [0, *sorted(edges), 30]
    pieces = [(y0, y1, rows[:, y0:y1]) for y0, y1 in zip(tops, tops[1:], strict=False)]  # noqa: RUF007
    bands = list(in_bands(iter(pieces), wanted))
    assert [(y0, y1) for y0, y1, _ in bands] == list(zip(wanted, wanted[1:], strict=False))  # noqa: RUF007
    for y0, y1, values in bands:
        np.testing.assert_array_equal(values, rows[:, y0:y1])


def test_a_ground_truth_is_scored_on_all_valid_pixels(
    folds: Folds,
    evaluated: Callable[..., Evaluation],
    whole_map: tuple[npt.NDArray[np.float64], Mask, Mask, Mask, npt.NDArray[np.uint8]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert list(evaluated([1]).table) == ["labelled", "whole"]
    truth = np.random.default_rng(0).integers(2, size=folds.patch_file.shape, dtype=np.uint8)
    monkeypatch.setattr(folds.patch_file, "truth", truth)
    found = evaluated([1])
    *_, valid, fold = whole_map
    where = valid & (fold == 1)
    assert found.truth is not None
    assert found.truth.positives.sum() == truth[where].sum()
    assert list(found.table) == ["labelled", "whole", "truth"]
    assert found.quantities == evaluated([1]).quantities
