import math

import numpy as np
import pytest
from pydantic import TypeAdapter

from bigsf.arrays import BoolArray, FloatArray
from bigsf.errors import ConfigError
from bigsf.metrics import TorchMetric
from bigsf.metrics.config import DiceConfig, MetricConfig, build_metrics, metric_name
from bigsf.metrics.metric import Metric, SentState
from bigsf.training.run_config import TrainerConfig
from bigsf.training.sent_array import SentArray
from conftest import own_members

Part = tuple[FloatArray, BoolArray, BoolArray]

SENT = TypeAdapter(dict[str, SentArray])


def sent(metric: Metric) -> SentState:
    """Return the state of a metric as another process gets it."""
    return SENT.validate_json(SENT.dump_json(dict(metric.state())))


each_metric = pytest.mark.parametrize("config", own_members(MetricConfig), ids=metric_name)


def part(seed: int, density: float) -> Part:
    """Return a map of 17 x 29 pixels on which a fraction of the pixels is positive and most are labelled."""
    generator = np.random.default_rng(seed)
    target = generator.random((17, 29)) < density
    probability = np.clip(0.4 * target + generator.random(target.shape) * 0.6, 0.01, 0.99).astype(np.float32)
    return probability, target, generator.random(target.shape) < 0.8


def value(config: MetricConfig, *parts: Part) -> float:
    metric = config.build()
    for one in parts:
        metric.update(*one)
    return metric.compute()


def pixels(probability: list[float], target: list[int], labelled: list[int]) -> Part:
    return np.array([probability], np.float32), np.array([target]) == 1, np.array([labelled]) == 1


def one(**config: object) -> Metric:
    metric = TrainerConfig.from_dict({"metrics": [config]}).metrics[0]
    return metric.build()


@each_metric
def test_merging_equals_seeing_all(config: MetricConfig) -> None:
    first, second = config.build(), config.build()
    first.update(*part(1, 0.1))
    second.update(*part(2, 0.6))
    first.merge(sent(second))
    assert first.compute() == pytest.approx(value(config, part(1, 0.1), part(2, 0.6)), rel=1e-12)


@each_metric
def test_the_order_of_the_parts_does_not_matter(config: MetricConfig) -> None:
    a, b = part(1, 0.1), part(2, 0.6)
    assert value(config, a, b) == pytest.approx(value(config, b, a), rel=1e-12)


@each_metric
def test_reset_forgets(config: MetricConfig) -> None:
    metric = config.build()
    metric.update(*part(1, 0.1))
    metric.reset()
    metric.update(*part(2, 0.6))
    assert metric.compute() == value(config, part(2, 0.6))


@each_metric
def test_a_part_without_labels_contributes_nothing(config: MetricConfig) -> None:
    probability, target, labelled = part(2, 0.6)
    unlabelled = (np.full_like(probability, np.nan), target, np.zeros_like(labelled))
    assert value(config, part(1, 0.1), unlabelled) == value(config, part(1, 0.1))


@each_metric
def test_nothing_labelled_is_nan(config: MetricConfig) -> None:
    probability, target, labelled = part(1, 0.1)
    assert math.isnan(value(config, (probability, target, np.zeros_like(labelled))))


@each_metric
def test_a_perfect_map_scores_one(config: MetricConfig) -> None:
    target = np.zeros((17, 29), bool)
    target[5:9, 3:20] = True
    probability = np.where(target, 1, 0).astype(np.float32)
    assert value(config, (probability, target, np.ones_like(target))) == pytest.approx(1, abs=1e-6)


def test_dice_by_hand() -> None:
    dice = one(type="dice")
    dice.update(*pixels([0.9, 0.8, 0.2, 0.7, 0.5], [1, 0, 1, 1, 1], [1, 1, 1, 0, 1]))
    assert dice.compute() == 2 * 2 / (2 * 2 + 1 + 1)  # the fourth pixel has no label, the fifth is just marked


@pytest.mark.parametrize(("kind", "expected"), [("iou", 2 / 4), ("precision", 2 / 3), ("recall", 2 / 3)])
def test_other_counts_by_hand(kind: str, expected: float) -> None:
    metric = one(type=kind)
    metric.update(*pixels([0.9, 0.8, 0.2, 0.7, 0.5], [1, 0, 1, 1, 1], [1, 1, 1, 0, 1]))
    assert metric.compute() == expected


