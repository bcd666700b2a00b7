import json
import math
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits

from bigsf.evaluation.baseline_scales import choose_scales
from bigsf.evaluation.predictions import KFoldPredictions
from bigsf.evaluation.records import KFoldSummary, RunScores
from bigsf.evaluation.summary import OUTPUTS
from bigsf.folds.folds import Folds
from bigsf.folds.folds_file import load_folds
from bigsf.folds.splits import Split, SplitConfig
from bigsf.metrics.thresholds import Thresholds
from bigsf.models.sliding_window import SlidingWindowPredictor
from bigsf.patches.patch_file import PatchFile
from bigsf.training.distributed import World
from bigsf.training.kfold_results import KFoldResults
from bigsf.training.run_config import RunConfig
from bigsf.training.shared_prediction import predicted_by
from conftest import StubModel
from programs import run_program


def run_scores(split: Split, number: int) -> RunScores:
    return RunScores(
        data="map.h5",
        data_identity="0",
        split=split,
        model="unet",
        epochs_run=number,
        best_epoch=number,
        best_by="epoch",
        best_value=math.nan,
        thresholds=Thresholds(whole=0.5, labelled=0.4),
        test={"loss": float("nan")},
    )


@pytest.fixture
def summarise(tmp_path: Path) -> Callable[..., KFoldSummary]:
    """Return what summarises the k-fold of models that know the level of the map."""

    def summarise(folds: Folds, straddle: bool = False, **trainer: object) -> KFoldSummary:
        model = StubModel(lambda image, _: torch.sigmoid((image / 1e22 - 3).nan_to_num()))
        predictor = SlidingWindowPredictor([model] * len(folds.splits), folds.patch_file.patch_size)
        runs = {f"split_{number}": run_scores(split, number) for number, split in enumerate(folds.splits, 1)}
        config = RunConfig.from_dict(
            {"data": {"path": str(folds.patch_file.path), "straddle": straddle}, "trainer": trainer}
        )
        predictions = KFoldPredictions.of(tmp_path, "identity", predictor, folds, choose_scales(folds, folds.splits))
        with predicted_by(World(), predictions.named()):
            summary = KFoldResults(World(), tmp_path, predictions, folds, runs, config).write()
        assert summary is not None
        return summary

    return summarise


def test_the_folder_holds_the_map_the_tables_and_the_summary(
    summarise: Callable[..., KFoldSummary], folds_path: Path, patch_file: PatchFile, tmp_path: Path
) -> None:
    (tmp_path / "filaments.pdf").touch()  # of a former map
    folds = load_folds(folds_path, patch_file)
    summary = summarise(folds)
    assert {path.name for path in tmp_path.iterdir()} == set(OUTPUTS)
    stored = KFoldSummary.load(tmp_path / "summary.json")
    assert stored.model_dump_json() == summary.model_dump_json()
    assert list(stored.runs) == ["split_1", "split_2", "split_3", "split_4"]
    assert stored.runs["split_2"].test == {"loss": pytest.approx(float("nan"), nan_ok=True)}
    assert stored.clear_px == folds.leakage.clear_px
    assert (stored.added_widths_px, stored.start_from) == ([(2, 6)], None)  # of the default augmentations
    assert (
        stored.predicted_pixels == stored.valid_pixels == np.isfinite(fits.getdata(tmp_path / "out_of_fold.fits")).sum()
    )
    assert stored.seam_contrast.across == pytest.approx(stored.seam_contrast.beside, rel=0.5)  # one model: no seam
    assert set(stored.by) == {"longitude", "column density", "local contrast"}
    assert stored.by["longitude"].truth is None
    assert list(stored.out_of_fold["BigSF"]) == ["labelled", "whole"]


def test_a_ground_truth_is_scored_too_and_injected_filaments_keep_away_from_it(
    summarise: Callable[..., KFoldSummary], folds_path: Path, patch_file: PatchFile
) -> None:
    """Where all of the map is true, all that is marked is true, and no filament finds room."""
    patch_file.truth = np.ones(patch_file.shape, np.uint8)
    summary = summarise(load_folds(folds_path, patch_file))
    assert list(summary.out_of_fold["BigSF"]) == ["labelled", "whole", "truth"]
    assert summary.out_of_fold["BigSF"]["truth"]["precision"] == 1
    assert summary.by["longitude"].truth is not None
    assert summary.injected_plummer is not None
    assert summary.injected.filaments == summary.injected_plummer.filaments == []


def test_the_summary_tells_what_the_training_started_from_and_which_filaments_it_added(
    summarise: Callable[..., KFoldSummary], folds_path: Path, patch_file: PatchFile
) -> None:
    augmentations = [{"type": "filaments", "width_px": [3, 5]}, {"type": "filaments"}]
    folds = load_folds(folds_path, patch_file)
    summary = summarise(folds, augmentations=augmentations, start_from="filaments-small")
    assert (summary.added_widths_px, summary.start_from) == ([(3, 5), (2, 6)], "filaments-small")


@pytest.mark.parametrize(("straddle", "clear_px"), [(False, 4), (True, 2)])
def test_patches_that_straddle_areas_leave_the_gap_clear_alone(
    straddle: bool, clear_px: int, summarise: Callable[..., KFoldSummary], patch_file: PatchFile
) -> None:
    folds = Folds.make(patch_file, SplitConfig(k=4, k_train=2, area_size=48, gap=2))
    assert summarise(folds, straddle=straddle).clear_px == clear_px


def numbers(value: object, place: str = "") -> dict[str, object]:
    """Return all values of nested JSON by their place."""
    if isinstance(value, dict):
        return {key: each for name, inner in value.items() for key, each in numbers(inner, f"{place} {name}").items()}
    if isinstance(value, list):
        return {key: each for n, inner in enumerate(value) for key, each in numbers(inner, f"{place} {n}").items()}
    return {place: value}


def test_two_processes_write_what_one_writes(trained_kfold: Path, tmp_path: Path) -> None:
    folder = tmp_path / trained_kfold.name
    shutil.copytree(trained_kfold, folder)
    for name in ("summary.json", "out_of_fold.fits", "catalog.ecsv"):
        (folder / name).unlink()
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "bigsf"]
    done = run_program([*launch, "resume", folder, "--device", "cpu"])
    assert done.returncode == 0, done.stderr
    alone, shared = (numbers(json.loads((path / "summary.json").read_text())) for path in (trained_kfold, folder))
    assert shared == pytest.approx(alone, nan_ok=True)
    assert (folder / "review.ecsv").read_text() == (trained_kfold / "review.ecsv").read_text()
    for hdu in ("PRIMARY", "MASK", "FOLD"):
        one, other = (fits.getdata(path / "out_of_fold.fits", hdu) for path in (trained_kfold, folder))
        np.testing.assert_array_equal(one, other)
