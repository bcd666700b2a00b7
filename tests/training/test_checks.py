import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bigsf.cli.dry_run import describe_kfold
from bigsf.errors import BigsfWarning, ConfigError, DataError
from bigsf.folds.folds import Folds
from bigsf.folds.folds_file import folds_json
from bigsf.folds.splits import SplitConfig
from bigsf.folds.strategies import NaiveStrategyConfig
from bigsf.metrics import CountRatio, Metric, TorchMetric
from bigsf.metrics.config import DiceConfig
from bigsf.metrics.thresholds import Thresholds
from bigsf.training.build import Parts
from bigsf.training.checks import directions_of, warn_of_other_epochs
from bigsf.training.components.early_stopping import Directions
from bigsf.training.kfold import KFold
from bigsf.training.run_config import RunConfig, TrainerConfig
from bigsf.training.trainer import Trainer
from conftest import Settings, Sky, write_patch_file


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


@pytest.mark.parametrize("key", ["early_stopping", "scheduler"])
def test_the_number_of_the_epoch_is_nothing_to_monitor(key: str) -> None:
    kind = {"early_stopping": "patience", "scheduler": "plateau"}[key]
    with pytest.raises(ConfigError, match=rf"trainer\.{key}\.monitor is 'epoch', which is not logged"):
        directions(distance(), **{key: {"type": kind, "monitor": "epoch"}})


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


