import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from astropy.io import fits
from sklearn.metrics import average_precision_score

from bigsf.errors import (
    BigsfWarning,
    ConfigError,
    DataError,
    InterruptedRunError,
    InUseError,
    SnapshotError,
    UsageError,
)
from bigsf.evaluation.baseline_scales import ScaledBaselines
from bigsf.evaluation.baselines import BASELINES
from bigsf.evaluation.out_of_fold import mask_of_test_folds
from bigsf.evaluation.records import KFoldSummary
from bigsf.evaluation.report.kfold_report import write_kfold_report
from bigsf.evaluation.summary import outputs_of
from bigsf.folds.folds import Folds
from bigsf.folds.folds_file import load_folds, write_folds
from bigsf.lock import lock_folder
from bigsf.maps.tiling import Tile
from bigsf.metrics.threshold_curve import ThresholdCurve
from bigsf.models.sliding_window import SlidingWindowPredictor
from bigsf.patches.patch_file import PatchFile
from bigsf.segmentation.segment import segment
from bigsf.training.callbacks import Callback
from bigsf.training.dataset import PatchesConfig
from bigsf.training.kfold import KFold
from bigsf.training.kfold_predictions import load_models
from bigsf.training.run_config import OutOfFoldConfig, RunConfig
from bigsf.training.run_folder import RunFolder
from bigsf.training.snapshot import Snapshot
from bigsf.training.state import TrainingState
from bigsf.training.trainer import Trainer
from conftest import Settings

NAMES = ["split_1", "split_2", "split_3", "split_4"]


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    def touch(path: Path, *_: Any) -> None:
        for name in ("out_of_fold.png", "filaments.png", path.name):
            path.with_name(name).touch()

    monkeypatch.setattr("bigsf.training.kfold.write_kfold_report", touch)


@pytest.fixture
def kfold_of(run_in: Settings, tmp_path: Path) -> Callable[..., KFold]:
    """Return a k-fold in tmp_path; `split` and `trainer` change the configuration."""

    def make(
        split: dict[str, Any] | None = None,
        callbacks: Sequence[Callback] = (),
        time_limit_s: float | None = None,
        **trainer: Any,
    ) -> KFold:
        run = run_in(tmp_path, **{"epochs": 1, **trainer})
        path = {"path": str(tmp_path / "other.folds.json")} if split else {}
        config = RunConfig.from_dict({**run, "split": {**run["split"], **path, **(split or {})}})
        return KFold.from_config(config, callbacks=callbacks, time_limit_s=time_limit_s)

    return make


@pytest.fixture
def kfold_copy(trained_kfold: Path, tmp_path: Path) -> Path:
    """Return the folder of a finished 4-fold that a test may change."""
    return Path(shutil.copytree(trained_kfold, tmp_path / "results" / "run"))


@pytest.fixture
def folds(patch_path: Path, folds_path: Path) -> Folds:
    return load_folds(folds_path, PatchFile(patch_path))


def planes(folder: Path) -> dict[str, npt.NDArray[Any]]:
    with fits.open(folder / "out_of_fold.fits") as hdus:
        return {hdu.name: np.array(hdu.data) for hdu in hdus if hdu.is_image}


def predicted_by_each(folder: Path, file: PatchFile) -> npt.NDArray[np.float32]:
    """Return what each model of a k-fold makes of the whole map, `(models, ny, nx)`."""
    models = [Snapshot.load(path).build_model() for path in sorted(folder.glob("split_*/best.pt"))]
    predictor = SlidingWindowPredictor(models, file.patch_size, batch_size=64)
    return np.concatenate([values for _, _, values in predictor.predict_bands(file)], axis=1)


def test_folds_that_are_made_anew_while_a_kfold_runs_are_refused(
    kfold_of: Callable[..., KFold], patch_file: PatchFile, tmp_path: Path
) -> None:
    kfold = kfold_of({"k": 4})
    other = kfold.config.split.model_copy(update={"gap": 3})
    write_folds(Folds.make(patch_file, other), tmp_path / "other.folds.json")
    with pytest.raises(DataError, match=r"made with other parameters \(gap: 3 there, 0 here\)"):
        kfold.run()


