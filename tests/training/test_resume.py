"""What ties a run to its folder, its folds and its data, when it is taken up again."""

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from astropy.io import fits

from bigsf.arrays import BoolArray, FloatArray
from bigsf.errors import (
    BigsfWarning,
    ConfigError,
    DataError,
    InterruptedRunError,
    SnapshotError,
    UsageError,
)
from bigsf.metrics import CountRatio, Metric
from bigsf.metrics.metric import SentState, State
from bigsf.patches.patch_file import PatchFile
from bigsf.patches.preprocess import PreprocessConfig, preprocess
from bigsf.segmentation.segment import segment
from bigsf.training.build import Parts
from bigsf.training.callbacks import Callback, Checkpoints
from bigsf.training.components.losses import Focal
from bigsf.training.kfold import KFold
from bigsf.training.resume import relocated
from bigsf.training.run_config import RunConfig
from bigsf.training.run_folder import RunFolder
from bigsf.training.snapshot import Snapshot
from bigsf.training.state import TrainingState
from bigsf.training.trainer import Trainer
from conftest import FOUR_EPOCHS, Settings, Sky, preprocess_config
from runs import ActAt, assert_same_run, kill, rows, scripted, terminate_at


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
    with pytest.raises(UsageError, match=r"holds a run of bigsf train\. Choose another"):
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


def test_a_kfold_goes_on_after_its_patch_file_was_moved(run_dict: Settings, patch_path: Path, tmp_path: Path) -> None:
    first, moved = tmp_path / "first.h5", tmp_path / "far" / "moved.h5"
    shutil.copy(patch_path, first)
    settings = run_dict(epochs=1)
    settings["data"]["path"] = str(first)
    settings["split"] |= {"path": None}
    config = RunConfig.from_dict(settings)
    kfold = KFold.from_config(config)
    kfold.run(only=1)
    moved.parent.mkdir()
    for path in (first, first.with_name("first.folds.json")):
        path.rename(moved.with_name(path.name.replace("first", "moved")))
    with pytest.raises(DataError, match=r"first\.h5 does not exist"):
        KFold.from_folder(kfold.path)
    KFold.from_folder(kfold.path, data=moved).run(only=2)
    for number in (3, 4):
        KFold.from_folder(kfold.path).run(only=number)  # the record knows where it lies now
    assert KFold.from_folder(kfold.path).run() is not None


def test_a_kfold_of_runs_of_different_lengths_says_so(run_dict: Settings) -> None:
    config = RunConfig.from_dict(run_dict(epochs=1, scheduler=None))
    kfold = KFold.from_config(config)
    for number in (1, 2, 3):
        kfold.run(only=number)
    Trainer.from_snapshot(kfold.path / "split_2", epochs=2).train()
    with pytest.warns(
        BigsfWarning, match=r"says 1 epoch, and these runs were trained for other numbers: split_2 2\. The report"
    ):
        KFold.from_folder(kfold.path).run()


def test_weights_of_another_run_are_the_first(run_dict: Settings) -> None:
    first = Trainer.from_config(run_dict(epochs=1))
    first.train()
    with pytest.warns(BigsfWarning, match=r"best\.pt: 100% of the pixels of sky\.h5 are pixels of a map that"):
        second = Trainer.from_config(run_dict(run_name="second", start_from=str(first.folder.best)))
    expected = Snapshot.load(first.folder.best).model_state
    for name, weight in second.run.model.state_dict().items():
        np.testing.assert_array_equal(weight, expected[name])


