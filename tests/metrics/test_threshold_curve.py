import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from bigsf.arrays import BoolArray, Float64Array
from bigsf.metrics.threshold_curve import BINS, ThresholdCurve, quantile_edges

Scores = npt.NDArray[np.floating]


def curve_of(score: Scores, truth: BoolArray, edges: Float64Array | None = None) -> ThresholdCurve:
    curve = ThresholdCurve(edges)
    curve.update(score, truth)
    return curve


def exact(score: Scores, truth: BoolArray) -> list[float]:
    precision, recall, _ = precision_recall_curve(truth, score)
    dice = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    return [average_precision_score(truth, score), roc_auc_score(truth, score), dice.max()]


def binned(curve: ThresholdCurve) -> list[float]:
    return [curve.average_precision(), curve.roc_auc(), curve.best_dice().dice]


def sample(seed: int, positives: int, negatives: int, distance: float, offset: float) -> tuple[Float64Array, BoolArray]:
    """Return logits of two overlapping populations."""
    generator = np.random.default_rng(seed)
    logits = np.concatenate([generator.normal(distance, 2, positives), generator.normal(0, 1, negatives)]) + offset
    return logits, np.arange(positives + negatives) < positives


def sigmoid(logits: Float64Array) -> Float64Array:
    return np.asarray(1 / (1 + np.exp(-logits)))


def test_scores_of_four_pixels() -> None:
    curve = curve_of(np.array([0.9, 0.8, 0.3, 0.1]), np.array([True, False, True, False]))
    assert curve.average_precision() == pytest.approx((1 + 2 / 3) / 2)
    assert curve.roc_auc() == 3 / 4
    dice, threshold = curve.best_dice()
    assert dice == 4 / 5
    assert 0.1 < threshold <= 0.3
    assert curve.at(threshold)["marked_ratio"] == 3 / 2


@settings(max_examples=15, derandomize=True)
@given(st.integers(0, 10**6), st.integers(500, 3000), st.integers(3000, 30000), st.floats(0.5, 5), st.floats(-12, 6))
def test_skewed_probabilities_score_as_scikit_learn_says(
    seed: int, positives: int, negatives: int, distance: float, offset: float
) -> None:
    logits, truth = sample(seed, positives, negatives, distance, offset)
    probability = sigmoid(logits)
    assert binned(curve_of(probability, truth)) == pytest.approx(exact(probability, truth), abs=1e-3)


def test_a_model_that_has_just_begun_to_learn_scores_as_scikit_learn_says() -> None:
    logits, truth = sample(4, 1300, 13700, 2, 0)
    probability = sigmoid(0.1 * logits - 0.5)
    assert binned(curve_of(probability, truth)) == pytest.approx(exact(probability, truth), abs=1e-3)


@pytest.mark.parametrize("level", [0.01, 0.5, 0.9])
@pytest.mark.parametrize("spread", [1e-6, 1e-4, 1e-3])
def test_a_nearly_constant_model_scores_as_scikit_learn_says(level: float, spread: float) -> None:
    """The logits of all pixels lie within a few times `spread`, and float32 hardly tells them apart."""
    logits, truth = sample(5, 10_000, 100_000, 2, 0)
    probability = sigmoid(spread * logits + np.log(level / (1 - level))).astype(np.float32)
    curve = curve_of(probability, truth)
    assert binned(curve) == pytest.approx(exact(probability, truth), abs=1e-4)
    threshold = curve.best_dice().threshold
    marked = probability >= np.float32(threshold)
    assert 2 * (marked & truth).sum() / (marked.sum() + truth.sum()) == pytest.approx(curve.best_dice().dice, abs=1e-3)


def test_bins_become_wider_until_few_enough_hold_pixels() -> None:
    logits, truth = sample(6, 50_000, 200_000, 2, 0)
    curve = curve_of(sigmoid(logits), truth)
    assert BINS // 4 < len(curve.positives) <= BINS
    assert curve.positives.sum() == 50_000
    assert curve.negatives.sum() == 200_000
    best = curve.best_dice()
    assert curve.at(best.threshold)["dice"] == best.dice  # although neighbouring bins hold pixels
    table = curve.by_threshold(curve.thresholds[:-1])
    assert table["dice"] == curve.dice[:-1].tolist()


