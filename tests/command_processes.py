"""Commands in processes of their own, forked from one server that has imported everything once: a pytest plugin."""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import CommandResult
from programs import PATIENCE_S

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        "pytest",
        "hypothesis",
        "matplotlib.backends.backend_agg",
        "matplotlib.figure",
        "skimage.morphology",
        "bigsf.cli.app",
        "bigsf.cli.dry_run",
        "bigsf.training.kfold",
        "bigsf.segmentation.segment",
        "bigsf.patches.preprocess",
        "bigsf.maps.describe",
    ]
)


def _do_nothing() -> None:
    pass


def _run_command(arguments: list[str], folder: Path, output: Path, prepare: Callable[[], object]) -> None:
    """Run the command line in a process that exists for it alone."""
    for number, suffix in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(output.with_suffix(suffix), os.O_WRONLY | os.O_CREAT), number)
    os.chdir(folder)
    prepare()
    sys.argv = ["bigsf", *arguments]
    from bigsf.cli import main

    main()


class StartedCommand:
    """A command that is running; what it prints goes to two files."""

    def __init__(self, process: BaseProcess, output: Path) -> None:
        self.process, self._output = process, output

    def result(self) -> CommandResult:
        """Wait for the end of the command."""
        self.process.join(PATIENCE_S)
        assert self.process.exitcode is not None, "the command has not ended"
        printed = (self._output.with_suffix(suffix).read_text() for suffix in (".out", ".err"))
        return CommandResult(self.process.exitcode, *printed)


class Commands:
    """Runs commands in a folder; `prepare` is called in the process of a command before it begins."""

    def __init__(self, folder: Path, outputs: Path) -> None:
        self.folder, self._outputs = folder, outputs
        self._processes: list[BaseProcess] = []

    def start(self, *arguments: object, prepare: Callable[[], object] = _do_nothing) -> StartedCommand:
        """Start a command."""
        output = self._outputs / str(len(self._processes))
        process = SERVER.Process(target=_run_command, args=([*map(str, arguments)], self.folder, output, prepare))
        process.start()
        self._processes.append(process)
        return StartedCommand(process, output)

    def kill(self) -> None:
        """Kill the commands that still run."""
        for process in self._processes:
            process.kill()
            process.join()

    def __call__(self, *arguments: object, prepare: Callable[[], object] = _do_nothing) -> CommandResult:
        """Run a command; it ends without a traceback and leaves no temporary file."""
        result = self.start(*arguments, prepare=prepare).result()
        assert not list(self.folder.rglob(".*.tmp")), result
        assert "Traceback" not in result.err
        return result


@pytest.fixture
def command(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    commands = Commands(tmp_path, tmp_path_factory.mktemp("outputs"))
    yield commands
    commands.kill()


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
    """Return the files in a folder by name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def fill(disk: Path, leave: int) -> Path:
    """Fill a file system with one file, but for some bytes."""
    status = os.statvfs(disk)
    with (disk / "filler").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, status.f_bavail * status.f_frsize - leave)
    return disk / "filler"


def write_yaml(path: Path, settings: dict[str, Any]) -> Path:
    """Write a configuration."""
    path.write_text(yaml.safe_dump(settings))
    return path