def test_a_model_remembers_the_maps_of_the_model_that_it_started_from(
    run_dict: Settings, sky: Sky, tmp_path: Path
) -> None:
    first = Trainer.from_config(run_dict(epochs=1))
    first.train()
    header = sky.header.copy()
    header["CRVAL1"] = 90.0
    for plane, factor in (("image", 2.0), ("target", 1)):
        fits.PrimaryHDU(factor * getattr(sky, plane), header).writeto(tmp_path / f"{plane}.fits")
    files = {plane: tmp_path / f"{plane}.fits" for plane in ("image", "target")}
    planes = PreprocessConfig(image=files["image"], target=files["target"], patch_size=16, stride=4)
    preprocess(planes, tmp_path / "elsewhere.h5")
    settings = run_dict(run_name="second", start_from=str(first.folder.best))
    settings |= {"data": {"path": str(tmp_path / "elsewhere.h5")}, "split": {"k": 4, "area_size": 32}}
    second = Trainer.from_config(settings)
    with pytest.raises(InterruptedRunError):
        second.train(time_limit_s=0)
    Trainer.from_snapshot(second.folder.path).train()
    sources = [known["image_sha256"] for known in Snapshot.load(second.folder.best).training_maps]
    assert sources == [PatchFile(path).image_sha256 for path in (sky.folder / "sky.h5", tmp_path / "elsewhere.h5")]


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
    assert set(scores.baselines) == {"column density", "local contrast", "Sato filter", "Frangi filter"}
    assert scores.baseline_scales.keys() == scores.baselines.keys()
    assert 0 < (scores.baselines["Sato filter"]["whole"]["average_precision"] or 0) <= 1


def test_a_family_without_a_type_is_its_default_member() -> None:
    text = "{data: {path: a.h5}, trainer: {optimizer: {lr: 0.5}, model: {features: 4, normalization: {}}}}"
    trainer = RunConfig.from_dict(yaml.safe_load(text)).trainer
    assert (trainer.optimizer.type, trainer.model.type, trainer.model.normalization.type) == (
        "muon",
        "unet",
        "log",
    )


def test_the_mask_in_the_file_of_a_map_is_used(sky: Sky, trained: Path, tmp_path: Path) -> None:
    image = np.where(np.isnan(sky.image), 1e22, 1.1 * sky.image)  # not the map of the training
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


def test_four_epochs_equal_two_and_two_more(settings: Settings, trained: Path) -> None:
    trainer = Trainer.from_config(settings(**{**FOUR_EPOCHS, "epochs": 2}))
    trainer.train()
    Trainer.from_snapshot(trainer.folder.path, epochs=4).train()
    assert_same_run(trainer.folder.path, trained)


@pytest.mark.parametrize(("epoch", "step"), [(0, 0), (1, 4), (2, -1), (3, 5)])
def test_stopped_run_goes_on_as_if_undisturbed(settings: Settings, trained: Path, epoch: int, step: int) -> None:
    step %= Trainer.from_config(settings(**FOUR_EPOCHS)).run.dataset.steps
    trainer = Trainer.from_config(settings(**FOUR_EPOCHS), callbacks=[terminate_at(epoch, step)])
    with pytest.raises(InterruptedRunError, match=rf"SIGTERM after step {step + 1} of .*bigsf resume") as stopped:
        trainer.train()
    assert stopped.value.exit_code == 128 + 15
    snapshot = Snapshot.load(trainer.folder.last)
    assert (snapshot.epochs_run, snapshot.steps_run) == (epoch, step + 1)
    Trainer.from_snapshot(trainer.folder.path).train()
    assert_same_run(trainer.folder.path, trained)


def test_killed_run_goes_on_from_its_last_regular_save(settings: Settings, trained: Path) -> None:
    trainer = Trainer.from_config(settings(**FOUR_EPOCHS, save_every=1e-9), callbacks=[ActAt(1, 3, kill)])
    with pytest.raises(SystemExit, match="killed"):
        trainer.train()
    assert Snapshot.load(trainer.folder.last).steps_run == 4
    Trainer.from_snapshot(trainer.folder.path).train()
    assert_same_run(trainer.folder.path, trained)


