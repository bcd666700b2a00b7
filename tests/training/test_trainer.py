import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from bigsf.arrays import BoolArray, FloatArray
from bigsf.cli.dry_run import describe_run
from bigsf.errors import (
    ConfigError,
    InterruptedRunError,
    TrainingError,
    UsageError,
)
from bigsf.evaluation.records import RunScores
from bigsf.metrics import Metric
from bigsf.metrics.metric import SentState, State
from bigsf.models.sliding_window import SlidingWindowPredictor
from bigsf.training.build import Parts
from bigsf.training.components.losses import BCE, LossSum
from bigsf.training.run_config import RunConfig
from bigsf.training.run_folder import RunFolder
from bigsf.training.snapshot import Snapshot
from bigsf.training.trainer import Trainer
from bigsf.training.validation import Validator
from command_processes import write_yaml
from conftest import FOUR_EPOCHS, Settings
from runs import assert_same_run, rows, scripted, terminate_at

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
        "report.html",
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


def test_learning_rate_follows_the_schedule(trained: Path) -> None:
    assert [float(row["lr"]) for row in rows(trained)] == [0.01, 0.005, 0.005, 0.0025]


def test_logged_validation_is_that_of_the_saved_model(trained: Path) -> None:
    snapshot = Snapshot.load(trained / "last.pt")
    trainer = Trainer.from_config(snapshot.config, dry_run=True)
    predictor = SlidingWindowPredictor([snapshot.build_model()], snapshot.patch_size)
    validator = Validator(predictor, trainer.run.folds, trainer.run.metrics, trainer.run.loss, 0.0)
    found = validator.evaluate(trainer.run.split.validation)
    logged = {name.removeprefix("val_"): value for name, value in snapshot.history[-1].items() if "val_" in name}
    assert found.quantities == pytest.approx(logged, rel=1e-6)
    assert asdict(found.thresholds) == pytest.approx(asdict(snapshot.thresholds))


def test_scores_are_those_of_the_best_model_on_the_test_folds(trained: Path) -> None:
    best, scores = Snapshot.load(trained / "best.pt"), json.loads((trained / "scores.json").read_text())
    trainer = Trainer.from_config(best.config, dry_run=True)
    assert scores["split"] == [[1, 2], [3], [4]]
    predictor = SlidingWindowPredictor([best.build_model()], best.patch_size)
    validator = Validator(predictor, trainer.run.folds, trainer.run.metrics, trainer.run.loss, 0.0)
    found = validator.evaluate([4])
    assert {name: scores["test"][name] for name in found.quantities} == pytest.approx(found.quantities)
    assert scores["thresholds"] == asdict(best.thresholds)


def test_weight_of_unlabelled_pixels_changes_what_is_learnt(settings: Settings) -> None:
    marked = []
    for weight in (0.0, 1.0):
        loss = {"type": "bce", "unlabelled_weight": weight}
        trainer = Trainer.from_config(settings(loss=loss, run_name=f"run_{weight}"))
        marked.append(trainer.train().test["marked_ratio_labelled"])
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


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of the compiler's own code
def test_compiled_network_learns_the_same_and_resumes_bit_for_bit(settings: Settings) -> None:
    model = {"features": 4, "depth": 1}  # the less of it, the sooner it is compiled
    plain = Trainer.from_config(settings(model=model, run_name="plain"))
    plain.train()
    whole = Trainer.from_config(settings(model=model, run_name="compiled", compile=True))
    whole.train()
    for row, other in zip(rows(whole.folder.path), rows(plain.folder.path), strict=True):
        assert float(row["train_loss"]) == pytest.approx(float(other["train_loss"]), rel=1e-3)
    stopped = Trainer.from_config(
        settings(model=model, run_name="stopped", compile=True), callbacks=[terminate_at(0, 4)]
    )
    with pytest.raises(InterruptedRunError):
        stopped.train()
    Trainer.from_snapshot(stopped.folder.path).train()
    assert_same_run(stopped.folder.path, whole.folder.path)


# --- choosing and stopping ------------------------------------------------------------------------------------------


def test_best_is_chosen_on_validation(settings: Settings) -> None:
    trainer = scripted(Trainer.from_config(settings(epochs=3, best_by="val_loss")), 0.5, 0.3, 0.4)
    scores = trainer.train()
    assert (scores.best_epoch, scores.best_value, scores.test["loss"]) == (2, 0.3, 1.0)
    assert Snapshot.load(trainer.folder.best).epochs_run == 2
    assert Snapshot.load(trainer.folder.last).epochs_run == 3


def test_the_last_epoch_is_the_best_by_default(settings: Settings) -> None:
    trainer = scripted(Trainer.from_config(settings(epochs=3)), 0.5, 0.3, 0.4)
    scores = trainer.train()
    assert (scores.best_by, scores.best_epoch) == ("epoch", 3)
    assert Snapshot.load(trainer.folder.best).epochs_run == 3
    assert RunConfig.from_yaml(trainer.folder.config).trainer.best_by == "epoch"