@pytest.mark.parametrize("parts", [1, 3, 7])
def test_bins_do_not_depend_on_the_parts_and_their_order(parts: int) -> None:
    """Parts need bins of different widths: one is nearly constant, another is spread widely."""
    generator = np.random.default_rng(7)
    logits = np.concatenate([generator.normal(0, 1e-4, 60_000), generator.normal(0, 3, 150_000)])
    probability, truth = sigmoid(logits).astype(np.float32), generator.random(210_000) < 0.3
    whole = curve_of(probability, truth)
    merged = ThresholdCurve()
    for part in reversed(np.array_split(np.arange(210_000), parts)):
        merged.merge(curve_of(probability[part], truth[part]).state())
    np.testing.assert_array_equal(merged.thresholds, whole.thresholds)
    np.testing.assert_array_equal(merged.positives, whole.positives)
    np.testing.assert_array_equal(merged.negatives, whole.negatives)


@settings(max_examples=15)
@given(st.lists(st.tuples(st.integers(0, BINS - 1), st.booleans()), min_size=2))
def test_scores_are_exact_up_to_the_width_of_a_bin(pixels: list[tuple[int, bool]]) -> None:
    index = np.array([i for i, _ in pixels])
    truth = np.array([t for _, t in pixels])
    truth[:2] = True, False
    probability = sigmoid((index + 0.5) / BINS * 40 - 20)
    assert binned(curve_of(probability, truth)) == pytest.approx(exact(index.astype(float), truth), abs=1e-12)


@pytest.mark.parametrize("scale", [30, 300])
def test_logits_out_of_range_count_as_the_outermost_bins(scale: float) -> None:
    logits, truth = sample(1, 2000, 8000, 1, 0)
    with np.errstate(over="ignore"):
        probability = sigmoid(scale * logits).astype(np.float32).astype(np.float64)
    expected = exact(np.maximum(probability, sigmoid(np.array(-20.0))), truth)
    assert binned(curve_of(probability, truth)) == pytest.approx(expected, abs=1e-3)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans())), st.integers(0, 50))
def test_merging_two_curves_equals_counting_all_pixels(pixels: list[tuple[float, bool]], first: int) -> None:
    score, truth = np.array([s for s, _ in pixels], float), np.array([t for _, t in pixels], bool)
    merged = curve_of(score[:first], truth[:first])
    merged.merge(curve_of(score[first:], truth[first:]).state())
    pooled = curve_of(score, truth)
    np.testing.assert_array_equal(merged.thresholds, pooled.thresholds)
    np.testing.assert_array_equal(merged.positives, pooled.positives)
    np.testing.assert_array_equal(merged.negatives, pooled.negatives)


def test_marking_at_the_threshold_of_best_dice_gives_that_dice() -> None:
    logits, truth = sample(2, 500, 5000, 2, -3)
    probability = sigmoid(logits)
    curve = curve_of(probability, truth)
    dice, threshold = curve.best_dice()
    marked = probability >= threshold
    assert 2 * (marked & truth).sum() / (marked.sum() + truth.sum()) == pytest.approx(dice)
    assert marked.sum() / truth.sum() == pytest.approx(curve.at(threshold)["marked_ratio"])


def test_where_all_is_best_marked_the_threshold_marks_all() -> None:
    probability = np.array([1e-12, 1e-12, 1e-12, 0.5, 0.9])
    truth = np.array([True, True, True, False, True])
    dice, threshold = curve_of(probability, truth).best_dice()
    marked = probability >= threshold
    assert 2 * (marked & truth).sum() / (marked.sum() + truth.sum()) == pytest.approx(dice) == pytest.approx(8 / 9)


@pytest.mark.parametrize(("truth", "defined"), [([], []), ([False], []), ([True], ["average_precision"])])
def test_what_is_undefined_is_nan(truth: list[bool], defined: list[str]) -> None:
    curve = curve_of(np.full(len(truth), 0.7), np.array(truth, bool))
    values = {
        "average_precision": curve.average_precision(),
        "roc_auc": curve.roc_auc(),
        "best_dice": curve.best_dice().dice,
    }
    assert [name for name, value in values.items() if not math.isnan(value)] == defined


@pytest.mark.parametrize("truth", [[False, False], [True, True]])
def test_where_no_threshold_tells_anything_it_is_one_half(truth: list[bool]) -> None:
    assert curve_of(np.array([0.9, 0.1]), np.array(truth)).best_dice().threshold == 0.5


