"""What ties a run to its folder, its folds and its data, when it is taken up again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from astropy.io import fits

from bigsf.errors import BigsfWarning, ConfigError, DataError, SnapshotError, UsageError
from bigsf.metrics import CountRatio
from bigsf.segmentation.segment import segment
from bigsf.training.build import Parts
from bigsf.training.kfold import KFold
from bigsf.training.run_config import RunConfig
from bigsf.training.snapshot import Snapshot
from bigsf.training.trainer import Trainer
from conftest import Sky

Settings = Callable[..., dict[str, Any]]


def edit_folds(path: Path) -> None:
    data = json.loads(path.read_text())
    data["grid"][0][0], data["grid"][0][1] = data["grid"][0][1], data["grid"][0][0]
    data["grid"][0][0] = data["grid"][0][0] % 4 + 1
    path.write_text(json.dumps(data))


@pytest.mark.filterwarnings("ignore:.*was edited by hand:bigsf.errors.BigsfWarning")
def test_a_run_does_not_go_on_with_other_folds(run_dict: Settings, tmp_path: Path) -> None:
    trainer = Trainer.from_config(run_dict(epochs=1))
    trainer.train()
    edit_folds(tmp_path / "sky.folds.json")
    with pytest.raises(DataError, match=r"was trained on other folds .*to go on would mix training and test areas"):
        Trainer.from_snapshot(trainer.folder.path, epochs=2)


@pytest.mark.filterwarnings("ignore:.*was edited by hand:bigsf.errors.BigsfWarning")
def test_an_out_of_fold_map_is_not_made_with_other_folds(run_dict: Settings, tmp_path: Path) -> None:
    config = RunConfig.from_dict(run_dict(epochs=1))
    KFold.from_config(config).run()
    edit_folds(tmp_path / "sky.folds.json")
    with pytest.raises(DataError, match="other folds, so its test areas are not those of today"):
        KFold.from_config(config).run()


def test_overwriting_a_run_removes_nothing_else(run_dict: Settings, tmp_path: Path) -> None:
    Trainer.from_config(run_dict(epochs=1)).train()
    own = tmp_path / "results" / "run" / "notes.txt"
    own.write_text("mine")
    Trainer.from_config(run_dict(epochs=1), overwrite=True).train()
    assert own.read_text() == "mine"


def test_a_config_that_no_run_recorded_is_left_alone(run_dict: Settings, tmp_path: Path) -> None:
    written = tmp_path / "config.yaml"
    written.write_text(f"# mine\n{yaml.safe_dump(json.loads(json.dumps(run_dict(), default=str)))}")
    before = written.read_text()
    with pytest.raises(SnapshotError, match=r"No run recorded .* Start one with bigsf train"):
        Trainer.from_snapshot(tmp_path)
    assert written.read_text() == before


def test_a_run_and_a_kfold_do_not_share_a_folder(run_dict: Settings) -> None:
    config = RunConfig.from_dict(run_dict(epochs=1))
    trainer = Trainer.from_config(config)
    trainer.train()
    with pytest.raises(UsageError, match="holds something else"):
        KFold.from_config(config).run(overwrite=True)
    other = RunConfig.from_dict(run_dict(epochs=1, run_name="folds"))
    KFold.from_config(other).run(only=1)
    with pytest.raises(UsageError, match="holds a k-fold"):
        Trainer.from_config(other, overwrite=True).train()


def test_a_moved_kfold_goes_on_where_it_lies(run_dict: Settings, tmp_path: Path) -> None:
    config = RunConfig.from_dict(run_dict(epochs=1))
    KFold.from_config(config).run(only=1)
    moved = tmp_path / "moved" / "my runs (1)"
    moved.parent.mkdir()
    shutil.move(tmp_path / "results" / "run", moved)
    KFold.from_folder(moved).run()
    assert (moved / "out_of_fold.fits").exists()
    assert not (tmp_path / "results" / "run").exists()


def test_weights_of_another_run_are_the_first(run_dict: Settings) -> None:
    first = Trainer.from_config(run_dict(epochs=1))
    first.train()
    with pytest.warns(BigsfWarning, match="was trained on this very map"):
        second = Trainer.from_config(run_dict(run_name="second", start_from=str(first.folder.best)))
    expected = Snapshot.load(first.folder.best).model_state
    for name, weight in second.run.model.state_dict().items():
        np.testing.assert_array_equal(weight, expected[name])


def test_a_metric_may_return_a_number_of_numpy(run_dict: Settings) -> None:
    class Numpy(CountRatio):
        def compute(self) -> float:
            return np.float64(super().compute())

    trainer = Trainer.from_config(run_dict(epochs=1), parts=Parts(metrics={"own": Numpy(0.5, (2, 0, 0), (2, 1, 1))}))
    trainer.train()
    assert type(Snapshot.load(trainer.folder.last).history[0]["val_own"]) is float


def test_wrong_arguments_of_a_custom_part_are_named(run_dict: Settings) -> None:
    loss = {"type": "custom", "target": "bigsf.training.components.losses:Focal", "kwargs": {"gama": 2}}
    with pytest.raises(
        ConfigError,
        match=r"bigsf\.training\.components\.losses:Focal does not take kwargs \{'gama': 2\}: missing a required",
    ):
        Trainer.from_config(run_dict(loss=loss))


def test_scores_stand_beside_the_baselines(run_dict: Settings) -> None:
    scores = Trainer.from_config(run_dict(epochs=1)).train()
    assert set(scores.baselines) == {"column density", "local contrast", "ridge filter"}
    assert 0 < (scores.baselines["ridge filter"]["whole"]["average_precision"] or 0) <= 1


def test_a_family_without_a_type_is_its_default_member() -> None:
    text = "{data: {path: a.h5}, trainer: {optimizer: {lr: 0.5}, model: {features: 4, normalization: {}}}}"
    trainer = RunConfig.from_dict(yaml.safe_load(text)).trainer
    assert (trainer.optimizer.type, trainer.model.type, trainer.model.normalization.type) == (
        "adamw",
        "unet",
        "log",
    )


def test_the_mask_in_the_file_of_a_map_is_used(sky: Sky, trained: Path, tmp_path: Path) -> None:
    image = np.where(np.isnan(sky.image), 1e22, sky.image)
    hdus = [fits.PrimaryHDU(image), fits.ImageHDU(sky.valid, name="MISSING")]
    fits.HDUList(hdus).writeto(tmp_path / "map.fits")
    segment(trained, tmp_path / "map.fits", tmp_path / "out.fits")
    np.testing.assert_array_equal(np.isnan(fits.getdata(tmp_path / "out.fits")), sky.valid == 0)


def test_an_inverted_mask_is_refused_by_segment_too(sky: Sky, trained: Path, tmp_path: Path) -> None:
    fits.PrimaryHDU(1 - sky.valid).writeto(tmp_path / "inverted.fits")
    with pytest.raises(DataError, match=r"declares .* finite pixels missing.*is it inverted"):
        segment(trained, sky.path("image"), tmp_path / "out.fits", valid=tmp_path / "inverted.fits")
    assert not (tmp_path / "out.fits").exists()


@pytest.mark.parametrize("straddle", [True, False])
def test_a_kfold_recorded_before_patches_straddled_goes_on_without(
    run_dict: Settings, tmp_path: Path, straddle: bool
) -> None:
    run = run_dict(epochs=1)
    run["data"]["straddle"] = straddle
    runs = KFold.from_config(RunConfig.from_dict(run))
    runs.run(only=1)
    record = runs.path / "kfold.yaml"
    text = record.read_text()
    assert text.count(f"straddle: {str(straddle).lower()}") == 1
    record.write_text("".join(line for line in text.splitlines(keepends=True) if "straddle:" not in line))
    if straddle:  # what lies there is taken for a run without
        with pytest.raises(UsageError, match="holds a k-fold of another configuration"):
            KFold.from_config(RunConfig.from_dict(run)).run(only=2)
    else:
        KFold.from_folder(runs.path).run(only=2)
        assert RunConfig.from_yaml(runs.path / "split_2" / "config.yaml").data.straddle is False
