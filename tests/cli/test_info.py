from pathlib import Path

import pytest

from conftest import Ended


def test_each_kind_of_file_says_what_it_is_and_what_comes_next(
    ended: Ended, patch_path: Path, trained: Path, trained_kfold: Path, other_map: Path
) -> None:
    folds = next(patch_path.parent.glob("*.folds.json"))
    expected = {
        other_map: ["a FITS file", "pixels (x, y)", "Next: bigsf preprocess"],
        patch_path: ["a patch file of", "labels on", "Next: bigsf split"],
        folds: ["folds of sky.h5", "split 1: train [", "Next: bigsf kfold"],
        trained / "best.pt": ["a model after", "normalization", "Next: bigsf segment", "bigsf resume"],
        trained: ["a run that has done 4 of 4 epochs", "best epoch", "test folds: loss", "Next: bigsf segment"],
        trained_kfold: ["a k-fold of", "BigSF: whole-map AP", "are predicted out of fold", "report.html"],
        Path("higal-small"): ["windows of 64 pixels", "Next: bigsf segment higal-small"],
    }
    for path, texts in expected.items():
        said = ended(0, "info", path).out.replace("\n", " ")
        assert [text for text in texts if text not in said] == [], said


def test_runs_are_compared_by_scores_and_by_what_differs(ended: Ended, trained: Path, trained_kfold: Path) -> None:
    said = ended(0, "info", trained, trained_kfold / "split_1", trained_kfold).out
    table = said[said.index("whole-map AP     ") :]
    assert "whole-map Dice" in table
    assert "trainer.trackers" in table
    assert "trainer.run_name" not in table


def test_runs_that_have_not_ended_say_how_they_go_on(ended: Ended, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").touch()
    assert "and no run. Next: bigsf train run/config.yaml" in ended(0, "info", "run").out
    (tmp_path / "run" / "environment.json").touch()
    assert "no snapshot yet. Next: bigsf resume run" in ended(0, "info", "run").out
    (tmp_path / "run" / "kfold.yaml").touch()
    assert "a k-fold that has not ended: 0 splits done" in ended(0, "info", "run").out


@pytest.mark.parametrize(("name", "message"), [("absent.pt", "does not exist"), (".", "a folder without a run")])
def test_what_is_nothing_is_refused(ended: Ended, name: str, message: str) -> None:
    assert message in ended(5 if name == "absent.pt" else 2, "info", name).err