def test_best_may_be_chosen_by_a_quantity_that_is_to_rise(trained: Path, settings: Settings) -> None:
    trainer = Trainer.from_config(settings(**FOUR_EPOCHS, best_by="val_dice"))
    scores = trainer.train()
    values = [float(row["val_dice"]) for row in rows(trainer.folder.path)]
    assert scores.best_value == max(values)
    assert scores.best_epoch == 1 + values.index(max(values))


@pytest.mark.parametrize("said_by", ["metric", "mode"])
def test_a_quantity_that_is_to_fall_chooses_the_best_stops_the_run_and_sets_its_rate(
    settings: Settings, said_by: str
) -> None:
    class Distance(Metric):
        """Falls in the first three epochs and rises then."""

        higher_is_better = False if said_by == "metric" else None
        values = iter([0.5, 0.4, 0.3, 0.6, 0.7, 0.0])

        def update(self, probability: FloatArray, target: BoolArray, labelled: BoolArray) -> None:
            pass

        def compute(self) -> float:
            return next(self.values)

        def reset(self) -> None:
            pass

        def state(self) -> State:
            return {}

        def merge(self, state: SentState) -> None:
            pass

    trainer = Trainer.from_config(
        settings(
            epochs=9,
            early_stopping={"monitor": "val_distance", "patience": 2, "mode": "auto" if said_by == "metric" else "min"},
            scheduler={"type": "plateau", "monitor": "val_distance", "patience": 1, "gamma": 0.5},
        ),
        parts=Parts(metrics={"distance": Distance()}),
    )
    scores = trainer.train()
    assert (scores.best_by, scores.best_epoch, scores.best_value, scores.epochs_run) == ("val_distance", 3, 0.3, 5)
    assert Snapshot.load(trainer.folder.best).epochs_run == 3
    assert [float(row["lr"]) for row in rows(trainer.folder.path)] == [0.01, 0.01, 0.01, 0.01, 0.005]


def test_nan_is_never_the_best(settings: Settings) -> None:
    trainer = scripted(Trainer.from_config(settings(epochs=3)), math.nan, 0.5, math.nan)
    assert trainer.train().best_epoch == 2


def test_run_without_a_number_to_choose_by_fails_and_keeps_its_last_snapshot(settings: Settings) -> None:
    trainer = scripted(Trainer.from_config(settings()), math.nan, math.nan)
    with pytest.raises(TrainingError, match=r"^val_loss was never"):
        trainer.train()
    assert Snapshot.load(trainer.folder.last).epochs_run == 2


def test_early_stopping_ends_the_run_and_survives_a_restart(settings: Settings) -> None:
    early = {"type": "patience", "patience": 2}
    trainer = scripted(Trainer.from_config(settings(epochs=3, early_stopping=early)), 0.5, 0.3, 0.4)
    trainer.train()
    resumed = scripted(Trainer.from_snapshot(trainer.folder.path, epochs=9), 0.35, 0.1, 0.1)
    assert resumed.train().epochs_run == 4
    assert resumed.run.state.stopped_early


def test_nan_loss_names_epoch_step_and_patches_and_keeps_the_last_good_snapshot(settings: Settings) -> None:
    steps = iter(range(1000))

    def turning_bad(logits: Tensor, target: Tensor, weight: Tensor) -> LossSum:
        bad = logits.requires_grad and next(steps) == trainer.run.dataset.steps + 2
        return BCE()(logits * (torch.nan if bad else 1), target, weight)

    trainer = Trainer.from_config(settings(), parts=Parts(loss=turning_bad))
    with pytest.raises(TrainingError, match=r"epoch 2, step 3, patches at \(y, x\) = \(\d+, \d+\), .*Likely cause"):
        trainer.train()
    snapshot = Snapshot.load(trainer.folder.last)
    assert (snapshot.epochs_run, snapshot.steps_run) == (1, 0)
    assert all(value.isfinite().all() for value in snapshot.model_state.values())


