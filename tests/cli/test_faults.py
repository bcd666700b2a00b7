"""Faults of the machine beneath: full disks, inputs that change, too little memory, kills, and two runs at once.

Commands run in processes of their own, forked from one server that has imported everything once. After each fault
previous outputs are whole, no temporary file is left, and the same command works.
"""

import errno
import multiprocessing
import os
import pty
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from astropy.io import fits

from bigsf import console
from bigsf.errors import out_of_memory
from bigsf.maps.fits_image import FitsImage
from bigsf.patches import preprocess as preprocessing
from bigsf.patches.patch_file import PatchFile
from conftest import Said, Sky, galactic_header

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        "pytest",
        "hypothesis",
        "matplotlib.backends.backend_agg",
        "matplotlib.figure",
        "skimage.morphology",
        "bigsf.cli.app",
        "bigsf.training.kfold",
        "bigsf.segmentation.segment",
        "bigsf.patches.preprocess",
        "bigsf.cli.display",
        "bigsf.maps.describe",
    ]
)
Settings = Callable[..., dict[str, Any]]


def nothing() -> None:
    """Prepare nothing."""


def run_command(arguments: list[str], folder: Path, voice: Path, prepare: Callable[[], object]) -> None:
    """Run the command line in a process that exists for it alone."""
    for number, suffix in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(voice.with_suffix(suffix), os.O_WRONLY | os.O_CREAT), number)
    os.chdir(folder)
    prepare()
    sys.argv = ["bigsf", *arguments]
    from bigsf.cli import main

    main()


class Started:
    """A command at work."""

    def __init__(self, process: BaseProcess, voice: Path) -> None:
        self.process, self.voice = process, voice

    def end(self) -> Said:
        self.process.join(120)
        assert self.process.exitcode is not None
        said = (self.voice.with_suffix(suffix).read_text() for suffix in (".out", ".err"))
        return Said(self.process.exitcode, *said)


class Commands:
    """Starts commands in a folder."""

    def __init__(self, folder: Path, voices: Path) -> None:
        self.folder, self.voices, self.number = folder, voices, 0

    def start(self, *arguments: object, prepare: Callable[[], object] = nothing) -> Started:
        self.number += 1
        voice = self.voices / str(self.number)
        process = SERVER.Process(target=run_command, args=([*map(str, arguments)], self.folder, voice, prepare))
        process.start()
        return Started(process, voice)

    def __call__(self, *arguments: object, prepare: Callable[[], object] = nothing) -> Said:
        said = self.start(*arguments, prepare=prepare).end()
        assert not list(self.folder.rglob(".*.tmp")), said
        assert "Traceback" not in said.err
        return said


