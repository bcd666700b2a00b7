import csv
import json
import math
import shutil
import signal
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor
from torch._inductor.exc import InvalidCxxCompiler

from bigsf.errors import (
    BigsfWarning,
    ConfigError,
    DataError,
    InterruptedRunError,
    SnapshotError,
    TrainingError,
    UsageError,
)
from bigsf.folds.folds import Folds
from bigsf.metrics.threshold_curve import ThresholdCurve
from bigsf.models.sliding_window import SlidingWindowPredictor
from bigsf.patches.patch_file import PatchFile
from bigsf.patches.preprocess import preprocess
from bigsf.training.build import Parts
from bigsf.training.checks import check_patch_size
from bigsf.training.components.losses import LossSum, bce
from bigsf.training.dataset import Prefetcher
from bigsf.training.run_config import RunConfig
from bigsf.training.snapshot import Snapshot
from bigsf.training.trainer import Trainer
from bigsf.training.validation import Evaluation, evaluate
from conftest import FOUR_EPOCHS, Sky, preprocess_config, write_patch_file

Settings = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("draw_curves", "draw_folds"):
        monkeypatch.setattr(f"bigsf.training.components.trackers.{name}", lambda _, path, *__: path.touch())


@pytest.fixture
def settings(run_in: Settings, tmp_path: Path) -> Settings:
    return lambda **trainer: run_in(tmp_path, **trainer)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let validation, and at last the test, give the losses of a list."""

    def script(*losses: float) -> None:
        values = iter([*losses, 1.0])
        empty = ThresholdCurve()
        monkeypatch.setattr("bigsf.training.trainer.evaluate", lambda *_: Evaluation(next(values), {}, empty, empty))

    return script


@pytest.fixture
def signal_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Send SIGTERM, once, while the batch of an epoch and step is taken."""
    batch = Prefetcher.batch

    def at(wanted_epoch: int, wanted_step: int) -> None:
        def batch_with_signal(prefetcher: Prefetcher, epoch: int, step: int) -> Any:
            if (epoch, step) == (wanted_epoch, wanted_step):
                signal.raise_signal(signal.SIGTERM)
            return batch(prefetcher, epoch, step)

        monkeypatch.setattr(Prefetcher, "batch", batch_with_signal)

    return at


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested dictionaries and lists with their paths; tensors as arrays."""
    if isinstance(value, dict | list | tuple):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from flat(item, f"{name}.{key}")
    else:
        yield name, value.numpy() if isinstance(value, Tensor) else value


def assert_same_run(folder: Path, other: Path, files: tuple[str, ...] = ("best.pt", "last.pt")) -> None:
    """Assert that two runs are equal bit for bit: weights, all states, every row of the log, scores."""
    for file in files:
        one, two = (vars(Snapshot.load(path / file)) for path in (folder, other))
        for state in (one, two):
            del state["global_config"]
        np.testing.assert_equal(dict(flat(one)), dict(flat(two)))
    assert (folder / "metrics.csv").read_text() == (other / "metrics.csv").read_text()
    if (other / "scores.json").exists():
        assert json.loads((folder / "scores.json").read_text()) == json.loads((other / "scores.json").read_text())


# --- a whole run ----------------------------------------------------------------------------------------------------


def test_run_folder_holds_what_is_promised(trained: Path) -> None:
    names = {path.name for path in trained.iterdir()}
    assert names == {
        "config.yaml",
        "metrics.csv",
        "best.pt",
        "last.pt",
        "train.log",
        "environment.json",
        "curves.png",
        "scores.json",
    }
    assert [row["epoch"] for row in rows(trained)] == ["1", "2", "3", "4"]
    assert "epoch 4/4" in (trained / "train.log").read_text()
    assert json.loads((trained / "environment.json").read_text())["packages"]["torch"] == torch.__version__


def test_training_lowers_the_loss_and_finds_the_structures(trained: Path) -> None:
    losses = [float(row["train_loss"]) for row in rows(trained)]
    assert losses[-1] < 0.6 * losses[0]
    assert json.loads((trained / "scores.json").read_text())["test"]["labelled_best_dice"] > 0.95


def test_recorded_config_trains_the_same_run(trained: Path, tmp_path: Path) -> None:
    overrides = [f"trainer.output_dir={tmp_path}", "trainer.epochs=1"]
    trainer = Trainer.from_config(trained / "config.yaml", overrides)
    trainer.train()
    assert rows(trainer.folder.path) == rows(trained)[:1]


def test_same_config_gives_the_same_weights_bit_for_bit(settings: Settings) -> None:
    folders = []
    for name in ("first", "second"):
        trainer = Trainer.from_config(settings(epochs=1, run_name=name, save_every="1s"))
        trainer.train()
        folders.append(trainer.folder.path)
    assert_same_run(folders[0], folders[1])


def test_another_seed_gives_other_weights(settings: Settings) -> None:
    first, second = (Trainer.from_config(settings(seed=seed)).model.state_dict() for seed in (0, 1))
    assert any(not torch.equal(first[name], second[name]) for name in first)


def test_learning_rate_follows_the_schedule(trained: Path) -> None:
    assert [float(row["lr"]) for row in rows(trained)] == [0.01, 0.005, 0.005, 0.0025]


def test_logged_validation_is_that_of_the_saved_model(trained: Path) -> None:
    snapshot = Snapshot.load(trained / "last.pt")
    trainer = Trainer(snapshot.config, dry_run=True)
    predictor = SlidingWindowPredictor([snapshot.build_model()], snapshot.patch_size)
    found = evaluate(predictor, trainer.folds, trainer.split.validation, trainer.metrics, trainer.loss, 0.0)
    logged = {name.removeprefix("val_"): value for name, value in snapshot.history[-1].items() if "val_" in name}
    assert found.quantities == pytest.approx(logged, rel=1e-6)
    assert found.thresholds == pytest.approx(asdict(snapshot.thresholds))


def test_scores_are_those_of_the_best_model_on_the_test_folds(trained: Path) -> None:
    best, scores = Snapshot.load(trained / "best.pt"), json.loads((trained / "scores.json").read_text())
    trainer = Trainer(best.config, dry_run=True)
    assert scores["split"] == [[1, 2], [3], [4]]
    predictor = SlidingWindowPredictor([best.build_model()], best.patch_size)
    found = evaluate(predictor, trainer.folds, [4], trainer.metrics, trainer.loss, 0.0)
    assert {name: scores["test"][name] for name in found.quantities} == pytest.approx(found.quantities)
    assert scores["thresholds"] == asdict(best.thresholds)


def test_weight_of_unlabelled_pixels_changes_what_is_learnt(settings: Settings) -> None:
    marked = []
    for weight in (0.0, 1.0):
        loss = {"type": "bce", "unlabelled_weight": weight}
        trainer = Trainer.from_config(settings(loss=loss, run_name=f"run_{weight}"))
        marked.append(trainer.train()["test"]["marked_ratio_labelled"])
    assert marked[1] < marked[0]


def test_loss_of_the_config_is_the_one_that_is_trained(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "mylab_loss.py").write_text(
        "from bigsf.training.components.losses import LossSum\n"
        "def make(factor):\n"
        "    return lambda logits, target, weight: LossSum(logits.sum() * 0 + factor * weight.sum(), weight.sum())\n"
    )
    loss = {"type": "custom", "target": "mylab_loss:make", "kwargs": {"factor": 7}, "folder": str(tmp_path)}
    trainer = Trainer.from_config(settings(loss=loss, epochs=1))
    trainer.train()
    assert float(rows(trainer.folder.path)[0]["train_loss"]) == pytest.approx(7)


@pytest.mark.parametrize("model", [{"type": "unetpp"}, {"type": "unet", "position": {"type": "linear"}}])
def test_other_models_train_and_resume(settings: Settings, model: dict[str, Any]) -> None:
    model = {**model, "features": 4, "depth": 2, "norm": "group"}
    whole = Trainer.from_config(settings(model=model, run_name="whole"))
    whole.train()
    half = Trainer.from_config(settings(model=model, epochs=1))
    half.train()
    Trainer.from_snapshot(half.folder.path, epochs=2).train()
    assert_same_run(half.folder.path, whole.folder.path)


# --- stopping and going on ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("samples", "epochs"), [(16, 200), (100, 160), (101, 159), (150, 107)])
def test_epochs_are_sized_by_the_data_and_recorded(settings: Settings, samples: int, epochs: int) -> None:
    run = settings(epochs=None)
    run["data"]["samples_per_epoch"] = samples
    trainer = Trainer.from_config(run)
    assert trainer.epochs == trainer.config.trainer.epochs == epochs


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of the compiler's own code
def test_compiled_network_learns_the_same_and_resumes_bit_for_bit(
    settings: Settings, signal_at: Callable[[int, int], None]
) -> None:
    model = {"features": 4, "depth": 1}  # the less of it, the sooner it is compiled
    plain = Trainer.from_config(settings(model=model, run_name="plain"))
    plain.train()
    whole = Trainer.from_config(settings(model=model, run_name="compiled", compile=True))
    whole.train()
    for row, other in zip(rows(whole.folder.path), rows(plain.folder.path), strict=True):
        assert float(row["train_loss"]) == pytest.approx(float(other["train_loss"]), rel=1e-3)
    signal_at(0, 4)
    stopped = Trainer.from_config(settings(model=model, run_name="stopped", compile=True))
    with pytest.raises(InterruptedRunError):
        stopped.train()
    Trainer.from_snapshot(stopped.folder.path).train()
    assert_same_run(stopped.folder.path, whole.folder.path)


def test_compiling_without_a_compiler_is_said(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise InvalidCxxCompiler

    monkeypatch.setattr("torch._inductor.cpp_builder.get_cpp_compiler", none)
    with pytest.raises(ConfigError, match=r"needs a C\+\+ compiler, and none was found"):
        Trainer.from_config(settings(compile=True))


def test_four_epochs_equal_two_and_two_more(settings: Settings, trained: Path) -> None:
    trainer = Trainer.from_config(settings(**{**FOUR_EPOCHS, "epochs": 2}))
    trainer.train()
    Trainer.from_snapshot(trainer.folder.path, epochs=4).train()
    assert_same_run(trainer.folder.path, trained)


@pytest.mark.parametrize(("epoch", "step"), [(0, 0), (1, 4), (2, -1), (3, 5)])
def test_stopped_run_goes_on_as_if_undisturbed(
    settings: Settings, trained: Path, signal_at: Callable[[int, int], None], epoch: int, step: int
) -> None:
    trainer = Trainer.from_config(settings(**FOUR_EPOCHS))
    step %= trainer.dataset.steps
    signal_at(epoch, step)
    with pytest.raises(InterruptedRunError, match=rf"SIGTERM after step {step + 1} of .*bigsf resume") as stopped:
        trainer.train()
    assert stopped.value.exit_code == 128 + 15
    snapshot = Snapshot.load(trainer.folder.last)
    assert (snapshot.epochs_run, snapshot.steps_run) == (epoch, step + 1)
    signal_at(-1, -1)
    Trainer.from_snapshot(trainer.folder.path).train()
    assert_same_run(trainer.folder.path, trained)


def test_killed_run_goes_on_from_its_last_regular_save(
    settings: Settings, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer.from_config(settings(**FOUR_EPOCHS, save_every=1e-9))
    batch = Prefetcher.batch

    def killed(prefetcher: Prefetcher, epoch: int, step: int) -> Any:
        if (epoch, step) == (1, 4):
            raise SystemExit("killed")
        return batch(prefetcher, epoch, step)

    monkeypatch.setattr(Prefetcher, "batch", killed)
    with pytest.raises(SystemExit, match="killed"):
        trainer.train()
    monkeypatch.setattr(Prefetcher, "batch", batch)
    assert Snapshot.load(trainer.folder.last).steps_run == 4
    Trainer.from_snapshot(trainer.folder.path).train()
    assert_same_run(trainer.folder.path, trained)


def test_run_killed_before_its_first_save_starts_anew(settings: Settings, trained: Path) -> None:
    config = RunConfig.from_dict(settings(**FOUR_EPOCHS))
    trainer = Trainer(config)
    trainer.folder.start(trainer.config, overwrite=False)
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


def test_going_back_to_best_keeps_what_is_newer(
    settings: Settings, scripted: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(0.5, 0.3, 0.4)
    trainer = Trainer.from_config(settings(epochs=3, best_by="val_loss"))
    trainer.train()
    folder = trainer.folder
    newer = folder.last.read_bytes()
    scripted(0.35, 0.2)
    going_back = Trainer.from_snapshot(folder.best, epochs=4)
    monkeypatch.setattr(going_back, "_epochs", Mock(side_effect=RuntimeError("stopped")))
    with pytest.raises(RuntimeError, match="stopped"):
        going_back.train()
    assert Snapshot.load(folder.last).epochs_run == 2, "a run stopped right away can be resumed"
    Trainer.from_snapshot(folder.path, epochs=4).train()
    assert (folder.superseded / "last_3_epochs.pt").read_bytes() == newer
    superseded = (folder.superseded / "metrics_3_epochs.csv").read_text().splitlines()
    assert len(superseded) == 4
    assert [row["val_loss"] for row in rows(folder.path)] == ["0.5", "0.3", "0.35", "0.2"]
    assert Snapshot.load(folder.best).epochs_run == 4


def test_more_epochs_warn_where_the_schedule_depends_on_them(settings: Settings) -> None:
    trainer = Trainer.from_config(settings(epochs=1, scheduler={"type": "cosine"}))
    trainer.train()
    with pytest.warns(BigsfWarning, match="cosine schedule depends on the number of epochs: with 3 instead of 1"):
        Trainer.from_snapshot(trainer.folder.path, epochs=3, dry_run=True)


def test_fewer_epochs_than_were_run_are_refused(trained: Path) -> None:
    with pytest.raises(ConfigError, match="--epochs 3 is less than the 4 epochs"):
        Trainer.from_snapshot(trained, epochs=3)


def test_what_is_no_run_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match=r"neither last\.pt nor config\.yaml"):
        Trainer.from_snapshot(tmp_path)


# --- choosing and stopping ------------------------------------------------------------------------------------------


def test_best_is_chosen_on_validation(settings: Settings, scripted: Callable[..., None]) -> None:
    scripted(0.5, 0.3, 0.4)
    trainer = Trainer.from_config(settings(epochs=3, best_by="val_loss"))
    scores = trainer.train()
    assert (scores["best_epoch"], scores["best_value"], scores["test"]["loss"]) == (2, 0.3, 1.0)
    assert Snapshot.load(trainer.folder.best).epochs_run == 2
    assert Snapshot.load(trainer.folder.last).epochs_run == 3


def test_the_last_epoch_is_the_best_by_default(settings: Settings, scripted: Callable[..., None]) -> None:
    scripted(0.5, 0.3, 0.4)
    trainer = Trainer.from_config(settings(epochs=3))
    scores = trainer.train()
    assert (scores["best_by"], scores["best_epoch"]) == ("epoch", 3)
    assert Snapshot.load(trainer.folder.best).epochs_run == 3
    assert RunConfig.from_yaml(trainer.folder.config).trainer.best_by == "epoch"


@pytest.mark.parametrize(
    ("stopping", "best_by"),
    [({"type": "patience", "monitor": "val_dice"}, "val_dice"), ({"type": "patience"}, "val_loss")],
)
def test_early_stopping_chooses_by_what_it_watches(settings: Settings, stopping: Settings, best_by: str) -> None:
    assert Trainer.from_config(settings(epochs=1, early_stopping=stopping)).best_by == best_by


def test_best_may_be_chosen_by_a_quantity_that_is_to_rise(trained: Path, settings: Settings) -> None:
    trainer = Trainer.from_config(settings(**FOUR_EPOCHS, best_by="val_dice"))
    scores = trainer.train()
    values = [float(row["val_dice"]) for row in rows(trainer.folder.path)]
    assert scores["best_value"] == max(values)
    assert scores["best_epoch"] == 1 + values.index(max(values))


def test_nan_is_never_the_best(settings: Settings, scripted: Callable[..., None]) -> None:
    scripted(math.nan, 0.5, math.nan)
    assert Trainer.from_config(settings(epochs=3)).train()["best_epoch"] == 2


def test_run_without_a_number_to_choose_by_fails_and_keeps_its_last_snapshot(
    settings: Settings, scripted: Callable[..., None]
) -> None:
    scripted(math.nan, math.nan)
    trainer = Trainer.from_config(settings())
    with pytest.raises(TrainingError, match=r"^val_loss was never"):
        trainer.train()
    assert Snapshot.load(trainer.folder.last).epochs_run == 2


def test_early_stopping_ends_the_run_and_survives_a_restart(settings: Settings, scripted: Callable[..., None]) -> None:
    early = {"type": "patience", "patience": 2}
    scripted(0.5, 0.3, 0.4)
    trainer = Trainer.from_config(settings(epochs=3, early_stopping=early))
    trainer.train()
    scripted(0.35, 0.1, 0.1)
    resumed = Trainer.from_snapshot(trainer.folder.path, epochs=9)
    assert resumed.train()["epochs_run"] == 4
    assert resumed.state.stopped_early


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


def test_a_split_that_is_not_there_is_refused(settings: Settings) -> None:
    wanted = settings(epochs=1)
    wanted["split"]["use"] = 5
    with pytest.raises(ConfigError, match=r"split\.use is 5; .*folds\.json has 4 splits"):
        Trainer.from_config(wanted)


def test_nan_loss_names_epoch_step_and_patches_and_keeps_the_last_good_snapshot(settings: Settings) -> None:
    steps = iter(range(1000))

    def turning_bad(logits: Tensor, target: Tensor, weight: Tensor) -> LossSum:
        bad = logits.requires_grad and next(steps) == trainer.dataset.steps + 2
        return bce(logits * (torch.nan if bad else 1), target, weight)

    trainer = Trainer.from_config(settings(), parts=Parts(loss=turning_bad))
    with pytest.raises(TrainingError, match=r"epoch 2, step 3, patches at \(y, x\) = \(\d+, \d+\), .*Likely cause"):
        trainer.train()
    snapshot = Snapshot.load(trainer.folder.last)
    assert (snapshot.epochs_run, snapshot.steps_run) == (1, 0)
    assert all(value.isfinite().all() for value in snapshot.model_state.values())


# --- what is refused ------------------------------------------------------------------------------------------------


def test_existing_run_is_kept_unless_told_otherwise(settings: Settings) -> None:
    Trainer.from_config(settings(epochs=1)).train()
    with pytest.raises(UsageError, match=r"holds a run already\. Continue it with bigsf resume"):
        Trainer.from_config(settings(epochs=2)).train()
    trainer = Trainer.from_config(settings(epochs=2), overwrite=True)
    trainer.train()
    assert len(rows(trainer.folder.path)) == 2


def test_dry_run_writes_nothing(run_dict: Settings, tmp_path: Path) -> None:
    Trainer(RunConfig.from_dict(run_dict()), dry_run=True)
    assert list(tmp_path.iterdir()) == []


def test_wrong_number_of_channels_is_refused(settings: Settings) -> None:
    with pytest.raises(ConfigError, match=r"in_channels is 2 but sky\.h5 has 1 image planes"):
        Trainer.from_config(settings(model={"type": "unet", "in_channels": 2}))


def test_patch_size_that_does_not_fit_the_network_is_refused(settings: Settings) -> None:
    with pytest.raises(ConfigError, match=r"16 pixels do not go through this unet: use a multiple of 32.* 32,"):
        Trainer.from_config(settings(model={"type": "unet", "depth": 5}))


@pytest.mark.parametrize(
    ("size", "multiple", "listing"), [(100, 32, "96 or 128"), (10, 16, "16"), (33, 16, "32 or 48")]
)
def test_nearest_patch_sizes_are_named(size: int, multiple: int, listing: str) -> None:
    with pytest.raises(ConfigError, match=f"for example {listing}, in bigsf preprocess"):
        check_patch_size(size, multiple, "unet")
    check_patch_size(multiple, multiple, "unet")


def test_file_without_labels_is_refused(settings: Settings, tmp_path: Path) -> None:
    file = write_patch_file(tmp_path / "bare.h5", np.ones((1, 64, 96), np.float32), 16)
    with pytest.raises(DataError, match=r"bare\.h5 has no labels, so nothing can be learnt"):
        Trainer.from_config({**settings(), "data": {"path": str(file.path)}})


def test_training_folds_without_a_patch_are_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Folds, "training_patches", lambda *_: np.array([], np.int64))
    with pytest.raises(DataError, match=r"No patch lies in the training folds \[1, 2\]"):
        Trainer.from_config(settings())


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


def test_patches_of_the_validation_and_test_folds_are_never_trained_on(settings: Settings) -> None:
    run = settings()
    run["data"]["straddle"] = False
    trainer = Trainer.from_config(run)
    fold = trainer.folds.patch_fold[trainer.dataset.indices]
    assert set(fold) == {1, 2}


@pytest.mark.parametrize("normalization", ["log", "global"])
def test_nothing_outside_of_the_training_areas_is_learnt_from(
    settings: Settings, patch_path: Path, tmp_path: Path, normalization: str
) -> None:
    """Patches straddle areas; whatever map and labels hold outside, the first epoch is the same bit for bit."""
    run = settings(epochs=1, model={"features": 4, "depth": 1, "normalization": {"type": normalization}})
    first = Trainer.from_config({**run, "trainer": {**run["trainer"], "run_name": "first"}})
    assert 0 < np.isin(first.folds.patch_fold[first.dataset.indices], first.split.train).mean() < 0.9
    elsewhere = ~np.isin(first.folds.rows(0, first.patch_file.shape[0]), first.split.train)
    changed = Path(shutil.copy(patch_path, tmp_path / "changed.h5"))
    with h5py.File(changed, "r+") as file:
        file["image"][:] = np.where(elsewhere, 1e25, file["image"][:])
        file["target"][:] = np.where(elsewhere, 1, file["target"][:])
        file["labelled"][:] = np.where(elsewhere, 1, file["labelled"][:])
    other = Trainer.from_config({**run, "data": {**run["data"], "path": str(changed)}})
    assert other.dataset.indices.tolist() == first.dataset.indices.tolist()
    for trainer in (first, other):
        trainer.train()
    losses = [rows(trainer.folder.path)[0]["train_loss"] for trainer in (first, other)]
    assert losses[0] == losses[1]


def test_statistics_come_from_the_training_folds_alone(settings: Settings, patch_path: Path, tmp_path: Path) -> None:
    model = {"type": "unet", "features": 4, "depth": 2, "normalization": {"type": "global"}}
    first = Trainer.from_config(settings(model=model))
    changed = Path(shutil.copy(patch_path, tmp_path / "changed.h5"))
    number = first.folds.rows(0, first.patch_file.shape[0])
    with h5py.File(changed, "r+") as file:
        file["image"][:] = np.where(np.isin(number, first.split.train), file["image"][:], 1e25)
    first.patch_file.image = PatchFile(changed).image
    fitted = first.model.normalization.state_dict()
    first._fit_to_data()
    assert {name: value.tolist() for name, value in fitted.items()} == {
        name: value.tolist() for name, value in first.model.normalization.state_dict().items()
    }
    assert float(fitted["mean"]) > 1e21


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