def test_reset_forgets() -> None:
    curve = curve_of(np.array([0.9, 0.1]), np.array([True, False]))
    curve.reset()
    assert math.isnan(curve.average_precision())
    curve.update(np.array([0.5]), np.array([True]))
    assert curve.positives.tolist() == [1]


def test_column_densities_score_exactly_on_edges_of_their_own() -> None:
    logits, truth = sample(3, 500, 5000, 2, 0)
    density = 1e22 * np.exp(logits)
    curve = curve_of(density, truth, quantile_edges(density))
    assert binned(curve) == pytest.approx(exact(density, truth), abs=1e-3)
    assert density.min() <= curve.best_dice().threshold <= density.max()


def test_the_highest_score_has_a_bin_of_its_own() -> None:
    scores = np.arange(200_000.0)
    assert curve_of(scores, scores == scores.max(), quantile_edges(scores)).average_precision() == 1


def test_constant_scores_have_one_bin_edge() -> None:
    edges = quantile_edges(np.full(10, 3.0))
    assert edges.tolist() == [3.0]
    assert curve_of(np.full(4, 3.0), np.array([True, False, False, False]), edges).average_precision() == 0.25


def test_of_thresholds_that_mark_the_same_pixels_the_middle_one_is_best() -> None:
    curve = ThresholdCurve()
    curve.update(np.array([0.1, 0.9]), np.array([False, True]))
    dice, threshold = curve.best_dice()
    assert dice == 1
    assert threshold == pytest.approx(0.5, abs=1e-3)


def test_iou_at_a_threshold_is_that_of_the_counts() -> None:
    curve = ThresholdCurve()
    curve.update(np.array([0.2, 0.7, 0.8, 0.9]), np.array([True, False, True, True]))
    index = int(np.searchsorted(curve.thresholds, 0.5))
    assert curve.iou[index] == pytest.approx(2 / 4)
    np.testing.assert_allclose(curve.iou, curve.dice / (2 - curve.dice))


def test_scores_at_a_threshold_are_those_of_the_counts() -> None:
    curve = curve_of(np.array([0.2, 0.7, 0.8, 0.9]), np.array([True, False, True, True]))
    expected = {"dice": 4 / 6, "iou": 2 / 4, "precision": 2 / 3, "recall": 2 / 3, "marked_ratio": 3 / 3}
    assert curve.at(0.5) == pytest.approx(expected)
    table = curve.by_threshold(np.array([0.1, 0.5, 0.95]))
    assert table["recall"] == pytest.approx([1, 2 / 3, 0])
    assert table["precision"] == pytest.approx([3 / 4, 2 / 3, 1])
    assert table["threshold"] == [0.1, 0.5, 0.95]
    assert ThresholdCurve().by_threshold(np.array([0.5]))["marked_ratio"] == [0]


@pytest.mark.parametrize("seed", [0, 1])
def test_precision_by_recall_is_that_of_the_highest_threshold_that_reaches_it(seed: int) -> None:
    logits, truth = sample(seed, 30, 200, 1, 0)
    score = 1 / (1 + np.exp(-logits))
    recalls = np.array([0.1, 0.5, 0.77, 1.0])
    found = curve_of(score, truth).by_recall(recalls)["precision"]
    for recall, precision in zip(recalls, found, strict=True):
        needed = np.sort(score[truth])[::-1][int(np.ceil(recall * truth.sum() - 1e-9)) - 1]
        assert precision == pytest.approx(truth[score >= needed].mean(), abs=0.02)


def test_calibration_of_honest_probabilities_is_the_diagonal() -> None:
    generator = np.random.default_rng(0)
    probability = generator.random(200_000)
    curve = ThresholdCurve()
    curve.update(probability, generator.random(200_000) < probability)
    predicted, frequency, pixels = curve.calibration(groups=5)
    np.testing.assert_allclose(predicted, [0.1, 0.3, 0.5, 0.7, 0.9], atol=0.01)
    np.testing.assert_allclose(frequency, predicted, atol=0.01)
    assert pixels.sum() == 200_000


def test_calibration_is_for_probabilities_and_nan_where_there_are_no_pixels() -> None:
    curve = ThresholdCurve()
    curve.update(np.array([0.95]), np.array([True]))
    assert np.isnan(curve.calibration().frequency[:9]).all()
    assert curve.calibration().frequency[9] == 1
    with pytest.raises(ValueError, match="only probabilities"):
        ThresholdCurve(np.array([1.0])).calibration()
