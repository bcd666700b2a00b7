"""Commands whose machine interferes: inputs that change, two commands at once, the clock, memory, and signals."""

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial, partialmethod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from astropy.io import fits

from bigsf.maps import fingerprint
from bigsf.maps.fits_image import FitsImage
from bigsf.maps.fits_writer import FitsWriter
from bigsf.maps.tiling import row_chunks
from bigsf.patches import preprocess as preprocessing
from bigsf.patches.patch_file import PatchFile
from command_processes import Commands, write_yaml
from conftest import Sky
from programs import PATIENCE_S, started_program, wait_for

RunDict = Callable[..., dict[str, Any]]


# --- the input --------------------------------------------------------------------------------------------------------


def read_small_chunks() -> None:
    """Let preprocess and the search for known maps read even a small map in several chunks."""
    preprocessing.preprocess = partial(preprocessing.preprocess, chunk_pixels=1)
    fingerprint.row_chunks = partial(row_chunks, pixels=1)  # type: ignore[attr-defined]


def change_in_use(how: str, path: Path, reader: type, method: str, begun: Path) -> None:
    """Change a file just before the method that reads it is called for the fourth time while `begun` exists."""
    read, calls = getattr(reader, method), iter(range(1, 1_000_000))

    def reading(*args: Any, **options: Any) -> Any:
        if begun.exists() and next(calls) == 4:
            if how == "remove":
                path.unlink()
            elif how == "replace":
                path.with_name("new").write_bytes(b"another")
                path.with_name("new").rename(path)
            else:
                os.truncate(path, 4000 if how == "cut" else path.stat().st_size)
        return read(*args, **options)

    setattr(reader, method, reading)
    read_small_chunks()


@pytest.mark.parametrize(
    ("name", "how"),
    [
        *((name, how) for name in ("preprocess", "segment") for how in ("remove", "replace", "cut", "write")),
        *(("train", how) for how in ("remove", "cut")),
        ("validation", "cut"),
    ],
)
def test_an_input_may_be_removed_while_it_is_read_but_not_changed(
    name: str, how: str, command: Commands, sky: Sky, patch_path: Path, trained: Path, run_in: RunDict, tmp_path: Path
) -> None:
    training = name in ("train", "validation")
    source, path = (patch_path, tmp_path / "in.h5") if training else (sky.path("image"), tmp_path / "in.fits")
    shutil.copy(source, path)
    config = write_yaml(tmp_path / "run.yaml", {**run_in(tmp_path), "data": {"path": str(path)}})
    method = {"train": "read", "validation": "read_rows"}.get(name, "read")
    begun = tmp_path / "results" / "run" if training else tmp_path
    change = partial(change_in_use, how, path, PatchFile if training else FitsImage, method, begun)
    arguments: dict[str, list[object]] = {
        "preprocess": ["preprocess", path, "--patch-size", 16, "-o", "out.h5"],
        "segment": ["segment", trained, path, "-o", "out.fits"],
    }
    result = command(*arguments.get(name, ["train", config]), prepare=change)
    if how in ("remove", "replace"):
        assert result.code == 0, result.err
        return
    assert result.code == 4
    assert f"{path} was changed while it was being read" in result.err
    assert not list(tmp_path.glob("out*"))
    shutil.copy(source, path)
    assert command(*arguments.get(name, ["resume", tmp_path / "results" / "run"])).code == 0


# --- two at once ------------------------------------------------------------------------------------------------------


def test_two_commands_may_write_one_file(command: Commands, sky: Sky, trained: Path, tmp_path: Path) -> None:
    for arguments in (
        ["preprocess", sky.path("image"), "--patch-size", 16, "--overwrite"],
        ["segment", trained, sky.path("image"), "--overwrite"],
    ):
        results = [started.result() for started in [command.start(*arguments) for _ in range(2)]]
        assert 0 in {result.code for result in results}
        for result in results:
            assert result.code == 0 or re.search(r"parts is in use by (process|another)", result.err), result.err
    assert len(PatchFile(tmp_path / "image.h5")) > 0
    with FitsImage(tmp_path / "image_segmented.fits") as written:
        assert np.isfinite(written.read()).any()
    assert not list(tmp_path.rglob(".*.tmp"))


def test_splits_train_side_by_side_and_one_split_only_once(
    command: Commands, run_dict: RunDict, tmp_path: Path
) -> None:
    settings = run_dict(epochs=1)
    settings["split"]["k"] = 3
    config = write_yaml(tmp_path / "run.yaml", settings)
    runs = [command.start("kfold", config, "--only", only) for only in (1, 2, 2)]
    first, *same = [started.result() for started in runs]
    assert first.code == 0, first.err
    for result in same:
        in_use = r"split_2 is in use by (process \d+ on .* since 20|another run)"  # where the name is not yet written
        assert result.code == 0 or re.search(in_use, result.err), result.err
    assert 0 in {result.code for result in same}
    finished = command("kfold", config)
    assert finished.code == 0, finished.err
    assert "split_1 is done." in finished.err
    assert (tmp_path / "results" / "run" / "report.html").exists()
    assert not list(tmp_path.rglob(".lock"))


def test_a_split_starts_while_another_process_writes_the_record(
    command: Commands, run_dict: RunDict, tmp_path: Path
) -> None:
    config = write_yaml(tmp_path / "run.yaml", run_dict(epochs=1))
    half_written = tmp_path / "results" / "run" / ".kfold.yaml.elsewhere.1.tmp"
    half_written.parent.mkdir(parents=True)
    half_written.touch()
    result = command.start("kfold", config, "--only", 1).result()
    assert result.code == 0, result.err


# --- the clock --------------------------------------------------------------------------------------------------------


