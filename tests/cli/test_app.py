import errno
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from astropy.io import fits

from bigsf.cli import app
from bigsf.training.snapshot import Snapshot
from conftest import Run, Sky
from programs import run_program

COMMANDS = ["preprocess", "split", "train", "kfold", "resume", "segment"]


@pytest.fixture
def succeeded(bigsf_command: Run) -> Callable[..., str]:
    def run(*arguments: object, cwd: Path | None = None) -> str:
        result = bigsf_command(*arguments, cwd=cwd)
        assert result.code == 0, result.err
        return result.out

    return run


@pytest.fixture
def failed(bigsf_command: Run) -> Callable[..., str]:
    def run(code: int, *arguments: object, cwd: Path | None = None) -> str:
        result = bigsf_command(*arguments, cwd=cwd)
        assert result.code == code, result.err
        return result.err

    return run


@pytest.fixture
def config(run_dict: Callable[..., dict[str, Any]], tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(run_dict(epochs=1)))
    return path


def planes(sky: Sky) -> list[object]:
    names = [("--target", "target"), ("--background", "background"), ("--valid", "valid")]
    return [sky.path("image"), *(part for option, name in names for part in (option, sky.path(name)))]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_and_the_options_that_every_command_has(
    command: str, succeeded: Callable[..., str]
) -> None:
    text = re.sub(r"\s+", " ", succeeded(command, "--help"))
    assert f"Example: bigsf {command}" in text
    assert "--dry-run" in text
    assert "--quiet" in text
    assert command == "resume" or "--overwrite" in text


def test_help_and_preprocess_and_split_load_no_torch(patch_path: Path) -> None:
    code = (
        "import sys, bigsf, bigsf.cli, bigsf.patches.preprocess, bigsf.folds.folds;"
        "assert not {'torch', 'matplotlib'} & set(sys.modules), 'loaded'"
    )
    done = run_program([sys.executable, "-c", code])
    assert done.returncode == 0, done.stderr


def test_help_lists_the_commands_in_the_order_of_the_data_flow(succeeded: Callable[..., str]) -> None:
    text = succeeded("--help")
    places = [text.index(f" {command} ") for command in COMMANDS]
    assert places == sorted(places)


def test_version(succeeded: Callable[..., str]) -> None:
    assert succeeded("--version").startswith("bigsf 0.")


def test_each_command_keeps_freed_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(app, "keep_freed_memory", lambda: calls.append("kept"))
    monkeypatch.setattr(sys, "argv", ["bigsf", "--version"])
    with pytest.raises(SystemExit):
        app.run()
    assert calls == ["kept"]


def test_the_six_commands_end_to_end(
    sky: Sky, config: Path, tmp_path: Path, succeeded: Callable[..., str], bigsf_command: Run
) -> None:
    assert "Wrote sky.h5" in succeeded("preprocess", *planes(sky), "--patch-size", 16, "-o", "sky.h5", cwd=tmp_path)
    split = succeeded("split", "sky.h5", "-k", 4, "--k-train", 2, "--area-size", 32, cwd=tmp_path)
    assert "0 pixels are shared by folds" in split
    assert {p.name for p in tmp_path.glob("sky.folds.*")} == {"sky.folds.json", "sky.folds.fits", "sky.folds.png"}
    settings = ["--set", f"data.path={tmp_path / 'sky.h5'}"]
    train = succeeded("train", config, *settings, cwd=tmp_path)
    assert "Test folds [4]" in train
    kfold = succeeded("kfold", config, *settings, "--set", "trainer.run_name=folds", cwd=tmp_path)
    assert "local contrast" in kfold
    assert "None of these models learnt from the pixel." in " ".join(kfold.split())
    assert "Nothing is left to train; --epochs 2 would go on" in succeeded("resume", "results/run", cwd=tmp_path)
    resumed = succeeded("resume", "results/run/best.pt", "--epochs", 2, cwd=tmp_path)
    assert "stands after epoch 1 of 2" in resumed
    assert "Nothing is left" not in resumed
    segmented = bigsf_command("segment", "results/run/best.pt", "results/folds", sky.path("image"), cwd=tmp_path)
    assert "Wrote image_segmented.fits and image_segmented.png." in segmented.out
    assert "98% of the pixels of image.fits are pixels of a map that the model was trained on" in segmented.err
    with fits.open(tmp_path / "image_segmented.fits") as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "MASK", "STD", "PROVENANCE"]