def test_every_valid_pixel_is_predicted_by_the_model_that_never_saw_its_fold(trained_kfold: Path, folds: Folds) -> None:
    out, file = planes(trained_kfold), folds.patch_file
    valid, number = np.isfinite(file.image[0]), folds.rows(0, file.shape[0])
    np.testing.assert_array_equal(np.isfinite(out["PRIMARY"]), valid)
    np.testing.assert_array_equal(out["FOLD"], np.where(valid, number, 0))
    each = predicted_by_each(trained_kfold, file)
    for model, (train, validation, test) in enumerate(folds.splits):
        where = np.isin(out["FOLD"], test)
        assert where.any()
        np.testing.assert_allclose(out["PRIMARY"][where], each[model][where], atol=1e-6)
        assert not set(test) & {*train, *validation}
        assert not np.allclose(out["PRIMARY"][where], each[model - 1][where], atol=1e-3)


def test_mask_takes_the_threshold_of_each_model(trained_kfold: Path, folds: Folds) -> None:
    out = planes(trained_kfold)
    for name, (_, _, test) in zip(NAMES, folds.splits, strict=True):
        threshold = np.float32(Snapshot.load(trained_kfold / name / "best.pt").thresholds.whole)
        where = np.isin(out["FOLD"], test)
        np.testing.assert_array_equal(out["MASK"][where], out["PRIMARY"][where] >= threshold)
    assert not out["MASK"][out["FOLD"] == 0].any()
    assert out["MASK"].any()


def test_map_lies_on_the_grid_of_the_patch_file_and_says_how_it_was_made(trained_kfold: Path, folds: Folds) -> None:
    with fits.open(trained_kfold / "out_of_fold.fits") as hdus:
        header = hdus[0].header
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "MASK", "FOLD", "PROVENANCE"]
        entries = dict(hdus["PROVENANCE"].data)
    for key in ("CTYPE1", "CRVAL1", "CRPIX2", "CDELT2"):
        assert header[key] == folds.patch_file.header[key]
    assert "BUNIT" not in header
    assert "made for the tests" in list(header["HISTORY"])
    assert entries["data identity"] == folds.patch_file.identity


def test_summary_holds_all_runs_and_exact_scores_beside_the_baselines(trained_kfold: Path, folds: Folds) -> None:
    summary = json.loads((trained_kfold / "summary.json").read_text())
    assert list(summary["runs"]) == NAMES
    assert summary["splits"] == [list(split) for split in folds.splits]
    for number, (name, run) in enumerate(summary["runs"].items()):
        assert run["baseline_scales"] == {key: of[number] for key, of in summary["baseline_scales"].items()}
        assert run == json.loads((trained_kfold / name / "scores.json").read_text())
    file = folds.patch_file
    maps = ScaledBaselines(file, summary["baseline_scales"], mask_of_test_folds(folds))
    target, labelled = (plane > 0 for plane in file.labels())
    valid = np.isfinite(file.image[0])
    assert summary["predicted_pixels"] == summary["valid_pixels"] == valid.sum()
    table, probability = summary["out_of_fold"], planes(trained_kfold)["PRIMARY"]
    assert list(table) == ["BigSF", *BASELINES]
    for kind, where in (("labelled", valid & labelled), ("whole", valid)):
        curve = ThresholdCurve()
        curve.update(probability[where], target[where])
        assert table["BigSF"][kind]["average_precision"] == pytest.approx(curve.average_precision())
        assert table["BigSF"][kind]["best_dice"] == pytest.approx(curve.best_dice().dice)
        for name in BASELINES:
            exact = average_precision_score(target[where], maps.tile(name, Tile.whole(file.shape))[where])
            assert table[name][kind]["average_precision"] == pytest.approx(exact, abs=1e-3)


def test_done_splits_are_not_trained_again(
    trained_kfold: Path, kfold_of: Callable[..., KFold], monkeypatch: pytest.MonkeyPatch
) -> None:
    kfold = KFold.from_config(RunConfig.from_yaml(trained_kfold / "kfold.yaml"))
    before = (trained_kfold / "summary.json").read_text()
    monkeypatch.setattr(Trainer, "train", lambda _: pytest.fail("a split was trained again"))
    assert kfold.run() is not None
    assert (trained_kfold / "summary.json").read_text() == before


