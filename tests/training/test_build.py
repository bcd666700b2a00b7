import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from bigsf.errors import (
    BigsfWarning,
    ConfigError,
    DataError,
    SnapshotError,
)
from bigsf.folds.folds import Folds
from bigsf.models.model_config import ModelConfig
from bigsf.training.build import Parts
from bigsf.training.checks import check_position
from bigsf.training.components.paste_augmentation import PasteFilaments
from bigsf.training.run_config import RunConfig
from bigsf.training.snapshot import Snapshot
from bigsf.training.trainer import Trainer
from conftest import Settings, Sky, write_patch_file
from runs import rows


@pytest.mark.parametrize(("samples", "epochs"), [(16, 200), (100, 80), (101, 80), (150, 54)])
def test_epochs_are_sized_by_the_data_and_recorded(settings: Settings, samples: int, epochs: int) -> None:
    run = settings(epochs=None)
    run["data"]["samples_per_epoch"] = samples
    trainer = Trainer.from_config(run)
    assert trainer.run.epochs == trainer.run.config.trainer.epochs == epochs


@pytest.mark.parametrize(
    ("stopping", "best_by"),
    [({"type": "patience", "monitor": "val_dice"}, "val_dice"), ({"type": "patience"}, "val_loss")],
)
def test_early_stopping_chooses_the_best_by_what_it_monitors(
    settings: Settings, stopping: Settings, best_by: str
) -> None:
    assert Trainer.from_config(settings(epochs=1, early_stopping=stopping)).run.best_by == best_by


def test_the_training_loss_may_stop_a_run_and_chooses_nothing(settings: Settings) -> None:
    stopping = {"type": "patience", "monitor": "train_loss"}
    trainer = Trainer.from_config(settings(epochs=1, early_stopping=stopping))
    assert trainer.train().best_by == "epoch"
    assert Snapshot.load(trainer.folder.path / "best.pt").config.trainer.best_by == "epoch"


def test_custom_parts_get_what_the_run_knows_by_name(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "mylab_named.py").write_text(
        "from bigsf.models.normalizations import MinMax\n"
        "from bigsf.training.components.schedules import Cosine\n"
        "from bigsf.training.components.trackers import CSVTracker\n"
        "def normalization(*, channels):\n"
        "    assert channels == 1\n"
        "    return MinMax()\n"
        "def scheduler(*, epochs):\n"
        "    return Cosine(epochs=epochs, final=0.0, warmup=0.0)\n"
        "def tracker(*, run_config, run_name, folder):\n"
        "    assert run_config['trainer']['run_name'] == run_name\n"
        "    return CSVTracker(folder / 'mine.csv')\n"
    )
    custom = {
        name: {"type": "custom", "target": f"mylab_named:{name}", "folder": str(tmp_path)}
        for name in ("normalization", "scheduler", "tracker")
    }
    trainer = Trainer.from_config(
        settings(
            epochs=1,
            model={"type": "unet", "features": 4, "depth": 1, "normalization": custom["normalization"]},
            scheduler=custom["scheduler"],
            trackers=[custom["tracker"]],
        )
    )
    trainer.train()
    (written,) = tmp_path.rglob("mine.csv")
    assert written.read_text() == (written.parent / "metrics.csv").read_text()


def test_a_custom_normalization_may_compute_with_tensors_while_it_is_made(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "mylab_levels.py").write_text(
        "import torch\n"
        "from bigsf.models.normalizations import MinMax\n"
        "class Levels(MinMax):\n"
        "    def __init__(self, channels):\n"
        "        super().__init__()\n"
        "        self.levels = torch.linspace(0, 1, 3).tolist()\n"
    )
    normalization = {"type": "custom", "target": "mylab_levels:Levels", "folder": str(tmp_path)}
    trainer = Trainer.from_config(
        settings(epochs=1, model={"type": "unet", "features": 4, "depth": 1, "normalization": normalization})
    )
    trainer.train()
    model = Snapshot.load(trainer.folder.best).build_model(trust=True)
    assert vars(model.normalization)["levels"] == [0, 0.5, 1]


def test_a_split_that_is_not_there_is_refused(settings: Settings) -> None:
    wanted = settings(epochs=1)
    wanted["split"]["use"] = 5
    with pytest.raises(ConfigError, match=r"split\.use is 5; .*folds\.json has 4 splits"):
        Trainer.from_config(wanted)


def test_wrong_number_of_channels_is_refused(settings: Settings) -> None:
    with pytest.raises(ConfigError, match=r"in_channels is 2 but sky\.h5 has 1 image planes"):
        Trainer.from_config(settings(model={"type": "unet", "in_channels": 2}))


def test_patch_size_that_does_not_fit_the_network_is_refused(settings: Settings) -> None:
    with pytest.raises(ConfigError, match=r"16 pixels do not go through this unet: use a multiple of 32.* 32,"):
        Trainer.from_config(settings(model={"type": "unet", "depth": 5}))