def test_dry_run_writes_nothing(
    sky: Sky, patch_path: Path, config: Path, tmp_path: Path, succeeded: Callable[..., str], bigsf_command: Run
) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert "Would write image.h5" in succeeded("preprocess", *planes(sky), "--dry-run", cwd=tmp_path)
    copy = ["-o", tmp_path / "folds.json"]
    assert "Would write" in succeeded("split", patch_path, *copy, "--area-size", 32, "--dry-run", cwd=tmp_path)
    for command in ("train", "kfold"):
        assert "steps per epoch" in succeeded(command, config, "--dry-run", cwd=tmp_path)
    assert "results/run: split_2.\n" in succeeded("kfold", config, "--only", 2, "--dry-run", cwd=tmp_path)
    refused = bigsf_command("kfold", config, "--only", 5, "--dry-run", cwd=tmp_path)
    assert "--only 5: there are splits 1 to 4." in refused.err
    assert sorted(tmp_path.rglob("*")) == before


def test_preprocess_prints_which_labels_there_are(sky: Sky, tmp_path: Path, succeeded: Callable[..., str]) -> None:
    def printed(*options: object) -> str:
        return succeeded("preprocess", sky.path("image"), *options, "--patch-size", 16, "--overwrite", cwd=tmp_path)

    assert "there are no labels: segment can map this file, train cannot learn from it" in printed()
    assert "every valid pixel off the target counts as sure background" in printed("--target", sky.path("target"))
    both = printed("--target", sky.path("target"), "--background", sky.path("background"))
    assert "Without --" not in both


def test_a_model_worse_than_a_baseline_warns(
    config: Path, tmp_path: Path, succeeded: Callable[..., str], bigsf_command: Run
) -> None:
    for command in ("train", "kfold"):
        settings = [f"trainer.run_name={command}", "trainer.optimizer.lr=1e-9"]
        result = bigsf_command(
            command, config, *(part for setting in settings for part in ("--set", setting)), cwd=tmp_path
        )
        assert result.code == 0
        assert "alone reaches a higher whole-map AP than the model" in re.sub(r"\s+", " ", result.err)
    table = json.loads((tmp_path / "results" / "train" / "scores.json").read_text())["table"]
    row = next(
        line for line in succeeded("resume", "results/train", cwd=tmp_path).splitlines() if line.startswith("BigSF")
    )
    shown = [
        table[kind][score] for kind in ("labelled", "whole") for score in ("average_precision", "roc_auc", "best_dice")
    ]
    assert row.split()[1:7] == [f"{score:.4f}" for score in shown]


def test_quiet_prints_nothing(sky: Sky, tmp_path: Path, bigsf_command: Run) -> None:
    result = bigsf_command("preprocess", *planes(sky), "--patch-size", 16, "--quiet", cwd=tmp_path)
    assert (result.code, result.out, result.err) == (0, "", "")


def test_existing_outputs_are_refused_and_replaced_on_request(
    sky: Sky, tmp_path: Path, succeeded: Callable[..., str], failed: Callable[..., str]
) -> None:
    command = ["preprocess", *planes(sky), "--patch-size", 16, "-o", "sky.h5"]
    succeeded(*command, cwd=tmp_path)
    assert "sky.h5 exists already. Pass --overwrite" in failed(2, *command, cwd=tmp_path)
    succeeded(*command, "--overwrite", cwd=tmp_path)


def test_options_may_come_from_a_yaml_and_the_command_line_wins(
    sky: Sky, tmp_path: Path, succeeded: Callable[..., str]
) -> None:
    (tmp_path / "preprocess.yaml").write_text(f"patch_size: 32\nstride: 8\ntarget: {sky.path('target')}\n")
    text = succeeded("preprocess", sky.path("image"), "--config", "preprocess.yaml", "--stride", 16, cwd=tmp_path)
    assert "patches of 32 pixels every 16" in text


