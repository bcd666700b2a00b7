import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

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
    assert next(line for line in said.splitlines() if line.startswith("scored on")).split()[2:] == (
        ["test", "folds", "test", "folds", "the", "whole", "map"]
    )
    table = said[said.index("whole-map AP     ") :]
    assert "whole-map best Dice" in table
    of_split, of_kfold = (
        json.loads((folder / name).read_text())
        for folder, name in ((trained_kfold / "split_1", "scores.json"), (trained_kfold, "summary.json"))
    )
    row = next(line for line in table.splitlines() if line.startswith("labelled best Dice")).split()
    assert row[-2] == f"{of_split['test']['labelled_best_dice']:.4f}"
    assert row[-1] == f"{of_kfold['out_of_fold']['BigSF']['labelled']['best_dice']:.4f}"
    assert "trainer.trackers" in table
    assert "trainer.run_name" not in table
    assert "trainer.best_by" not in table  # null of the k-fold means epoch


def test_a_configuration_without_a_trainer_is_compared(ended: Ended, tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(f"data: {{path: {name}.h5}}\ntrainer:\n")
    assert "data.path" in ended(0, "info", "one", "other").out


def test_runs_that_have_not_ended_say_how_they_go_on(ended: Ended, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").touch()
    said = ended(0, "info", "run").out.replace("\n ", "")
    assert "and no run of its own Next: bigsf train run/config.yaml" in said
    (tmp_path / "run" / "environment.json").touch()
    assert "no snapshot yet. Next: bigsf resume run" in ended(0, "info", "run").out
    (tmp_path / "run" / "kfold.yaml").touch()
    assert "a k-fold that has not ended: 0 splits done" in ended(0, "info", "run").out


@pytest.mark.parametrize(("name", "message"), [("absent.pt", "does not exist"), (".", "a folder without a run")])
def test_what_is_nothing_is_refused(ended: Ended, name: str, message: str) -> None:
    assert message in ended(5 if name == "absent.pt" else 2, "info", name).err


def test_files_of_bigsf_say_how_they_were_made(ended: Ended, trained_kfold: Path) -> None:
    said = ended(0, "info", trained_kfold / "out_of_fold.fits", trained_kfold / "catalog.ecsv").out
    assert "a FITS file of BigSF: Out-of-fold probability of a filament" in said
    assert "\n  command: " in said
    assert "a table of " in said
    assert "columns: " in said
    assert "bigsf preprocess" not in said


def test_one_file_that_is_unknown_does_not_hide_the_others(ended: Ended, patch_path: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    ended_with = ended(4, "info", "notes.txt", patch_path)
    assert "notes.txt: " in ended_with.out
    assert "a patch file of" in ended_with.out


def test_a_folder_of_runs_lists_them(ended: Ended, trained_kfold: Path, tmp_path: Path) -> None:
    (tmp_path / "results").symlink_to(trained_kfold.parent)
    said = ended(0, "info", ".").out
    assert f"results/{trained_kfold.name}" in said
    assert "split_1" not in said


def test_a_configuration_says_what_it_is_for(ended: Ended, patch_path: Path, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text(f"data: {{path: {patch_path}}}\n")
    said = ended(0, "info", "my.yaml").out
    assert "a configuration of train and kfold" in said
    assert "Next: bigsf train my.yaml --dry-run" in said


def test_tables_of_other_tools_are_described_or_refused(ended: Ended, other_map: Path, tmp_path: Path) -> None:
    columns = [fits.Column(name, "J", array=[1]) for name in "ABC"]
    table = fits.BinTableHDU.from_columns(columns, name="PROVENANCE")
    for extension in (table, fits.ImageHDU(np.ones((4, 4)), name="PROVENANCE")):
        with fits.open(other_map) as hdus:
            hdus.append(extension)
            hdus.writeto(tmp_path / "theirs.fits", overwrite=True)
        assert "Next: bigsf preprocess theirs.fits" in ended(0, "info", "theirs.fits").out
    for text in ("a,b\n1,2\n", "# %ECSV 1.0\n# ---\n# datatype:\n# - {name: a}\na\n1\n"):
        (tmp_path / "table.ecsv").write_text(text)
        assert "table.ecsv cannot be read as a table (ECSV)" in ended(4, "info", "table.ecsv").err


def test_the_next_command_can_be_copied(ended: Ended, other_map: Path, tmp_path: Path) -> None:
    (tmp_path / "my maps").mkdir()
    other_map.rename(tmp_path / "my maps" / "a b.fits")
    assert "Next: bigsf preprocess 'my maps/a b.fits', or" in ended(0, "info", "my maps/a b.fits").out.replace(
        "\n", " "
    )


def test_masks_drawings_and_files_without_a_plane_are_not_to_be_segmented(ended: Ended, tmp_path: Path) -> None:
    fits.PrimaryHDU(np.eye(20, dtype=np.uint8)).writeto(tmp_path / "mask.fits")
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns([fits.Column("x", "J", array=[1])])]).writeto(
        tmp_path / "table.fits"
    )
    (tmp_path / "a.reg").write_text("image\ncircle(2,2,1)\n")
    for name, expected in (
        ("mask.fits", "Next: bigsf preprocess MAP.fits --target mask.fits (or --background, --valid)"),
        ("table.fits", "no image of it can be a map or a mask"),
        ("a.reg", "Next: bigsf preprocess MAP.fits --target a.reg"),
    ):
        found = ended(0, "info", name).out
        assert expected in found
        assert "bigsf segment" not in found