def test_a_finished_kfold_is_left_as_it_is(trained_kfold: Path) -> None:
    kfold = KFold.from_folder(trained_kfold)
    before = {path: path.stat().st_mtime_ns for path in trained_kfold.glob("*.*") if path.name != "kfold.yaml"}
    summary = kfold.run()
    assert summary is not None
    assert summary.model_dump_json() == KFoldSummary.load(trained_kfold / "summary.json").model_dump_json()
    assert kfold.written == []
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize("lost", ["out_of_fold.fits", "review.reg"])
def test_what_is_lost_of_a_finished_kfold_is_made_again(lost: str, kfold_copy: Path) -> None:
    before = (kfold_copy / "summary.json").read_text()
    (kfold_copy / lost).unlink()
    kfold = KFold.from_folder(kfold_copy)
    kfold.run()
    assert kfold.written == outputs_of("png")
    assert (kfold_copy / lost).exists()
    assert (kfold_copy / "summary.json").read_text() == before


def test_a_finished_kfold_gets_its_figures_in_another_format_without_a_prediction(
    kfold_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {name: (kfold_copy / name).read_bytes() for name in ("summary.json", "out_of_fold.fits", "catalog.ecsv")}
    config = KFold.from_folder(kfold_copy).config
    config = config.model_copy(update={"trainer": config.trainer.model_copy(update={"figures": "pdf"})})
    monkeypatch.setattr(KFold, "_summarise", lambda *_: pytest.fail("the map was predicted again"))
    monkeypatch.setattr("bigsf.training.kfold.write_kfold_report", write_kfold_report)
    kfold = KFold.from_config(config, write_folds=False)
    kfold.run()
    assert kfold.written == ["out_of_fold.png", "out_of_fold.pdf", "filaments.png", "filaments.pdf", "report.html"]
    for name in ("out_of_fold.pdf", "filaments.pdf"):
        assert (kfold_copy / name).read_bytes()[:5] == b"%PDF-"
    assert {name: (kfold_copy / name).read_bytes() for name in before} == before


def test_a_summary_that_is_damaged_or_of_other_runs_is_made_again(kfold_copy: Path) -> None:
    before = (kfold_copy / "summary.json").read_text()
    other = json.loads(before)
    other["runs"]["split_1"]["epochs_run"] += 1
    for content in ("{", json.dumps(other)):
        (kfold_copy / "summary.json").write_text(content)
        KFold.from_folder(kfold_copy).run()
        assert (kfold_copy / "summary.json").read_text() == before


class StopAfterAnEpoch(Callback):
    def after_epoch(self, state: TrainingState) -> None:
        raise InterruptedRunError("Stopped by the test.", 15)


def test_one_split_at_a_time_and_an_interrupted_one_is_continued(kfold_of: Callable[..., KFold]) -> None:
    kfold = kfold_of(epochs=2)
    assert kfold.run(only=2) is None
    assert [path.name for path in sorted(kfold.path.iterdir())] == ["kfold.yaml", "split_2"]
    assert json.loads((kfold.path / "split_2" / "scores.json").read_text())["split"] == [[2, 3], [4], [1]]

    with pytest.raises(InterruptedRunError, match="Stopped by the test"):
        kfold_of(epochs=2, callbacks=[StopAfterAnEpoch()]).run()
    started = (kfold.path / "split_1" / "environment.json").stat().st_mtime_ns
    assert Snapshot.load(kfold.path / "split_1" / "last.pt").epochs_run == 1
    for number in (1, 3, 4):
        last = kfold.run(only=number)
    assert last is not None
    assert (kfold.path / "split_1" / "environment.json").stat().st_mtime_ns > started
    assert Snapshot.load(kfold.path / "split_1" / "last.pt").epochs_run == 2


def test_what_was_stopped_says_what_to_resume(kfold_of: Callable[..., KFold]) -> None:
    kfold = kfold_of(time_limit_s=0.0)
    with pytest.raises(InterruptedRunError, match=rf"Go on with: bigsf resume {kfold.path}$"):
        kfold.run()
    with pytest.raises(InterruptedRunError, match=rf"Go on with: bigsf resume {kfold.path}/split_3$"):
        kfold.run(only=3)


@pytest.mark.parametrize("only", [0, 5])
def test_split_that_is_not_there_is_refused(kfold_of: Callable[..., KFold], only: int) -> None:
    with pytest.raises(UsageError, match=f"only={only}: there are splits 1 to 4"):
        kfold_of().run(only=only)


def test_folds_that_are_never_tested_are_nan(kfold_of: Callable[..., KFold]) -> None:
    kfold = kfold_of({"k_train": 2, "step": 2})
    with pytest.warns(BigsfWarning, match="test 2 of 4 folds"):
        summary = kfold.run()
    assert summary is not None
    out, number = planes(kfold.path), kfold.folds.rows(0, kfold.patch_file.shape[0])
    tested = np.isin(number, [4, 2]) & np.isfinite(kfold.patch_file.image[0])
    np.testing.assert_array_equal(np.isfinite(out["PRIMARY"]), tested)
    np.testing.assert_array_equal(out["FOLD"], np.where(tested, number, 0))
    assert summary.predicted_pixels == tested.sum() < summary.valid_pixels


def test_several_models_of_a_pixel_are_averaged(kfold_of: Callable[..., KFold]) -> None:
    kfold = kfold_of({"k_train": 1}, optimizer={"type": "adam", "lr": 0.01})  # its models differ after one epoch
    kfold.run()
    out, each = planes(kfold.path), predicted_by_each(kfold.path, kfold.patch_file)
    number = kfold.folds.rows(0, kfold.patch_file.shape[0])
    may = np.stack([np.isin(number, test) for _, _, test in kfold.folds.splits])
    assert (may.sum(axis=0) == 2).all()
    votes = each.transpose(1, 2, 0)[may.transpose(1, 2, 0)].reshape(*number.shape, 2)
    np.testing.assert_allclose(out["PRIMARY"], votes.mean(axis=-1), atol=1e-6)
    np.testing.assert_allclose(out["STD"], votes.std(axis=-1), atol=1e-6)
    assert np.nanmax(out["STD"]) > 0.01


def test_another_configuration_in_the_same_folder_is_refused(kfold_of: Callable[..., KFold]) -> None:
    kfold_of().run(only=1)
    with pytest.raises(UsageError, match=r"a k-fold of another configuration \(trainer\.seed; see .*kfold\.yaml\)"):
        kfold_of(seed=5).run(only=1)
    with pytest.raises(UsageError, match="overwrite=True with only=1 would mix the two"):
        kfold_of(seed=5).run(only=1, overwrite=True)
    kfold_of(seed=5).run(overwrite=True)
    assert RunConfig.from_yaml(kfold_of().path / "kfold.yaml").trainer.seed == 5


def test_what_changes_no_training_does_not_stand_in_the_way(kfold_of: Callable[..., KFold]) -> None:
    kfold_of({"use": 2}, save_every="20min", trackers=[{"type": "csv"}]).run(only=1)
    kfold_of({"use": 1}, save_every="10min").check()
    other = kfold_of()
    other.config = other.config.model_copy(update={"data": PatchesConfig(path=Path("moved.h5"))})
    with pytest.raises(
        UsageError,
        match=r"\(data\.path, split\.path; .* the patch file was moved, resume this folder with 'data'",
    ):
        other.check()


def test_a_kfold_takes_a_configuration_of_any_form_and_the_name_of_its_folder(trained_kfold: Path) -> None:
    config = trained_kfold / "kfold.yaml"
    for kfold in (KFold.from_config(config), KFold.from_config(str(config)), KFold.from_folder(str(trained_kfold))):
        assert kfold.path == trained_kfold


def test_no_split_is_removed_while_another_process_trains_one(kfold_of: Callable[..., KFold]) -> None:
    kfold = kfold_of()
    kfold.run(only=1)
    second = kfold.path / "split_2"
    second.mkdir()
    with lock_folder(second), pytest.raises(UsageError, match=r"split_2 is in use by process"):
        kfold_of(seed=5).run(overwrite=True)
    assert RunFolder(kfold.path / "split_1").complete
    assert RunConfig.from_yaml(kfold.path / "kfold.yaml").trainer.seed == kfold.config.trainer.seed


def test_the_time_limit_holds_in_the_out_of_fold_map(kfold_of: Callable[..., KFold]) -> None:
    kfold = kfold_of()
    for number in range(1, len(kfold.names) + 1):
        kfold.run(only=number)
    late = KFold(kfold.config, kfold.patch_file, kfold.folds, time_limit_s=0)
    with pytest.raises(InterruptedRunError, match=r"Stopped by the time limit. All splits are trained. Go on with: "):
        late.run()
    assert kfold.run() is not None


def test_of_two_tasks_that_end_together_one_writes_the_map(
    kfold_of: Callable[..., KFold], caplog: pytest.LogCaptureFixture
) -> None:
    kfold = kfold_of()
    for number in range(1, len(kfold.names)):
        kfold.run(only=number)
    number, folder = len(kfold.names), kfold.path / ".out_of_fold.parts"
    folder.mkdir()
    with lock_folder(folder), caplog.at_level("INFO", "bigsf"):
        assert kfold.run(only=number) is None
        with pytest.raises(InUseError, match=r"\.out_of_fold\.parts is in use by process"):
            kfold.run()
    assert "another task writes the out-of-fold map" in caplog.text
    assert kfold.run(only=number) is not None


def test_folder_of_something_else_is_refused(kfold_of: Callable[..., KFold]) -> None:
    kfold = kfold_of()
    kfold.path.mkdir(parents=True)
    (kfold.path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds something else"):
        kfold.run()


def test_models_of_another_patch_file_are_refused(trained_kfold: Path, kfold_of: Callable[..., KFold]) -> None:
    kfold = kfold_of()
    snapshot = Snapshot.load(trained_kfold / "split_1" / "best.pt")
    snapshot.data_identity = "0" * 64
    for name in NAMES:
        snapshot.save(kfold.path / name / "best.pt")
    with pytest.raises(DataError, match=r"split_1 was trained on another patch file"):
        load_models([kfold.path / name for name in NAMES], kfold.folds)


def test_summary_without_models_is_refused(kfold_of: Callable[..., KFold]) -> None:
    with pytest.raises(SnapshotError, match=r"split_1/best\.pt does not exist"):
        load_models([kfold_of().path / name for name in NAMES], kfold_of().folds)


def test_segmenting_the_map_with_one_model_gives_its_part_of_the_out_of_fold_map(
    trained_kfold: Path, patch_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bigsf.segmentation.result_writer.save_figure", lambda _, path, __: path.touch())
    output = tmp_path / "one.fits"
    with pytest.warns(UserWarning, match="100% of the pixels of sky.h5 are pixels of a map"):
        segment(trained_kfold / "split_1", patch_path, output, precision="fp32")
    out, alone = planes(trained_kfold), fits.getdata(output)
    where = out["FOLD"] == 4  # split 1 tests on fold 4
    np.testing.assert_allclose(alone[where], out["PRIMARY"][where], atol=1e-6)


def test_map_is_predicted_anew_as_asked_without_training(kfold_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = planes(kfold_copy)["PRIMARY"]
    monkeypatch.setattr(Trainer, "train", lambda *_: pytest.fail("a split was trained again"))
    config = KFold.from_folder(kfold_copy).config
    for change in ({"tta": True}, {"stride": 8}):
        KFold.from_config(config.model_copy(update={"out_of_fold": OutOfFoldConfig(**change)})).run()
        now = planes(kfold_copy)["PRIMARY"]
        assert 0 < np.nanmax(abs(now - before)) < 0.5
        before = now


def test_a_configuration_that_was_refused_does_not_stand_in_the_way(kfold_of: Callable[..., KFold]) -> None:
    with pytest.raises(ConfigError, match="best_by"):
        kfold_of(best_by="val_nothing").run()
    assert kfold_of().run() is not None


def test_the_lock_of_a_killed_process_is_removed_from_a_split_that_is_done(kfold_copy: Path) -> None:
    stale, held = (kfold_copy / name / ".lock" for name in NAMES[:2])
    stale.write_text("process 1 on a machine that was switched off")
    with lock_folder(held.parent):
        KFold.from_folder(kfold_copy).run()
        assert held.exists()
    assert not stale.exists()


def test_a_kfold_that_is_replaced_and_stopped_leaves_no_former_results(kfold_copy: Path) -> None:
    config = KFold.from_folder(kfold_copy).config
    config = config.model_copy(update={"trainer": config.trainer.model_copy(update={"seed": 77})})
    with pytest.raises(InterruptedRunError):
        KFold.from_config(config, time_limit_s=0.0).run(overwrite=True)
    assert not {path.name for path in kfold_copy.iterdir() if not path.is_dir()} & set(outputs_of("png"))


def test_a_split_goes_on_with_the_keys_that_change_no_training(kfold_of: Callable[..., KFold]) -> None:
    with pytest.raises(InterruptedRunError):
        kfold_of(epochs=2, callbacks=[StopAfterAnEpoch()]).run(only=1)
    other = kfold_of(epochs=2, save_every="7s", trackers=[{"type": "csv"}], figures="pdf")
    other.run(only=1)
    trainer = RunConfig.from_yaml(other.path / "split_1" / "config.yaml").trainer
    assert (trainer.save_every, trainer.figures, [each.type for each in trainer.trackers]) == (7.0, "pdf", ["csv"])