def test_each_kind_of_error_has_its_exit_code(
    sky: Sky, patch_path: Path, config: Path, tmp_path: Path, failed: Callable[..., str]
) -> None:
    failed(2, "train")
    failed(2, "segment", "best.pt")
    assert "did you mean 'epochs'?" in failed(3, "train", config, "--set", "trainer.epoch_s=3")
    assert "does not exist" in failed(4, "preprocess", tmp_path / "no.fits")
    assert "is a folder; expected a FITS file" in failed(4, "preprocess", tmp_path, cwd=tmp_path)
    assert "is a folder; expected a YAML file" in failed(3, "train", tmp_path)
    assert "is a folder. Name a file" in failed(2, "split", patch_path, "-o", tmp_path, "--overwrite")
    text = tmp_path / "text.pt"
    text.write_text("not a snapshot")
    assert "text.pt is not a snapshot" in failed(5, "segment", text, sky.path("image"), cwd=tmp_path)


def test_a_message_with_brackets_is_printed_as_it_is(tmp_path: Path, failed: Callable[..., str]) -> None:
    assert "[red]odd[/red].fits" in failed(4, "preprocess", "[red]odd[/red].fits", cwd=tmp_path)


def test_segment_names_every_product(
    trained: Path, sky: Sky, tmp_path: Path, succeeded: Callable[..., str], bigsf_command: Run
) -> None:
    fits.PrimaryHDU(sky.image[::-1], sky.header).writeto(tmp_path / "other.fits")
    products = "mask,skeleton,labels,catalog,votable,mrt,regions,spines,moc"
    command = ["segment", trained, "other.fits", "--products", products]
    spines = ["_spines.ecsv", "_branches.ecsv", "_hubs.ecsv", "_spines.reg"]
    endings = [".fits", ".ecsv", ".vot", ".mrt", ".reg", ".moc.fits", *spines, ".png"]
    files = [f"other_segmented{ending}" for ending in endings]
    dry = succeeded(*command, "--dry-run", cwd=tmp_path)
    assert f"Would write {files[0]} (199.7 kB), {', '.join(files[1:-1])} and {files[-1]}." in dry
    assert [path.name for path in tmp_path.iterdir()] == ["other.fits"]
    printed = succeeded(*command, cwd=tmp_path)
    assert re.search(r"  \d+ filaments, the 8-connected components of MASK", printed)
    assert printed.splitlines()[-1] == f"Wrote {', '.join(files[:-1])} and {files[-1]}."
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["other.fits", *files])
    assert "exists already" in bigsf_command(*command, cwd=tmp_path).err


def test_lack_of_memory_names_what_to_lower(
    sky: Sky, trained: Path, bigsf_command: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def huge(*_: object) -> None:
        torch.empty(2**60)

    monkeypatch.setattr(Snapshot, "build_model", huge)
    result = bigsf_command("segment", trained, sky.path("image"), cwd=tmp_path)
    assert result.code == 7
    assert "Out of memory" in result.err
    assert "Lower --batch-size" in result.err


@pytest.mark.parametrize(
    "number", [errno.EACCES, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EIO], ids=errno.errorcode.get
)
def test_a_place_that_the_system_refuses_is_one_message(
    number: int, sky: Sky, trained: Path, bigsf_command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number), "closed/map.fits")

    monkeypatch.setattr(Snapshot, "load", refuse)
    result = bigsf_command("segment", trained, sky.path("image"))
    assert (result.code, result.err) == (2, f"Error: closed/map.fits: {os.strerror(number)}.\n")


def test_a_bug_keeps_its_traceback_and_asks_for_a_report(
    sky: Sky, trained: Path, bigsf_command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Snapshot, "load", int)
    with pytest.raises(TypeError) as caught:
        bigsf_command("segment", trained, sky.path("image"))
    assert "This is a bug of bigsf" in caught.value.__notes__[0]


def test_an_error_in_code_of_the_user_names_its_place(
    sky: Sky, trained: Path, bigsf_command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Snapshot, "load", lambda _: 1 / 0)  # this file is no part of bigsf
    with pytest.raises(ZeroDivisionError) as caught:
        bigsf_command("segment", trained, sky.path("image"))
    (note,) = caught.value.__notes__
    assert note.startswith(f"{__file__}, line ")
    assert "if it is yours" in note