def test_file_without_labels_is_refused(settings: Settings, tmp_path: Path) -> None:
    file = write_patch_file(tmp_path / "bare.h5", np.ones((1, 64, 96), np.float32), 16)
    with pytest.raises(DataError, match=r"bare\.h5 has no labels, so nothing can be learnt"):
        Trainer.from_config({**settings(), "data": {"path": str(file.path)}})


def test_training_folds_without_a_patch_are_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Folds, "training_patches", lambda *_: np.array([], np.int64))
    with pytest.raises(DataError, match=r"No patch lies in the training folds \[1, 2\]"):
        Trainer.from_config(settings())


def test_patches_of_the_validation_and_test_folds_are_never_trained_on(settings: Settings) -> None:
    run = settings()
    run["data"]["straddle"] = False
    trainer = Trainer.from_config(run)
    fold = trainer.run.folds.patch_fold[trainer.run.dataset.indices]
    assert set(fold) == {1, 2}


@pytest.mark.parametrize("normalization", ["log", "global"])
def test_nothing_outside_of_the_training_areas_is_learnt_from(
    settings: Settings, patch_path: Path, tmp_path: Path, normalization: str
) -> None:
    """Patches straddle areas; whatever map and labels hold outside, the first epoch is the same bit for bit."""
    model = {"features": 4, "depth": 1, "normalization": {"type": normalization}}
    run = settings(epochs=1, model=model, augmentations=[{"type": "filaments"}, {"type": "paste"}])
    first = Trainer.from_config({**run, "trainer": {**run["trainer"], "run_name": "first"}})
    assert 0 < np.isin(first.run.folds.patch_fold[first.run.dataset.indices], first.run.split.train).mean() < 0.9
    elsewhere = ~np.isin(first.run.folds.rows(0, first.run.patch_file.shape[0]), first.run.split.train)
    changed = Path(shutil.copy(patch_path, tmp_path / "changed.h5"))
    with h5py.File(changed, "r+") as file:
        file["image"][:] = np.where(elsewhere, 1e25, file["image"][:])
        file["target"][:] = np.where(elsewhere, 1, file["target"][:])
        file["labelled"][:] = np.where(elsewhere, 1, file["labelled"][:])
    other = Trainer.from_config({**run, "data": {**run["data"], "path": str(changed)}})
    assert other.run.dataset.indices.tolist() == first.run.dataset.indices.tolist()
    for trainer in (first, other):
        paste = trainer.run.dataset.augmentations[1]
        assert isinstance(paste, PasteFilaments)
        assert len(paste.shapes) > 5
        trainer.train()
    losses = [rows(trainer.folder.path)[0]["train_loss"] for trainer in (first, other)]
    assert losses[0] == losses[1]


def test_statistics_come_from_the_training_folds_alone(settings: Settings, patch_path: Path, tmp_path: Path) -> None:
    model = {"type": "unet", "features": 4, "depth": 2, "normalization": {"type": "global"}}
    first = Trainer.from_config(settings(model=model))
    changed = Path(shutil.copy(patch_path, tmp_path / "changed.h5"))
    number = first.run.folds.rows(0, first.run.patch_file.shape[0])
    with h5py.File(changed, "r+") as file:
        file["image"][:] = np.where(np.isin(number, first.run.split.train), file["image"][:], 1e25)
    run = settings(model=model)
    other = Trainer.from_config({**run, "data": {**run["data"], "path": str(changed)}})
    assert not np.array_equal(first.run.patch_file.image, other.run.patch_file.image)
    fitted, fitted_again = (trainer.run.model.normalization.state_dict() for trainer in (first, other))
    assert {name: value.tolist() for name, value in fitted.items()} == {
        name: value.tolist() for name, value in fitted_again.items()
    }
    assert float(fitted["mean"]) > 1e21


def test_another_seed_gives_other_weights(settings: Settings) -> None:
    first, second = (Trainer.from_config(settings(seed=seed)).run.model.state_dict() for seed in (0, 1))
    assert any(not torch.equal(first[name], second[name]) for name in first)


def test_weights_that_are_not_there_are_named_with_those_that_are(settings: Settings) -> None:
    with pytest.raises(SnapshotError, match=r"higal-smal does not exist\. .* higal-small or filaments-small"):
        Trainer.from_config(settings(start_from="higal-smal"))


def test_weights_that_know_other_positions_are_said(settings: Settings, sky: Sky, tmp_path: Path) -> None:
    model = {"type": "unet", "features": 4, "depth": 1, "position": {"type": "identity"}}
    first = Trainer.from_config(settings(epochs=1, model=model))
    first.train()
    header = sky.header.copy()
    header["CRVAL1"] = 170.0
    image = 2 * sky.image.astype(np.float32)[None]  # other pixels: only the positions are those of elsewhere
    labels = sky.target, np.isfinite(image[0]).astype(np.uint8)
    file = write_patch_file(tmp_path / "away.h5", image, 16, 8, labels, header)
    run = settings(model=model, start_from=str(first.folder.best))
    run |= {"data": {"path": str(file.path)}, "split": {"k": 4, "area_size": 32}}
    with pytest.warns(
        BigsfWarning, match=r"away\.h5 has positions l = 168\.71 to .* was trained on l = 358\.71 to 0\.30"
    ):
        Trainer.from_config(run, dry_run=True)