@pytest.mark.parametrize("killed_at", ["best.pt", "last.pt"])
def test_a_run_killed_between_the_saves_of_an_epoch_sets_nothing_aside(
    killed_at: str, settings: Settings, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer.from_config(settings(**FOUR_EPOCHS))
    save = Checkpoints._save

    def save_or_die(checkpoints: Checkpoints, path: Path) -> None:
        if checkpoints.run.state.epochs_run == 2 and path.name == killed_at:
            kill()
        save(checkpoints, path)

    monkeypatch.setattr(Checkpoints, "_save", save_or_die)
    with pytest.raises(SystemExit):
        trainer.train()
    monkeypatch.undo()
    Trainer.from_snapshot(trainer.folder.path).train()
    assert_same_run(trained, trainer.folder.path)
    assert not trainer.folder.superseded.exists()


def test_run_killed_before_its_first_save_starts_anew(settings: Settings, trained: Path) -> None:
    config = RunConfig.from_dict(settings(**FOUR_EPOCHS))
    trainer = Trainer.from_config(config)
    trainer.folder.start(trainer.run.config, trainer.run.machine, overwrite=False)
    Trainer.from_snapshot(trainer.folder.path).train()
    assert_same_run(trainer.folder.path, trained)


def test_finished_run_resumed_changes_nothing(trained: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(trained, tmp_path / "copy")
    Trainer.from_snapshot(folder).train()
    assert_same_run(folder, trained)


def test_moved_run_goes_on_where_it_lies(trained: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(trained, tmp_path / "moved" / "elsewhere")
    trainer = Trainer.from_snapshot(folder / "last.pt", epochs=5)
    assert trainer.folder.path == folder
    trainer.train()
    assert len(rows(folder)) == 5
    assert len(rows(trained)) == 4


def test_going_back_to_best_keeps_what_is_newer(settings: Settings) -> None:
    trainer = scripted(Trainer.from_config(settings(epochs=3, best_by="val_loss")), 0.5, 0.3, 0.4)
    trainer.train()
    folder = trainer.folder
    newer = folder.last.read_bytes()
    going_back = Trainer.from_snapshot(folder.best, epochs=4, callbacks=[ActAt(2, 0, kill)])
    with pytest.raises(SystemExit, match="killed"):
        going_back.train()
    assert Snapshot.load(folder.last).epochs_run == 2, "a run that is stopped right away can be resumed"
    scripted(Trainer.from_snapshot(folder.path, epochs=4), 0.35, 0.2).train()
    assert (folder.superseded / "last_3_epochs.pt").read_bytes() == newer
    superseded = (folder.superseded / "metrics_3_epochs.csv").read_text().splitlines()
    assert len(superseded) == 4
    assert [row["val_loss"] for row in rows(folder.path)] == ["0.5", "0.3", "0.35", "0.2"]
    with pytest.raises(SnapshotError, match=r"last_3_epochs\.pt was set aside when its run went back"):
        Trainer.from_snapshot(folder.superseded / "last_3_epochs.pt")
    assert Snapshot.load(folder.best).epochs_run == 4


def copy_after(settings: Settings, losses: list[float], epoch: int) -> tuple[RunFolder, Path]:
    """Train with scripted losses; return the run folder, and a copy in it of last.pt after an epoch."""

    class Copy(Callback):
        def after_epoch(self, state: TrainingState) -> None:
            if state.epochs_run == epoch:
                shutil.copy(trainer.folder.last, trainer.folder.path / "copy.pt")

    trainer = Trainer.from_config(settings(epochs=len(losses), best_by="val_loss"), callbacks=[Copy()])
    scripted(trainer, *losses).train()
    return trainer.folder, trainer.folder.path / "copy.pt"


def test_going_back_to_the_best_so_far_keeps_it_as_best(settings: Settings) -> None:
    folder, copy = copy_after(settings, [0.5, 0.3, 0.1], epoch=2)
    newer = folder.best.read_bytes()
    scores = scripted(Trainer.from_snapshot(copy), 0.4).train()
    assert (scores.best_epoch, scores.best_value) == (2, 0.3)
    assert (folder.superseded / "best_3_epochs.pt").read_bytes() == newer
    for name, weight in Snapshot.load(copy).model_state.items():
        np.testing.assert_array_equal(Snapshot.load(folder.best).model_state[name], weight)


def test_going_back_where_the_best_so_far_was_replaced_is_said(settings: Settings) -> None:
    folder, copy = copy_after(settings, [0.3, 0.5, 0.1, 0.6], epoch=2)
    lost = r"best model of the 2 epochs so far, that of epoch 1, was replaced: .*best\.pt holds epoch 3\."
    with pytest.raises(SnapshotError, match=rf"{lost} Train further with a larger 'epochs'"):
        Trainer.from_snapshot(copy, epochs=2)
    with pytest.warns(BigsfWarning, match=rf"{lost} best\.pt is chosen among the epochs from here on"):
        trainer = scripted(Trainer.from_snapshot(copy), 0.4, 0.6)
    scores = trainer.train()
    assert (scores.best_epoch, scores.best_value) == (3, 0.4)
    assert Snapshot.load(folder.best).epochs_run == 3


def test_a_snapshot_that_goes_on_alone_is_the_best_or_says_that_the_best_is_gone(
    settings: Settings, tmp_path: Path
) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    _, copy = copy_after(settings, [0.3, 0.1], epoch=1)
    shutil.move(copy, alone / "last.pt")
    assert scripted(Trainer.from_snapshot(alone), 0.4).train().best_epoch == 1
    (alone / "best.pt").unlink()
    with pytest.warns(
        BigsfWarning, match=r"that of epoch 1, is gone: there is no .*best\.pt\. best\.pt is chosen among"
    ):
        assert scripted(Trainer.from_snapshot(alone, epochs=3), 0.5).train().best_epoch == 3


def test_an_optimizer_whose_states_have_shapes_of_their_own_goes_on(settings: Settings) -> None:
    optimizer = {"type": "custom", "target": "torch.optim:Adafactor"}  # means of rows and columns
    trainer = Trainer.from_config(settings(epochs=1, optimizer=optimizer))
    trainer.train()
    assert Trainer.from_snapshot(trainer.folder.path, epochs=2, trust=True).train().epochs_run == 2


def test_a_run_does_not_go_on_with_other_metrics_and_keeps_its_snapshot(settings: Settings) -> None:
    parts = Parts(metrics={"mine": CountRatio(0.5, (0, 1, 1), (1, 1, 1))})
    trainer = Trainer.from_config(settings(epochs=1), parts=parts)
    trainer.train()
    others = Parts(metrics={"other": CountRatio(0.5, (0, 1, 1), (1, 1, 1))})
    with pytest.raises(ConfigError, match=r"logs .*val_other.* before logged .*val_mine.* the run was started with"):
        Trainer.from_snapshot(trainer.folder.path, epochs=2, parts=others).train()
    assert Trainer.from_snapshot(trainer.folder.path, epochs=2, parts=parts).train().epochs_run == 2


def test_a_run_with_parts_of_its_own_says_how_it_goes_on_and_goes_on_with_nothing_else(settings: Settings) -> None:
    parts = Parts(loss=Focal(1.0), optimizer=lambda weights: torch.optim.NAdam(weights, lr=2e-3))
    trainer = Trainer.from_config(settings(), parts=parts)
    go_on = rf"from_snapshot\('{trainer.folder.path}.*', parts=bigsf\.Parts\(loss=\.\.\., optimizer=\.\.\.\)\)"
    with pytest.raises(InterruptedRunError, match=go_on):
        trainer.train(time_limit_s=0)
    with pytest.raises(SnapshotError, match=rf"parts of its own, which no snapshot holds.*{go_on}"):
        Trainer.from_snapshot(trainer.folder.path)
    with pytest.raises(SnapshotError, match=r"Parts\(optimizer=\.\.\.\)"):
        Trainer.from_snapshot(trainer.folder.path, parts=Parts(loss=Focal(1.0)))
    assert Trainer.from_snapshot(trainer.folder.path, parts=parts).run.handed_in == ["loss", "optimizer"]


def test_a_run_with_parts_of_its_own_that_was_never_saved_does_not_go_on_without_them(settings: Settings) -> None:
    trainer = Trainer.from_config(settings(), parts=Parts(loss=Focal(1.0)), callbacks=[ActAt(0, 1, kill)])
    with pytest.raises(SystemExit, match="killed"):
        trainer.train()
    assert trainer.folder.newest_snapshot is None
    with pytest.raises(SnapshotError, match=r"parts=bigsf\.Parts\(loss=\.\.\.\)"):
        Trainer.from_snapshot(trainer.folder.path)


def test_a_run_of_the_name_superseded_goes_on(settings: Settings) -> None:
    trainer = Trainer.from_config(settings(run_name="superseded"))
    with pytest.raises(InterruptedRunError):
        trainer.train(time_limit_s=0)
    assert Trainer.from_snapshot(trainer.folder.path / "last.pt").folder.path == trainer.folder.path


def test_more_epochs_warn_where_the_schedule_depends_on_them(settings: Settings) -> None:
    trainer = Trainer.from_config(settings(epochs=1, scheduler={"type": "cosine"}))
    trainer.train()
    with pytest.warns(BigsfWarning, match="cosine schedule depends on the number of epochs: with 3 instead of 1"):
        Trainer.from_snapshot(trainer.folder.path, epochs=3)


def test_no_epoch_at_all_is_refused(trained: Path) -> None:
    with pytest.raises(UsageError, match="epochs=0 trains nothing: expected 1 or more"):
        Trainer.from_snapshot(trained, epochs=0)


def test_fewer_epochs_than_were_run_are_refused(trained: Path) -> None:
    with pytest.raises(UsageError, match="epochs=3 is less than the 4 epochs"):
        Trainer.from_snapshot(trained, epochs=3)


def test_what_is_no_run_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match=r"neither last\.pt nor config\.yaml"):
        Trainer.from_snapshot(tmp_path)


@pytest.mark.parametrize("with_folds", [True, False])
def test_resuming_on_another_patch_file_is_refused(
    run_dict: Settings, sky: Sky, patch_path: Path, tmp_path: Path, with_folds: bool
) -> None:
    data = shutil.copy(patch_path, tmp_path / "data.h5")
    trainer = Trainer.from_config({**run_dict(epochs=1), "data": {"path": str(data)}})
    trainer.train()
    preprocess(preprocess_config(sky, stride=8), data, overwrite=True)
    if not with_folds:
        (tmp_path / "sky.folds.json").unlink()
    with pytest.raises(DataError, match=r"(made for|trained on) another patch file \([0-9a-f]{8}\.\.\. there"):
        Trainer.from_snapshot(trainer.folder.path)


def test_a_received_run_folder_leads_nowhere_else(run_dict: Settings, tmp_path: Path) -> None:
    trainer = Trainer.from_config(run_dict(epochs=1))
    trainer.train()
    folder, thesis = trainer.folder, tmp_path / "thesis.txt"
    thesis.write_text("years of work")
    folder.log.unlink()
    folder.log.symlink_to(thesis)
    with pytest.raises(UsageError, match=r"train.log could not be written: Too many levels of symbolic links"):
        Trainer.from_snapshot(folder.path, epochs=2).train()
    folder.log.unlink()
    (tmp_path / "elsewhere").mkdir()
    folder.superseded.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=r"superseded is a link, which is not followed"):
        folder.set_aside([folder.best], 1)
    assert thesis.read_text() == "years of work"
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_going_on_writes_no_folds(run_dict: Settings, tmp_path: Path) -> None:
    """The path of a folds file in a received snapshot may lie anywhere."""
    config = RunConfig.from_dict(run_dict(epochs=1))
    trainer = Trainer.from_config(config)
    trainer.train()
    KFold.from_config(RunConfig.from_dict(run_dict(epochs=1, run_name="folds"))).run(only=1)
    unsaved = tmp_path / "results" / "unsaved"
    unsaved.mkdir()
    shutil.copy(trainer.folder.config, unsaved)
    folds = trainer.run.folds.config.path or tmp_path / "sky.folds.json"
    folds.unlink()
    before = sorted(path.name for path in tmp_path.iterdir())
    Trainer.from_snapshot(trainer.folder.path, epochs=2)
    Trainer.from_snapshot(unsaved).train()
    KFold.from_folder(tmp_path / "results" / "folds").run(only=2)
    assert RunFolder(tmp_path / "results" / "folds" / "split_2").complete
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def lead_elsewhere(folder: Path, elsewhere: Path) -> dict[str, bytes]:
    """Move all files of a folder, and put links to them in their places; return their contents."""
    elsewhere.mkdir()
    for number, file in enumerate(path for path in sorted(folder.rglob("*")) if path.is_file()):
        target = file.rename(elsewhere / f"{number}_{file.name}")
        file.symlink_to(target)
    return {path.name: path.read_bytes() for path in elsewhere.iterdir()}


def test_no_file_of_a_run_is_written_where_a_link_leads(run_dict: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "results" / "run"
    Trainer.from_config(run_dict(epochs=1)).train()
    before = lead_elsewhere(folder, tmp_path / "elsewhere")
    assert {name.partition("_")[2] for name in before} >= {"last.pt", "best.pt", "train.log", "metrics.csv"}
    with pytest.raises(UsageError, match=r"train.log could not be written"):
        Trainer.from_snapshot(folder, epochs=2).train()
    (folder / "train.log").unlink()
    Trainer.from_snapshot(folder, epochs=2).train()
    assert {path.name: path.read_bytes() for path in (tmp_path / "elsewhere").iterdir()} == before
    assert not [path for path in folder.iterdir() if path.is_symlink()]


def test_no_file_of_a_kfold_is_written_where_a_link_leads(run_dict: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "results" / "run"
    KFold.from_config(RunConfig.from_dict(run_dict(epochs=1))).run()
    made = sorted(path.name for path in folder.iterdir() if path.is_file())
    before = lead_elsewhere(folder, tmp_path / "elsewhere")
    KFold.from_folder(folder).run()
    assert {path.name: path.read_bytes() for path in (tmp_path / "elsewhere").iterdir()} == before
    assert sorted(path.name for path in folder.iterdir() if path.is_file() and not path.is_symlink()) == made
    split = (folder / "split_1").rename(tmp_path / "split")
    (folder / "split_1").symlink_to(split)
    (split / "scores.json").unlink()
    contents = {path.name: path.lstat().st_mtime_ns for path in split.iterdir()}
    for overwrite in (False, True):
        with pytest.raises(UsageError, match=r"split_1 is a link, which is not followed\. Remove it"):
            KFold.from_folder(folder).run(overwrite=overwrite)
    assert {path.name: path.lstat().st_mtime_ns for path in split.iterdir()} == contents


def test_what_newer_rows_lead_to_is_not_copied_into_the_folder(run_dict: Settings, tmp_path: Path) -> None:
    trainer = Trainer.from_config(run_dict(epochs=1))
    trainer.train()
    (tmp_path / "secret.txt").write_text("a password")
    trainer.folder.metrics.unlink()
    trainer.folder.metrics.symlink_to(tmp_path / "secret.txt")
    with pytest.raises(UsageError, match=r"metrics.csv is a link, which is not followed"):
        trainer.folder.set_aside([trainer.folder.metrics], 1)
    trainer.folder.superseded.symlink_to(tmp_path)
    with pytest.raises(UsageError, match=r"superseded is a link, which is not followed"):
        trainer.folder.clear()


@pytest.mark.parametrize("name", ["last.pt", "config.yaml", "sky.folds.json"])
def test_a_pipe_in_a_received_folder_is_not_opened(name: str, run_dict: Settings, tmp_path: Path) -> None:
    config = run_dict(epochs=1)
    config["split"] = {**config.get("split", {}), "path": str(tmp_path / "results" / "run" / "sky.folds.json")}
    trainer = Trainer.from_config(config)
    trainer.train()
    pipe = trainer.folder.path / name
    pipe.unlink()
    os.mkfifo(pipe)
    if name == "config.yaml":
        for snapshot in (trainer.folder.last, trainer.folder.best):
            snapshot.unlink()
    with pytest.raises((SnapshotError, DataError), match=rf"{name} is no.* regular file"):
        Trainer.from_snapshot(trainer.folder.path)


class TerminatingMetric(Metric):
    """Sends SIGTERM in the validation of an epoch, once."""

    def __init__(self, epoch: int) -> None:
        self.epochs_left = epoch

    def update(self, probability: FloatArray, target: BoolArray, labelled: BoolArray) -> None:
        if self.epochs_left == 0:
            self.epochs_left = -1
            signal.raise_signal(signal.SIGTERM)

    def compute(self) -> float:
        return 0.5

    def reset(self) -> None:
        self.epochs_left -= self.epochs_left > 0

    def state(self) -> State:
        return {}

    def merge(self, state: SentState) -> None:
        return


def test_a_run_that_is_stopped_in_its_validation_goes_on_as_if_undisturbed(run_dict: Settings) -> None:
    never, second = Parts(metrics={"none": TerminatingMetric(99)}), Parts(metrics={"none": TerminatingMetric(2)})
    undisturbed = Trainer.from_config(run_dict(run_name="undisturbed"), parts=never)
    undisturbed.train()
    stopped = Trainer.from_config(run_dict(), parts=second)
    with pytest.raises(
        InterruptedRunError, match=r"Stopped by SIGTERM after step (\d+) of \1 of epoch 2; last.pt is w"
    ):
        stopped.train()
    Trainer.from_snapshot(stopped.folder.path, parts=never).train()
    assert_same_run(undisturbed.folder.path, stopped.folder.path)


def test_a_run_saves_in_its_validation_too(run_dict: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer.from_config(run_dict(epochs=1, save_every=1e-9))
    saved: list[tuple[int, int]] = []
    save_last = trainer.checkpoints.save_last

    def note_and_save() -> None:
        saved.append((trainer.run.state.epochs_run, trainer.run.state.steps_run))
        save_last()

    monkeypatch.setattr(trainer.checkpoints, "save_last", note_and_save)
    trainer.train()
    steps = trainer.run.dataset.steps
    assert saved.count((0, steps)) > 1, "after the last step, and in the validation"


def test_a_damaged_last_snapshot_does_not_keep_from_going_back_to_the_best(settings: Settings) -> None:
    trainer = scripted(Trainer.from_config(settings(epochs=3, best_by="val_loss")), 0.5, 0.3, 0.4)
    trainer.train()
    folder = trainer.folder
    folder.last.write_bytes(damaged := folder.last.read_bytes()[:2000])
    with pytest.warns(BigsfWarning, match=r"last\.pt .*It will be set aside"):
        going_back = scripted(Trainer.from_snapshot(folder.best, epochs=3), 0.2)
    assert going_back.train().best_epoch == 3
    assert Snapshot.load(folder.last).epochs_run == 3
    assert [path.read_bytes() for path in folder.superseded.glob("last_*.pt")] == [damaged]


def test_an_interrupted_trainer_trains_on(settings: Settings, trained: Path) -> None:
    trainer = Trainer.from_config(settings(**FOUR_EPOCHS), callbacks=[terminate_at(1, 0)])
    with pytest.raises(InterruptedRunError):
        trainer.train()
    trainer.train()
    assert_same_run(trainer.folder.path, trained)


def test_data_of_ones_own_are_not_moved_by_an_option(run_dict: Settings) -> None:
    config = RunConfig.from_dict({**run_dict(), "data": {"type": "custom", "target": "mylab:Data"}})
    with pytest.raises(ConfigError, match="would do nothing: the data of this run are your own"):
        relocated(config, Path("run"), "moved.h5")