class Wrong(nn.Module):
    """A network that returns one number for each patch, or has no weights."""

    def __init__(self, weights: bool) -> None:
        super().__init__()
        if weights:
            self.scale = nn.Parameter(torch.ones(1))

    def forward(self, image: Tensor, position: Tensor | None = None) -> Tensor:
        return image.mean(dim=(1, 2, 3)) * self.scale


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (Parts(loss=lambda *_: cast(Any, 5)), r"The loss returns int; expected bigsf\.LossSum\(total, weight\)"),
        (Parts(loss=lambda logits, target, weight: LossSum(logits, weight)), r"a total of shape \(\d+, 1, 16, 16\)"),
        (Parts(loss=lambda *_: LossSum(cast(Any, 0.5), torch.ones(()))), r"a total of type float; expected a tensor"),
        (Parts(network=Wrong(True)), r"The network returns the shape \(\d+,\) for patches of \(\d+, 1, 16, 16\)"),
        (Parts(network=Wrong(False)), "The network has no weights that could be trained"),
    ],
)
def test_parts_that_return_something_else_are_refused(settings: Settings, parts: Parts, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Trainer.from_config(settings(), parts=parts).train()


def test_settings_hold_for_a_file_and_a_dictionary_and_are_refused_beside_what_is_made(
    settings: Settings, tmp_path: Path
) -> None:
    config = settings()
    for form in (config, write_yaml(tmp_path / "run.yaml", config)):
        trainer = Trainer.from_config(form, ["trainer.epochs=7"], dry_run=True)
        assert trainer.run.epochs == trainer.run.config.trainer.epochs == 7
    with pytest.raises(ConfigError, match=r"overrides=\['trainer\.epochs=7'\] would do nothing"):
        Trainer.from_config(RunConfig.from_dict(config), ["trainer.epochs=7"])


def test_weights_that_explode_in_the_last_step_of_an_epoch_are_not_kept(settings: Settings) -> None:
    class Exploding(torch.optim.SGD):
        """Ends the second epoch with weights that are not finite."""

        steps = 0

        def step(self, *given: Any) -> None:  # type: ignore[override]
            super().step(*given)
            self.steps += 1
            if self.steps == 2 * trainer.run.dataset.steps:
                for group in self.param_groups:
                    for weights in group["params"]:
                        weights.data.fill_(torch.inf)

    parts = Parts(optimizer=lambda weights: Exploding(weights, lr=0.01))
    trainer = Trainer.from_config(settings(epochs=2), parts=parts)
    with pytest.raises(TrainingError, match=r"gives no numbers on the folds \[\d+\]"):
        trainer.train()
    assert Snapshot.load(trainer.folder.last).epochs_run == 1


# --- what is refused ------------------------------------------------------------------------------------------------


def test_a_dry_run_refuses_a_folder_that_cannot_be_made(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "a_file").touch()
    trainer = Trainer.from_config(settings(output_dir=str(tmp_path / "a_file" / "x")), dry_run=True)
    with pytest.raises(UsageError, match=r"cannot be made: .*a_file is a file"):
        describe_run(trainer)


def test_existing_run_is_kept_unless_told_otherwise(settings: Settings) -> None:
    Trainer.from_config(settings(epochs=1)).train()
    with pytest.raises(UsageError, match=r"holds a run already\. Continue it with bigsf resume"):
        Trainer.from_config(settings(epochs=2)).train()
    trainer = Trainer.from_config(settings(epochs=2), overwrite=True)
    trainer.train()
    assert len(rows(trainer.folder.path)) == 2


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != "train.log"}


def test_a_run_is_kept_until_the_one_that_replaces_it_has_a_snapshot(settings: Settings) -> None:
    Trainer.from_config(settings(epochs=1)).train()

    def bad(logits: Tensor, target: Tensor, weight: Tensor) -> LossSum:
        return LossSum(logits.sum() * float("nan"), weight.sum())

    trainer = Trainer.from_config(settings(epochs=2), overwrite=True, parts=Parts(loss=bad))
    before = contents(trainer.folder.path)
    with pytest.raises(TrainingError, match="The loss or its gradient is not a number in epoch 1, step 1"):
        trainer.train()
    after = contents(trainer.folder.path)
    assert after.keys() == before.keys()
    assert all(after[name] == before[name] for name in before)
    Trainer.from_snapshot(trainer.folder.path).train()  # of the former run


@pytest.mark.parametrize("killed", ["save", "clean up"])
def test_a_kill_while_a_run_is_replaced_leaves_one_that_goes_on(
    settings: Settings, killed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    former = Trainer.from_config(settings(epochs=1))
    former.train()
    trainer = Trainer.from_config(settings(epochs=2, seed=5), overwrite=True)

    class Killed(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Killed

    owner, method = (Snapshot, "save") if killed == "save" else (RunFolder, "_record")
    monkeypatch.setattr(owner, method, kill)
    with pytest.raises(Killed):
        trainer.train()
    monkeypatch.undo()
    again = Trainer.from_snapshot(trainer.folder.path)
    assert again.run.config.trainer.seed == (5 if killed == "clean up" else former.run.config.trainer.seed)
    again.train()
    assert RunScores.load(trainer.folder.scores).best_epoch


@pytest.mark.parametrize("name", ["best.pt", "report.html", "superseded"])
def test_what_a_run_would_replace_is_kept_where_no_run_lies(settings: Settings, name: str) -> None:
    trainer = Trainer.from_config(settings(epochs=1))
    trainer.folder.path.mkdir(parents=True)
    if name == "superseded":
        (trainer.folder.path / name).mkdir()
        (trainer.folder.path / name / "mine.txt").write_text("precious")
    else:
        (trainer.folder.path / name).write_text("precious")
    before = sorted(trainer.folder.path.rglob("*"))
    with pytest.raises(UsageError, match=rf"holds {name} and no run, and a run would replace that"):
        trainer.train()
    assert sorted(trainer.folder.path.rglob("*")) == before