def test_compiling_without_a_compiler_is_said(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigError, match=r"needs a C\+\+ compiler, and none was found"):
        Trainer.from_config(settings(compile=True))


def test_dry_run_writes_nothing(run_dict: Settings, tmp_path: Path) -> None:
    Trainer.from_config(RunConfig.from_dict(run_dict()), dry_run=True)
    assert list(tmp_path.iterdir()) == []


def test_a_batch_without_weight_leaves_the_weights_alone(settings: Settings) -> None:
    trainer = Trainer.from_config(settings(epochs=1, optimizer={"type": "adamw", "lr": 0.1, "weight_decay": 0.5}))
    step, weights = trainer.step, trainer.run.model.parameters
    with step:
        step(0, 0)
        before = [weight.clone() for weight in weights()]
        step._weight = lambda batch: torch.zeros_like(batch.target)  # type: ignore[method-assign]
        step(0, 1)
        assert all(torch.equal(*pair) for pair in zip(before, weights(), strict=True))
        del step._weight
        step(0, 2)
        assert not all(torch.equal(*pair) for pair in zip(before, weights(), strict=True))


@pytest.mark.parametrize(("key", "value"), [("frequencies", 3), ("join", "before")])
def test_a_position_key_that_a_network_of_ones_own_does_not_see_is_refused(key: str, value: object) -> None:
    def model(**position: object) -> ModelConfig:
        config = {"type": "custom", "target": "torch.nn:Conv2d", "position": {"type": "sine", **position}}
        made: ModelConfig = TypeAdapter(ModelConfig).validate_python(config)
        return made

    check_position(model(coordinates="pixel"))
    check_position(TypeAdapter(ModelConfig).validate_python(model().model_dump()))  # as a run records it
    with pytest.raises(ConfigError, match=rf"position\.{key} would do nothing"):
        check_position(model(**{key: value}))


NUMPY_PARTS = """
import numpy as np
import torch

class Schedule:
    def factor(self, epoch):
        return np.float64(0.5)
    def end_of_epoch(self, quantities):
        pass
    def state(self):
        return {}
    def load_state(self, state):
        pass

class Stopping:
    def __init__(self, kept=1.0):
        self.kept = kept
    def should_stop(self, quantities):
        return np.bool_(False)
    def state(self):
        return {"kept": self.kept}
    def load_state(self, state):
        pass

class ListStopping(Stopping):
    def state(self):
        return {"kept": [1.0]}

class NumpyStopping(Stopping):
    def state(self):
        return {"kept": np.float64(1)}

def schedule(*, epochs):
    return Schedule()

def stopping():
    return Stopping()

def list_stopping():
    return ListStopping()

def numpy_stopping():
    return NumpyStopping()
"""


def test_numbers_of_numpy_in_parts_of_ones_own_leave_snapshots_that_can_be_read(
    settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "mylab_numpy.py").write_text(NUMPY_PARTS)
    custom = {
        name: {"type": "custom", "target": f"mylab_numpy:{name}", "folder": str(tmp_path)}
        for name in ("schedule", "stopping", "list_stopping", "numpy_stopping")
    }
    run = settings(epochs=1, scheduler=custom["schedule"], early_stopping=custom["stopping"])
    parts = Parts(optimizer=lambda weights: torch.optim.NAdam(weights, lr=np.logspace(-4, -2, 3)[1]))
    trainer = Trainer.from_config(run, parts=parts)
    trainer.train()
    assert Snapshot.load(trainer.folder.last).epochs_run == 1
    for name, said in (("list_stopping", "valid number"), ("numpy_stopping", r"numpy\.float64")):
        other = Trainer.from_config(settings(epochs=1, run_name=name, early_stopping=custom[name]))
        with pytest.raises(ConfigError, match=rf"last\.pt cannot hold early stopping state: .*{said}.* float\(value\)"):
            other.train()


def test_an_optimizer_that_computes_the_loss_itself_is_refused(settings: Settings) -> None:
    with pytest.raises(ConfigError, match="optimizer LBFGS computes the loss itself"):
        Trainer.from_config(settings(optimizer={"type": "custom", "target": "torch.optim:LBFGS"}), dry_run=True)


def test_a_tracker_that_does_not_take_its_arguments_is_refused_before_the_run(
    settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "mylab_track.py").write_text("def make(run_name):\n    pass\n")
    tracker = {"type": "custom", "target": "mylab_track:make", "folder": str(tmp_path)}
    with pytest.raises(ConfigError, match="mylab_track:make does not take kwargs"):
        Trainer.from_config(settings(trackers=[tracker]))
    assert not (tmp_path / "results").exists()