def test_dice_marks_from_its_threshold_on() -> None:
    dice = one(type="dice", threshold=0.85)
    dice.update(*pixels([0.9, 0.8, 0.2], [1, 0, 1], [1, 1, 1]))
    assert dice.compute() == 2 / (2 + 0 + 1)


def test_counts_are_pooled_not_averaged_over_batches() -> None:
    dice = one(type="dice")
    dice.update(*pixels([0.9], [1], [1]))  # 1 of its own
    dice.update(*pixels([0.1, 0.1, 0.1, 0.9], [1, 1, 1, 0], [1, 1, 1, 1]))  # 0 of its own
    assert dice.compute() == 2 / (2 + 1 + 3)


@each_metric
def test_pixels_that_were_not_predicted_do_not_count(config: MetricConfig) -> None:
    probability, target, labelled = part(3, 0.3)
    missing = np.random.default_rng(4).random(target.shape) < 0.2
    with_nan = np.where(missing, np.float32(np.nan), probability)
    assert value(config, (with_nan, target, labelled)) == value(config, (with_nan, target, labelled & ~missing))
    if config.type not in ("mssim", "cldice"):  # in which a pixel depends on those around it
        assert value(config, (with_nan, target, labelled)) == value(config, (probability, target, labelled & ~missing))


def test_curve_metrics_by_hand() -> None:
    for kind, expected in {"average_precision": (1 + 2 / 3) / 2, "roc_auc": 3 / 4}.items():
        metric = one(type=kind)
        metric.update(*pixels([0.9, 0.8, 0.3, 0.1, 0.99], [1, 0, 1, 0, 0], [1, 1, 1, 1, 0]))
        assert metric.compute() == pytest.approx(expected)


def test_curves_take_probabilities_not_rounded_ones() -> None:
    auc = one(type="roc_auc")
    auc.update(*pixels([0.4, 0.3, 0.2, 0.1], [1, 1, 0, 0], [1, 1, 1, 1]))
    assert auc.compute() == 1


def test_names_in_logs() -> None:
    kinds = [{"type": "map"}, {"type": "ap"}, {"type": "DICE"}, {"type": "custom", "target": "mylab.scores:Recall"}]
    metrics = TrainerConfig.from_dict({"metrics": kinds}).metrics
    assert [metric_name(metric) for metric in metrics] == ["average_precision", "average_precision", "dice", "Recall"]


def test_metrics_are_named_by_their_threshold_and_a_name_is_given_once() -> None:
    half, low = DiceConfig(), DiceConfig(threshold=0.3)
    assert list(build_metrics([half, low])) == ["dice", "dice_0.3"]
    with pytest.raises(ConfigError, match=r"trainer\.metrics holds dice more than once"):
        build_metrics([half, half])


@each_metric
def test_a_metric_says_which_of_two_maps_is_better(config: MetricConfig) -> None:
    target = np.zeros((17, 29), np.bool_)
    target[5:9] = True
    good, bad = (value(config, (p.astype(np.float32), target, np.ones_like(target))) for p in (target, ~target))
    assert (good > bad) is config.build().higher_is_better


@pytest.mark.parametrize("name", ["BinaryF1Score", "BinaryAveragePrecision", "BinaryAUROC"])
def test_merging_metrics_of_torchmetrics_equals_seeing_all(name: str) -> None:
    pytest.importorskip("torchmetrics")
    whole, first, second = (TorchMetric(name) for _ in range(3))
    for metric, seed in ((whole, 1), (whole, 2), (first, 1), (second, 2)):
        metric.update(*part(seed, 0.3))
        metric.update(*part(seed, 0.3)[:2], np.zeros((17, 29), np.bool_))
    first.merge(sent(second))
    assert first.compute() == pytest.approx(whole.compute(), rel=1e-6)


def test_a_metric_of_torchmetrics_without_a_labelled_pixel_is_not_defined() -> None:
    pytest.importorskip("torchmetrics")
    metric, other = TorchMetric("BinaryF1Score"), TorchMetric("BinaryF1Score")
    metric.update(*part(1, 0.3)[:2], np.zeros((17, 29), np.bool_))
    assert np.isnan(metric.compute())
    other.update(*part(1, 0.3))
    metric.merge(sent(other))
    assert metric.compute() == other.compute()
    metric.reset()
    assert np.isnan(metric.compute())
