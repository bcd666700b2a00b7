import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bigsf.errors import (
    ConfigError,
)
from bigsf.metrics import CountRatio, Metric, TorchMetric
from bigsf.training.checks import check_patch_size, directions_of
from bigsf.training.components.early_stopping import Directions
from bigsf.training.run_config import TrainerConfig
from bigsf.training.trainer import Trainer
from conftest import Settings, Sky, write_patch_file


@pytest.mark.parametrize(
    ("size", "multiple", "listing"), [(100, 32, "96 or 128"), (10, 16, "16"), (33, 16, "32 or 48")]
)
def test_nearest_patch_sizes_are_named(size: int, multiple: int, listing: str) -> None:
    with pytest.raises(ConfigError, match=f"for example {listing}, in bigsf preprocess"):
        check_patch_size(size, multiple, "unet")
    check_patch_size(multiple, multiple, "unet")


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"best_by": "val_f2"}, r"trainer\.best_by"),
        ({"early_stopping": {"type": "patience", "monitor": "val_f2"}}, r"trainer\.early_stopping\.monitor"),
        ({"scheduler": {"type": "plateau", "monitor": "val_f2"}}, r"trainer\.scheduler\.monitor"),
    ],
)
def test_quantity_that_is_not_logged_is_refused(settings: Settings, change: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=rf"{key} is 'val_f2', which is not logged\. Logged are .*val_dice"):
        Trainer.from_config(settings(epochs=1, **change)).train()


def distance(higher_is_better: bool | None = False) -> Metric:
    """Return a metric that is the fraction of wrong pixels, with a direction or without."""
    metric: Metric = CountRatio(0.5, (0, 1, 1), (1, 1, 1))
    metric.higher_is_better = higher_is_better
    return metric


def directions(metric: Any, **trainer: Any) -> Directions:
    return directions_of(TrainerConfig.from_dict(trainer), {"distance": metric})


def test_each_metric_says_its_direction_and_losses_are_to_fall() -> None:
    rising = {"epoch": True, "val_whole_average_precision": True, "val_whole_dice": True}
    falling = {"train_loss": False, "val_loss": False}
    assert directions(distance()) == {**rising, **falling, "val_distance": False}
    assert directions(distance(True)) == {**rising, **falling, "val_distance": True}
    assert directions(distance(None)) == directions(object()) == {**rising, **falling}


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"best_by": "val_distance"}, r"trainer\.best_by .*True or False\.$"),
        (
            {"early_stopping": {"monitor": "val_distance"}},
            r"trainer\.early_stopping\.monitor .* or set .*mode to max or",
        ),
        ({"scheduler": {"type": "plateau", "monitor": "val_distance"}}, r"trainer\.scheduler\.monitor .*False\.$"),
    ],
)
@pytest.mark.parametrize("metric", [distance(None), object()])
def test_a_metric_without_a_direction_is_compared_only_where_mode_says_it(
    metric: Any, change: dict[str, Any], key: str
) -> None:
    with pytest.raises(ConfigError, match=key.replace(" ", ".*does not say whether higher is better.*", 1)):
        directions(metric, **change)
    for mode, higher in (("min", False), ("max", True)):
        stopping = {"monitor": "val_distance", "mode": mode}
        assert directions(metric, **{**change, "early_stopping": stopping})["val_distance"] is higher


@pytest.mark.parametrize(
    ("monitor", "mode", "better"),
    [("val_loss", "max", "lower"), ("val_whole_dice", "min", "higher"), ("val_distance", "max", "lower")],
)
def test_a_mode_that_contradicts_the_quantity_is_refused(monitor: str, mode: str, better: str) -> None:
    with pytest.raises(ConfigError, match=rf"mode is {mode}, but {better} values of {monitor} are better\. Use .*auto"):
        directions(distance(), early_stopping={"monitor": monitor, "mode": mode})
    other = {"min": "max", "max": "min"}[mode]
    assert directions(distance(), early_stopping={"monitor": monitor, "mode": other}) == directions(distance())


def test_a_metric_of_torchmetrics_says_its_direction() -> None:
    pytest.importorskip("torchmetrics")
    assert TorchMetric("BinaryF1Score").higher_is_better is True
    assert TorchMetric("BinaryCalibrationError").higher_is_better is False


@pytest.mark.parametrize(("normalization", "warns"), [("log", True), ("asinh", False)])
def test_a_logarithm_of_a_map_that_is_not_positive_warns(
    settings: Settings, sky: Sky, tmp_path: Path, normalization: str, warns: bool
) -> None:
    image = np.nan_to_num(sky.image.astype(np.float32), nan=1e22)[None]
    image[:, ::8] = 0
    labels = (sky.target.astype(np.uint8), np.ones_like(sky.target, np.uint8))
    file = write_patch_file(tmp_path / "zeros.h5", image, 16, 8, labels)
    run = settings(model={"features": 4, "depth": 1, "normalization": {"type": normalization}})
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        split = {**run["split"], "path": str(tmp_path / "zeros.folds.json")}
        Trainer.from_config({**run, "data": {"path": str(file.path)}, "split": split})
    assert any("takes the logarithm" in str(warning.message) for warning in said) == warns