def test_the_default_augmentations_warn_on_a_logarithm(settings: Settings, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    image = generator.normal(21.5, 0.2, (1, 64, 96)).astype(np.float32)
    target = (generator.random((64, 96)) < 0.2).astype(np.uint8)
    file = write_patch_file(tmp_path / "log.h5", image, 16, 8, (target, np.ones_like(target)))
    run = settings()
    del run["trainer"]["augmentations"]
    run |= {"data": {"path": str(file.path)}, "split": {"k": 4, "area_size": 16}}
    with pytest.warns(BigsfWarning, match=r"filaments and paste measure .* vary by only 0\.\d+ around 21\.\d+, as"):
        Trainer.from_config(run, dry_run=True)


@pytest.fixture
def quarters(settings: Settings, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Return the dictionary of a run on a map whose four folds are its quarters from left to right.

    The folds 1 and 2 train, 3 validates. Target and labels lie in the folds that are told.
    """
    generator = np.random.default_rng(0)
    image = generator.uniform(1, 2, (1, 32, 128)).astype(np.float32)

    def make(
        target: set[int], labelled: set[int], weight: float = 0.3, no_background: int = 0, **trainer: Any
    ) -> dict[str, Any]:
        fold = np.repeat([1, 2, 3, 4], 32) * np.ones((32, 1), int)
        planes = np.isin(fold, list(target)).astype(np.uint8), np.isin(fold, list(labelled)).astype(np.uint8)
        planes[0][::2] = 0
        planes[1][fold == no_background] = planes[0][fold == no_background]
        file = write_patch_file(tmp_path / "quarters.h5", image, 16, 8, planes)
        run = settings(loss={"type": "bce", "unlabelled_weight": weight}, **trainer)
        split = SplitConfig(k=4, k_train=2, area_size=32, strategy=NaiveStrategyConfig(type="naive"))
        path = tmp_path / "quarters.folds.json"
        path.write_text(folds_json(Folds.make(file, split)))
        return {**run, "data": {"path": str(file.path)}, "split": {"k": 4, "path": str(path)}}

    return make


ALL = {1, 2, 3, 4}


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize(
    ("labelled", "named"), [({1, 2, 4}, r"validation folds \[3\]"), ({3, 4}, r"training folds \[1, 2\]")]
)
def test_folds_without_a_loss_are_refused_before_the_first_step(
    quarters: Callable[..., dict[str, Any]], labelled: set[int], named: str, dry_run: bool
) -> None:
    run = quarters(labelled, labelled, weight=0.0)
    with pytest.raises(DataError, match=rf"The {named} hold no labelled pixel, and .*unlabelled_weight is 0"):
        Trainer.from_config(run, dry_run=dry_run)


def test_a_kfold_refuses_such_folds_before_its_first_split(quarters: Callable[..., dict[str, Any]]) -> None:
    run = RunConfig.from_dict(quarters({1, 2, 3}, {1, 2, 3}, weight=0.0))
    with pytest.raises(DataError, match=r"The validation folds \[4\] hold no labelled pixel"):
        KFold.from_config(run).run()
    assert not (run.trainer.output_dir / run.trainer.run_name).exists()


def test_a_dry_run_of_a_kfold_refuses_them_too(quarters: Callable[..., dict[str, Any]]) -> None:
    trainer = Trainer.from_config(quarters({1, 2, 3}, {1, 2, 3}, weight=0.0), dry_run=True)
    with pytest.raises(DataError, match=r"The validation folds \[4\] hold no labelled pixel"):
        describe_kfold(trainer)


def test_validation_folds_without_a_structure_are_named_once(quarters: Callable[..., dict[str, Any]]) -> None:
    with pytest.warns(
        BigsfWarning, match=r"validation folds \[3\] hold no pixel of a known structure.* be 0\.5"
    ) as said:
        trainer = Trainer.from_config(quarters({1, 2, 4}, ALL, epochs=1))
    assert len(said) == 1
    assert trainer.train().thresholds == Thresholds(whole=0.5, labelled=0.5)


def test_validation_folds_without_background_choose_no_threshold_of_labels(
    quarters: Callable[..., dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    trainer = Trainer.from_config(quarters(ALL, ALL, no_background=3, epochs=1))
    assert "The validation folds [3] hold no pixel of sure background" in caplog.text
    assert trainer.train().thresholds.labelled == 0.5


@pytest.mark.parametrize(
    ("best_by", "labelled", "lacking"),
    [
        ("val_whole_dice", ALL, "pixel of a known structure"),
        ("val_average_precision", ALL, "pixel of a known structure"),
        ("val_roc_auc", ALL, "pixel of a known structure"),
        ("val_dice", {1, 2, 4}, "labelled pixel"),
    ],
)
def test_a_score_that_is_not_defined_cannot_choose_the_best(
    quarters: Callable[..., dict[str, Any]], best_by: str, labelled: set[int], lacking: str
) -> None:
    with pytest.raises(DataError, match=rf"\[3\] hold no {lacking}, so that {best_by}, which chooses best\.pt"):
        Trainer.from_config(quarters({1, 2, 4}, labelled, best_by=best_by))


@pytest.mark.parametrize(
    ("part", "decides"),
    [
        ({"early_stopping": {"type": "patience", "monitor": "val_whole_dice"}}, "stops the training"),
        ({"scheduler": {"type": "plateau", "monitor": "val_whole_dice"}}, "sets the learning rate"),
    ],
)
def test_a_score_that_is_not_defined_decides_nothing_else(
    quarters: Callable[..., dict[str, Any]], part: dict[str, Any], decides: str
) -> None:
    with pytest.raises(DataError, match=rf"so that val_whole_dice, which {decides}, is not defined"):
        Trainer.from_config(quarters({1, 2, 4}, {1, 2, 3, 4}, best_by="val_loss", **part))


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


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_kfold_that_does_not_test_every_fold_says_so(settings: Settings, tmp_path: Path, dry_run: bool) -> None:
    config = settings(epochs=1)
    one = config | {"split": {"path": tmp_path / "one.folds.json", "k": 1, "area_size": 16}}
    trainer = Trainer.from_config(one)  # it writes the folds
    other = RunConfig.from_dict(config | {"split": {"path": tmp_path / "one.folds.json"}})
    run = (lambda: describe_kfold(trainer)) if dry_run else KFold.from_config(other).run
    with pytest.warns(
        BigsfWarning, match=r"\(k: 1, for the training of one model\) test 1 of 10 folds: .* remove that"
    ):
        run()


@pytest.mark.parametrize("name", ["loss", "whole_dice"])
def test_a_metric_does_not_take_the_name_of_a_quantity_of_validation(settings: Settings, name: str) -> None:
    with pytest.raises(ConfigError, match=f"A metric may not be called {name}"):
        Trainer.from_config(settings(), parts=Parts(metrics={name: DiceConfig(type="dice").build()}), dry_run=True)


def test_a_tracker_whose_package_is_missing_is_refused_before_the_run(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    for dry_run in (True, False):
        with pytest.raises(ConfigError, match=r"pip install 'bigsf\[wandb\]'"):
            Trainer.from_config(settings(trackers=[{"type": "wandb"}]), dry_run=dry_run).train()
    assert not list(tmp_path.rglob("config.yaml"))


@pytest.mark.filterwarnings("error")
def test_default_numbers_of_epochs_may_differ_between_splits() -> None:
    config = RunConfig.from_dict({"data": {"path": "a.h5"}})
    warn_of_other_epochs(["split_1", "split_2"], [4, 5], config)
