"""Outputs that cannot be written are an error with its reason, and a previous output stays whole."""

import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from bigsf.patches.patch_file import PatchFile
from command_processes import Commands, contents, fill, write_yaml
from conftest import Ended, Sky

RunDict = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("name", "leave", "full"),
    [
        ("preprocess", 102_400, "image.h5"),  # enough for the planes, not for the positions
        ("split", 128_000, "f.folds.json"),  # enough for the figure, not for the FITS image
        ("segment", 40_000, ".image_segmented.fits.parts/0_0.f4"),  # not enough for what is predicted
    ],
)
def test_full_disk_leaves_all_or_nothing(
    name: str, leave: int, full: str, disk: Path, command: Commands, sky: Sky, patch_path: Path, trained: Path
) -> None:
    arguments: dict[str, list[object]] = {
        "preprocess": ["preprocess", sky.path("image"), "--target", sky.path("target"), "--patch-size", 16],
        "split": ["split", patch_path, "-k", 4, "--area-size", 32, "-o", "f.folds.json"],
        "segment": ["segment", trained, sky.path("image"), "--products", "mask,catalog,votable,mrt,regions,moc"],
    }
    filler = fill(disk, leave)
    result = command(*arguments[name], "--quiet")
    assert result.code == 2
    assert result.err.splitlines()[-1].startswith(f"Error: {full} could not be written: No space left on device. ")
    assert len(result.err.splitlines()) == 1 + (name == "segment"), "no library prints"
    assert contents(disk).keys() == {"filler"}
    filler.unlink()
    assert command(*arguments[name]).code == 0
    written = contents(disk)
    fill(disk, leave)
    assert command(*arguments[name], "--overwrite").code in (0, 2)
    assert contents(disk).keys() - {"filler"} == written.keys()


@pytest.mark.parametrize("leave", [0, 100_000])
def test_full_disk_in_training_is_an_error_and_the_run_is_resumed_later(
    leave: int, disk: Path, command: Commands, run_in: RunDict, tmp_path: Path
) -> None:
    config = write_yaml(tmp_path / "run.yaml", run_in(disk))
    filler = fill(disk, leave)
    result = command("train", config)
    assert (result.code, "could not be written: No space left on device" in result.err) == (2, True)
    filler.unlink()
    again = ["resume", disk / "results" / "run"] if leave else ["train", config]
    assert command(*again).code == 0


def test_read_only_output_is_refused(
    disk: Path, command: Commands, sky: Sky, trained: Path, run_in: RunDict, tmp_path: Path
) -> None:
    config = write_yaml(tmp_path / "run.yaml", run_in(disk))
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    for arguments, message in (
        (["preprocess", sky.path("image"), "--patch-size", 16], "is read-only for you"),
        (["segment", trained, sky.path("image")], "is read-only for you"),
        (["train", config], "cannot be made: Read-only file system."),
        (["kfold", config], "is read-only for you"),
    ):
        result = command(*arguments)
        assert (result.code, message in result.err) == (2, True), result.err


def set_variable(name: str, value: str) -> None:
    os.environ[name] = value


def test_outputs_may_lie_on_another_file_system_and_no_other_folder_is_needed(
    disk: Path, command: Commands, sky: Sky, trained: Path, run_in: RunDict, tmp_path: Path
) -> None:
    command.folder = tmp_path
    config = write_yaml(tmp_path / "run.yaml", run_in(disk, epochs=1))
    before = contents(tmp_path).keys()
    for arguments in (
        ["preprocess", sky.path("image"), "--patch-size", 16, "-o", disk / "out.h5"],
        ["segment", trained, sky.path("image"), "-o", disk / "out.fits"],
        ["train", config],
    ):
        assert command(*arguments, prepare=partial(set_variable, "TMPDIR", str(disk / "nowhere"))).code == 0
    assert all(name.startswith("disk/") for name in contents(tmp_path).keys() - before)


def test_an_output_below_a_file_cannot_be_written(
    trained: Path,
    sky: Sky,
    patch_path: Path,
    run_dict: RunDict,
    ended: Ended,
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run_dict()))
    commands: list[list[object]] = [
        ["preprocess", sky.path("image"), "--patch-size", 16, "-o", "file/out.h5"],
        ["split", patch_path, "-k", 4, "-o", "file/out.json"],
        ["segment", trained, sky.path("image"), "-o", "file/out.fits"],
        ["train", "run.yaml", "--set", f"trainer.output_dir={tmp_path / 'file'}"],
        ["kfold", "run.yaml", "--set", f"trainer.output_dir={tmp_path / 'file'}"],
    ]
    for command in commands:
        assert re.search("is a file, not a folder|Not a directory|File exists", ended(2, *command).err), command


def test_dry_run_of_segment_finds_a_folder_that_cannot_be_written(
    trained: Path, sky: Sky, ended: Ended, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda _, mode: mode != os.W_OK)  # root may write anywhere
    for command in (["segment", trained, sky.path("image")], ["preprocess", sky.path("image"), "--patch-size", 16]):
        assert "is read-only for you" in ended(2, *command, "--dry-run").err


def test_a_file_that_is_too_large_leaves_the_previous_output_whole(
    sky: Sky, trained: Path, ended: Ended, tmp_path: Path
) -> None:
    commands: list[tuple[list[object], str]] = [
        (["preprocess", sky.path("image"), "--patch-size", 16, "--overwrite"], "image.h5"),
        (["segment", trained, sky.path("image"), "--overwrite"], "image_segmented.fits"),
    ]
    for command, name in commands:
        ended(0, *command)
        before = (tmp_path / name).read_bytes()
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
        try:
            result = ended(2, *command)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, handler)
        written_first = ".image_segmented.fits.parts/0_0.f4" if command[0] == "segment" else name
        assert f"{written_first} could not be written: File too large" in result.err
        assert (tmp_path / name).read_bytes() == before
        ended(0, *command)


@pytest.mark.parametrize("redirection", [">/dev/full", "2>/dev/full", ">&-", ">&- 2>&- <&-", "| head -n 1"])
def test_output_that_cannot_be_printed_ends_no_command(redirection: str, sky: Sky, tmp_path: Path) -> None:
    command = f"{sys.executable} -m bigsf preprocess {sky.path('image')} --patch-size 16 -o {tmp_path}/map.h5"
    ended = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{command} {redirection}"], stderr=subprocess.PIPE, check=False
    )
    assert (ended.returncode, ended.stderr.decode()) == (0, "")
    assert PatchFile(tmp_path / "map.h5").shape == sky.image.shape