@pytest.fixture
def command(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Commands:
    return Commands(tmp_path, tmp_path_factory.mktemp("voices"))


@pytest.fixture
def disk(tmp_path: Path, command: Commands) -> Iterator[Path]:
    """Return the folder of the commands: a file system of its own, of a megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=False).returncode:
        pytest.skip("only root may mount a small file system")
    command.folder = folder
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def fill(disk: Path, leave: int) -> Path:
    status = os.statvfs(disk)
    with (disk / "filler").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, status.f_bavail * status.f_frsize - leave)
    return disk / "filler"


def write_yaml(path: Path, settings: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(settings))
    return path


# --- the output -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "leave", "full"),
    [
        ("preprocess", 102_400, "image.h5"),  # enough for the planes, not for the positions
        ("split", 102_400, "f.folds.fits"),  # enough for the picture
        ("segment", 204_800, "image_segmented.png"),  # enough for all but the picture
    ],
)
def test_full_disk_leaves_all_or_nothing(
    name: str, leave: int, full: str, disk: Path, command: Commands, sky: Sky, patch_path: Path, trained: Path
) -> None:
    arguments: dict[str, list[object]] = {
        "preprocess": ["preprocess", sky.path("image"), "--target", sky.path("target"), "--patch-size", 16],
        "split": ["split", patch_path, "--area-size", 32, "-o", "f.folds.json"],
        "segment": ["segment", trained, sky.path("image"), "--products", "prob,mask,catalog,regions"],
    }
    filler = fill(disk, leave)
    said = command(*arguments[name], "--quiet")
    assert said.code == 2
    assert said.err.splitlines()[-1].startswith(f"Error: {full} could not be written: No space left on device. ")
    assert len(said.err.splitlines()) == 1 + (name == "segment"), "no library speaks"
    assert contents(disk).keys() == {"filler"}
    filler.unlink()
    assert command(*arguments[name]).code == 0
    made = contents(disk)
    fill(disk, leave)
    assert command(*arguments[name], "--overwrite").code in (0, 2)
    assert contents(disk).keys() - {"filler"} == made.keys()


@pytest.mark.parametrize("leave", [0, 100_000])
def test_full_disk_in_training_is_said_and_the_run_goes_on_later(
    leave: int, disk: Path, command: Commands, run_in: Settings, tmp_path: Path
) -> None:
    config = write_yaml(tmp_path / "run.yaml", run_in(disk))
    filler = fill(disk, leave)
    said = command("train", config)
    assert (said.code, "could not be written: No space left on device" in said.err) == (2, True)
    filler.unlink()
    again = ["resume", disk / "results" / "run"] if leave else ["train", config]
    assert command(*again).code == 0


def test_read_only_output_is_refused(
    disk: Path, command: Commands, sky: Sky, trained: Path, run_in: Settings, tmp_path: Path
) -> None:
    config = write_yaml(tmp_path / "run.yaml", run_in(disk))
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    for arguments, message in (
        (["preprocess", sky.path("image"), "--patch-size", 16], "is read-only for you"),
        (["segment", trained, sky.path("image")], "is read-only for you"),
        (["train", config], "cannot be made: Read-only file system."),
        (["kfold", config], "kfold.yaml could not be written: Read-only file system.\n"),
    ):
        said = command(*arguments)
        assert (said.code, message in said.err) == (2, True), said.err


def set_variable(name: str, value: str) -> None:
    os.environ[name] = value


def test_outputs_may_lie_on_another_file_system_and_no_other_folder_is_needed(
    disk: Path, command: Commands, sky: Sky, trained: Path, run_in: Settings, tmp_path: Path
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


# --- the input --------------------------------------------------------------------------------------------------------


def spoil_in_use(how: str, path: Path, reader: type, method: str, call: int) -> None:
    """Do something to a file just before the method that reads it is called for the n-th time."""
    read, calls = getattr(reader, method), iter(range(1, 1_000_000))

    def reading(*args: Any, **options: Any) -> Any:
        if next(calls) == call:
            if how == "remove":
                path.unlink()
            elif how == "replace":
                path.with_name("new").write_bytes(b"another")
                path.with_name("new").rename(path)
            else:
                os.truncate(path, 4000 if how == "cut" else path.stat().st_size)
        return read(*args, **options)

    setattr(reader, method, reading)
    preprocessing._BAND_BYTES = 1  # many bands of a small map


@pytest.mark.parametrize(
    ("name", "how"),
    [
        *((name, how) for name in ("preprocess", "segment") for how in ("remove", "replace", "cut", "write")),
        *(("train", how) for how in ("remove", "cut")),
        ("validation", "cut"),
    ],
)
def test_an_input_that_changes_in_use_is_an_error_and_one_that_goes_is_none(
    name: str, how: str, command: Commands, sky: Sky, patch_path: Path, trained: Path, run_in: Settings, tmp_path: Path
) -> None:
    training = name in ("train", "validation")
    source, path = (patch_path, tmp_path / "in.h5") if training else (sky.path("image"), tmp_path / "in.fits")
    shutil.copy(source, path)
    config = write_yaml(tmp_path / "run.yaml", {**run_in(tmp_path), "data": {"path": str(path)}})
    method = {"train": "read", "validation": "read_rows"}.get(name, "read")
    spoil = partial(spoil_in_use, how, path, PatchFile if training else FitsImage, method, 4)
    arguments: dict[str, list[object]] = {
        "preprocess": ["preprocess", path, "--patch-size", 16, "-o", "out.h5"],
        "segment": ["segment", trained, path, "-o", "out.fits"],
    }
    said = command(*arguments.get(name, ["train", config]), prepare=spoil)
    if how in ("remove", "replace"):
        assert said.code == 0, said.err
        return
    assert said.code == 4
    assert f"{path} was changed while it was being read" in said.err
    assert not list(tmp_path.glob("out*"))
    shutil.copy(source, path)
    assert command(*arguments.get(name, ["resume", tmp_path / "results" / "run"])).code == 0


def test_cards_that_cannot_be_read_are_counted(command: Commands, tmp_path: Path) -> None:
    path = tmp_path / "odd.fits"
    fits.PrimaryHDU(np.ones((20, 20)), galactic_header(20, 20)).writeto(path)
    path.write_bytes(path.read_bytes().replace(b"CUNIT1  = 'deg", b"CUNIT1  = \x00\x01de"))
    said = command("preprocess", path, "--patch-size", 8)
    assert said.code == 0
    assert said.err == "Warning: odd.fits: cards of its header that cannot be read are left out (1).\n"


# --- several at once --------------------------------------------------------------------------------------------------


def test_two_that_write_one_file_leave_it_whole(command: Commands, sky: Sky, trained: Path, tmp_path: Path) -> None:
    for arguments in (
        ["preprocess", sky.path("image"), "--patch-size", 16, "--overwrite"],
        ["segment", trained, sky.path("image"), "--overwrite"],
    ):
        assert [started.end().code for started in [command.start(*arguments) for _ in range(2)]] == [0, 0]
    assert len(PatchFile(tmp_path / "image.h5")) > 0
    with FitsImage(tmp_path / "image_segmented.fits") as written:
        assert np.isfinite(written.read()).any()
    assert not list(tmp_path.rglob(".*.tmp"))


def test_splits_train_side_by_side_and_one_split_only_once(
    command: Commands, run_dict: Settings, tmp_path: Path
) -> None:
    settings = run_dict(epochs=1)
    settings["split"]["k"] = 3
    config = write_yaml(tmp_path / "run.yaml", settings)
    runs = [command.start("kfold", config, "--only", only) for only in (1, 2, 2)]
    first, *same = [started.end() for started in runs]
    assert first.code == 0, first.err
    for said in same:
        assert said.code == 0 or re.search(r"split_2 is in use by process \d+ on .* since 20", said.err), said.err
    assert 0 in {said.code for said in same}
    finished = command("kfold", config)
    assert finished.code == 0, finished.err
    assert "split_1 is done." in finished.err
    assert (tmp_path / "results" / "run" / "report.html").exists()
    assert not list(tmp_path.rglob(".lock"))


def test_a_split_starts_while_another_process_writes_the_record(
    command: Commands, run_dict: Settings, tmp_path: Path
) -> None:
    config = write_yaml(tmp_path / "run.yaml", run_dict(epochs=1))
    half_written = tmp_path / "results" / "run" / ".kfold.yaml.elsewhere.1.tmp"
    half_written.parent.mkdir(parents=True)
    half_written.touch()
    said = command.start("kfold", config, "--only", 1).end()
    assert said.code == 0, said.err


# --- the clock --------------------------------------------------------------------------------------------------------


def clock_that_falls() -> None:
    clock = iter(range(2_000_000_000, 0, -1000))
    time.time = lambda: float(next(clock))


def test_a_clock_that_is_set_back_changes_nothing(command: Commands, run_in: Settings, tmp_path: Path) -> None:
    config = write_yaml(tmp_path / "run.yaml", run_in(tmp_path, save_every=0.001))
    said = command("train", config, "--time-limit", "10min", prepare=clock_that_falls)
    assert said.code == 0
    assert all(float(rate) >= 0 for rate in re.findall(r"(\S+) patches/s", said.err))


def test_progress_of_nothing_has_no_rate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter([0.0, 20.0])
    monkeypatch.setattr("bigsf.console.time.monotonic", lambda: next(clock))
    console._plain_progress("train", 10, "patches")(0)
    assert capsys.readouterr().err == "train: 0 of 10 patches, 0 patches/s\n"


# --- memory -----------------------------------------------------------------------------------------------------------


def limit_memory(further_bytes: int) -> None:
    import bigsf.segmentation.segment
    import bigsf.training.trainer  # noqa: F401

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + further_bytes
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the memory in use is not told here")
def test_lack_of_memory_has_its_exit_code(command: Commands, sky: Sky, tmp_path: Path) -> None:
    # Not segment and train: OpenBLAS and libgomp end the process themselves where they get no memory.
    fits.PrimaryHDU(np.tile(sky.image.astype(np.float32), (8, 8))).writeto(tmp_path / "big.fits")
    said = command("preprocess", "big.fits", "--patch-size", 16, prepare=partial(limit_memory, 3_000_000))
    assert said.code == 7, said.err
    assert "Error: Out of memory: " in said.err
    assert not list(tmp_path.glob("big?*.*[!s]"))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
            True,
        ),
        (RuntimeError("can't start new thread"), True),
        (OSError("Can't synchronously read data (memory allocation failed for chunk)"), True),
        (ImportError("libx.so: failed to map segment from shared object"), True),
        (ImportError("libx.so: failed to map segment from shared object: Operation not permitted"), False),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("can't allocate memory"), False),
    ],
)
def test_lack_of_memory_is_known_by_kind_or_words(error: Exception, expected: bool) -> None:
    assert out_of_memory(error) == expected


# --- death and signals ------------------------------------------------------------------------------------------------


def wait_for(path: Path, process: subprocess.Popen[str] | BaseProcess) -> None:
    deadline = time.monotonic() + 120
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert path.exists(), process


def test_the_death_of_one_process_ends_the_others_with_its_cause(
    command: Commands, run_in: Settings, tmp_path: Path
) -> None:
    config = write_yaml(tmp_path / "run.yaml", run_in(tmp_path, epochs=100_000, save_every=0.01))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "bigsf"]
    process = subprocess.Popen([*launch, "train", config, "--device", "cpu"], stderr=subprocess.PIPE, text=True)
    last = tmp_path / "results" / "run" / "last.pt"
    wait_for(last, process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    rank = {Path(f"/proc/{child}/environ").read_bytes().partition(b"\0RANK=")[2][:1]: int(child) for child in children}
    started = time.monotonic()
    os.kill(rank[b"1"], signal.SIGKILL)
    _, said = process.communicate(timeout=120)
    assert time.monotonic() - started < 60
    assert "Process 0 of 2 lost its connection to another, which has likely died" in said
    assert "Signal 9 (SIGKILL)" in said
    assert "mistake of bigsf" not in said
    assert not list(tmp_path.rglob(".*.tmp"))
    epochs = torch.load(last, weights_only=True)["EPOCHS_RUN"] + 1
    assert command("resume", last.parent, "--epochs", epochs).code == 0


def read_slowly(mark: Path) -> None:
    read = FitsImage.read

    def reading(*args: Any, **options: Any) -> Any:
        if any(mark.parent.glob(".*.tmp")):
            mark.touch()
            time.sleep(0.2)
        return read(*args, **options)

    FitsImage.read = reading  # type: ignore[method-assign]
    preprocessing._BAND_BYTES = 1
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background inherit it ignored


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", ["preprocess", "segment"])
def test_a_signal_leaves_the_previous_output_and_no_litter(
    name: str, number: signal.Signals, command: Commands, sky: Sky, trained: Path, tmp_path: Path
) -> None:
    options: list[object] = ["--patch-size", 16, "-o", "out.h5"] if name == "preprocess" else ["-o", "out.fits"]
    models = [trained] if name == "segment" else []
    (output,) = [tmp_path / str(options[-1])]
    output.write_text("previous")
    started = command.start(
        name, *models, sky.path("image"), *options, "--overwrite", prepare=partial(read_slowly, tmp_path / "mark")
    )
    wait_for(tmp_path / "mark", started.process)
    assert started.process.pid
    os.kill(started.process.pid, number)
    said = started.end()
    assert said.code == 128 + number
    assert "Traceback" not in said.err
    assert output.read_text() == "previous"
    assert {path.name for path in tmp_path.iterdir()} == {output.name, "mark"}


# --- what is said -----------------------------------------------------------------------------------------------------


def test_output_off_a_terminal_is_plain(
    command: Commands, sky: Sky, trained: Path, run_in: Settings, tmp_path: Path
) -> None:
    config = write_yaml(tmp_path / "run.yaml", run_in(tmp_path, epochs=1))
    commands: list[list[object]] = [
        ["preprocess", sky.path("image"), "--target", sky.path("target"), "--patch-size", 16],
        ["split", "image.h5", "--area-size", 32],
        ["train", config],
        ["resume", "results/run"],
        ["kfold", config, "--set", "trainer.run_name=folds", "--dry-run"],
        ["segment", trained, sky.path("image")],
        ["train", "nothing.yaml"],
    ]
    for arguments in commands:
        said = command(*arguments)
        assert said.code == (3 if "nothing.yaml" in arguments else 0), said.err
        assert not re.search("[\x1b\r]", said.out + said.err)
    for path in tmp_path.glob("image*"):
        path.unlink()
    for arguments in [commands[0], commands[1], commands[5], commands[6]]:
        said = command(*arguments, "--quiet")
        assert said.out == ""
        assert all(line.startswith(("Warning: ", "Error: ")) for line in said.err.splitlines())


@pytest.mark.parametrize("no_colour", [False, True])
def test_a_terminal_without_colour_gets_none(no_colour: bool, sky: Sky, tmp_path: Path) -> None:
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "bigsf", "preprocess", sky.path("image"), "--patch-size", "1000"],
        stdout=end,
        stderr=end,
        cwd=tmp_path,
        env={**os.environ, "TERM": "xterm-256color", **({"NO_COLOR": "1"} if no_colour else {})},
    )
    process.wait(60)
    said = os.read(terminal, 100_000).decode()
    os.close(end)
    os.close(terminal)
    assert "Error:" in said
    assert bool(re.search(r"\x1b\[[0-9;]*3[0-9]", said)) != no_colour


# --- code of strangers ------------------------------------------------------------------------------------------------


def test_a_kfold_runs_no_code_that_its_config_does_not_name(
    command: Commands, run_dict: Settings, tmp_path: Path
) -> None:
    config = write_yaml(tmp_path / "run.yaml", run_dict(epochs=1))
    assert command("kfold", config, "--only", 1).code == 0
    folder = tmp_path / "results" / "run" / "split_1"
    (tmp_path / "stranger.py").write_text("import os\nos.mkdir('made')\nfrom bigsf.models.unet import UNet as Net\n")
    for name in ("last.pt", "best.pt"):
        content = torch.load(folder / name, weights_only=True)
        custom = {"type": "custom", "target": "stranger:Net", "folder": str(tmp_path)}
        content["GLOBAL_CONFIG"]["trainer"]["model"] = custom
        torch.save(content, folder / name)
    (folder / "scores.json").unlink()
    for arguments in (["kfold", config, "--only", 1], ["resume", folder.parent, "--trust"]):
        said = command(*arguments)
        assert said.code == 5
        assert f"names code to run: stranger:Net in {tmp_path}" in said.err
    assert not (tmp_path / "made").exists()