def clock_that_falls() -> None:
    clock = iter(range(2_000_000_000, 0, -1000))
    time.time = lambda: float(next(clock))


def test_a_clock_that_is_set_back_changes_nothing(command: Commands, run_in: RunDict, tmp_path: Path) -> None:
    config = write_yaml(tmp_path / "run.yaml", run_in(tmp_path, save_every=0.001))
    result = command("train", config, "--time-limit", "10min", prepare=clock_that_falls)
    assert result.code == 0
    assert all(float(rate) >= 0 for rate in re.findall(r"(\S+) patches/s", result.err))


# --- memory -----------------------------------------------------------------------------------------------------------


def limit_memory(further_bytes: int) -> None:
    import bigsf.segmentation.segment
    import bigsf.training.trainer  # noqa: F401

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + further_bytes
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system does not tell the memory in use")
def test_lack_of_memory_has_its_exit_code(command: Commands, sky: Sky, tmp_path: Path) -> None:
    # Not segment and train: OpenBLAS and libgomp end the process themselves where they get no memory.
    fits.PrimaryHDU(np.tile(sky.image.astype(np.float32), (8, 8))).writeto(tmp_path / "big.fits")
    result = command("preprocess", "big.fits", "--patch-size", 16, prepare=partial(limit_memory, 3_000_000))
    assert result.code == 7, result.err
    assert "Error: Out of memory: " in result.err
    assert not list(tmp_path.glob("big?*.*[!s]"))


# --- death and signals ------------------------------------------------------------------------------------------------


def test_the_death_of_one_process_ends_the_others_with_its_cause(
    command: Commands, run_in: RunDict, tmp_path: Path
) -> None:
    config = write_yaml(tmp_path / "run.yaml", run_in(tmp_path, epochs=100_000, save_every=0.01))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "bigsf"]
    last = tmp_path / "results" / "run" / "last.pt"
    with started_program([*launch, "train", config, "--device", "cpu"], stderr=subprocess.PIPE) as process:
        wait_for(last, process)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        environments = {child: Path(f"/proc/{child}/environ").read_bytes() for child in children}
        rank = {text.partition(b"\0RANK=")[2][:1]: int(child) for child, text in environments.items()}
        os.kill(rank[b"1"], signal.SIGKILL)
        _, printed = process.communicate(timeout=PATIENCE_S)  # gloo itself would give up only after half an hour
    assert "Process 0 of 2 lost its connection to another, which has likely died" in printed
    assert "Signal 9 (SIGKILL)" in printed
    assert "bug of bigsf" not in printed
    assert not list(tmp_path.rglob(".*.tmp"))
    epochs = torch.load(last, weights_only=True)["EPOCHS_RUN"] + 1
    assert command("resume", last.parent, "--epochs", epochs).code == 0


def work_until_a_signal(mark: Path) -> None:
    """Let a command make a mark and wait for a signal where it reads a map or writes one, once its output has begun."""
    for kind, name in ((FitsImage, "read"), (FitsWriter, "write")):
        setattr(kind, name, partialmethod(_waiting, getattr(kind, name), mark))
    read_small_chunks()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background inherit it ignored


def _waiting(self: object, work: Callable[..., Any], mark: Path, *args: Any, **options: Any) -> Any:
    if any(mark.parent.glob(".*.tmp")):
        mark.touch()
        while True:
            time.sleep(0.02)  # short: a signal just before a sleep begins does not end it
    return work(self, *args, **options)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", ["preprocess", "segment"])
def test_a_signal_leaves_the_previous_output_and_no_litter(
    name: str, number: signal.Signals, command: Commands, sky: Sky, trained: Path, tmp_path: Path
) -> None:
    options: list[object] = ["--patch-size", 16, "-o", "out.h5"] if name == "preprocess" else ["-o", "out.fits"]
    models = [trained] if name == "segment" else []
    (output,) = [tmp_path / str(options[-1])]
    output.write_text("previous")
    waits = partial(work_until_a_signal, tmp_path / "mark")
    started = command.start(name, *models, sky.path("image"), *options, "--overwrite", prepare=waits)
    wait_for(tmp_path / "mark", started.process)
    assert started.process.pid
    os.kill(started.process.pid, number)
    result = started.result()
    assert result.code == 128 + number
    assert "Traceback" not in result.err
    assert output.read_text() == "previous"
    kept = {".out.fits.parts"} if name == "segment" else set()
    assert {path.name for path in tmp_path.iterdir()} == {output.name, "mark"} | kept
    again = command(name, *models, sky.path("image"), *options, "--overwrite")
    assert again.code == 0
    assert ("1 of 1 parts of the map are predicted already." in again.err) == bool(kept)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("number", "delay_s"),
    [
        *((signal.SIGTERM, delay_s) for delay_s in (0.05, 0.3, 0.6, 1.0, 2.0, 3.0)),
        *((number, 0.8) for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)),
    ],
)
def test_a_signal_at_the_start_is_not_lost(
    number: signal.Signals, delay_s: float, run_dict: RunDict, tmp_path: Path
) -> None:
    config = write_yaml(tmp_path / "run.yaml", run_dict(epochs=10_000))
    command = [sys.executable, "-m", "bigsf", "train", config]
    options: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    options["preexec_fn"] = partial(signal.signal, signal.SIGHUP, signal.SIG_DFL)  # nohup may have started the tests
    with started_program(command, **options) as train:
        time.sleep(delay_s)
        train.send_signal(number)
        _, err = train.communicate(timeout=PATIENCE_S)
    if train.returncode == 128 + number:
        assert f"Stopped by {number.name}" in err
    else:  # Python itself was still starting
        assert train.returncode == -number or "KeyboardInterrupt" in err
    assert not list(tmp_path.rglob(".*.tmp"))
    assert not list(tmp_path.rglob("scores.json"))
