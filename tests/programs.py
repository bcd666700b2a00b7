"""Programs that tests start: each is ended by its test, with all processes that it has started in turn.

A test waits on a condition, never for a time. PATIENCE_S ends a test whose condition can no longer come true; it is so
long that a busy machine does not reach it.
"""

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

PATIENCE_S = 1200
"""How long a test waits for what takes seconds on an idle machine."""

_MARK = "BIGSF_TEST_PROGRAM"


@contextmanager
def started_program(
    command: Sequence[object], env: Mapping[str, str] | None = None, **options: Any
) -> Iterator[subprocess.Popen[str]]:
    """Start a program; at the end of the block, kill it and what it has started, in whatever session that is.

    Parameters
    ----------
    command
        The program and its arguments.
    env
        Its environment; by default that of the tests.
    **options
        As for `subprocess.Popen`.
    """
    token = uuid.uuid4().hex
    marked = {**(os.environ if env is None else env), _MARK: token}
    with subprocess.Popen([*map(str, command)], env=marked, text=True, **options) as process:
        try:
            yield process
        finally:
            process.kill()
            _kill_marked(f"{_MARK}={token}".encode())


def _kill_marked(mark: bytes) -> None:
    """Kill all processes whose environment holds a mark, until there is none: the workers of torchrun outlive it."""
    left = True
    while left:
        left = False
        for environment in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):  # it has just ended, or belongs to another user
                if mark in environment.read_bytes():
                    os.kill(int(environment.parent.name), signal.SIGKILL)
                    left = True


def run_program(command: Sequence[object], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, and return its exit code and what it printed."""
    with started_program(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options) as process:
        out, err = process.communicate(timeout=PATIENCE_S)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def wait_for(path: Path, process: subprocess.Popen[str] | BaseProcess) -> None:
    """Wait until a process has made a file; fail where it ends without."""
    started = time.monotonic()
    while not path.exists():
        assert _runs(process) or path.exists(), f"{process} ended without having made {path}"
        assert time.monotonic() - started < PATIENCE_S, f"{process} has not made {path}"
        time.sleep(0.02)


def _runs(process: subprocess.Popen[str] | BaseProcess) -> bool:
    return process.is_alive() if isinstance(process, BaseProcess) else process.poll() is None
