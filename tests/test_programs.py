import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from programs import PATIENCE_S, run_program, started_program, wait_for

SLEEPS = "import time; time.sleep(100_000)"


def runs(number: int) -> bool:
    """Tell whether a process exists and has not ended."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{number}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="this system does not tell environments")
@pytest.mark.parametrize("orphaned", [False, True])
def test_a_program_is_ended_with_what_it_has_started_in_another_session(orphaned: bool, tmp_path: Path) -> None:
    starts = (
        "import pathlib, subprocess, sys;"
        f"child = subprocess.Popen([sys.executable, '-c', {SLEEPS!r}], start_new_session=True);"
        "pathlib.Path('half').write_text(str(child.pid)); pathlib.Path('half').rename('child');" + SLEEPS
    )
    with suppress(AssertionError), started_program([sys.executable, "-c", starts], cwd=tmp_path) as program:
        wait_for(tmp_path / "child", program)
        child = int((tmp_path / "child").read_text())
        if not runs(child):
            pytest.fail("the child was not started")
        if orphaned:
            os.kill(program.pid, signal.SIGKILL)
            program.wait()
        raise AssertionError("a test that fails")
    assert program.returncode == -signal.SIGKILL
    end = time.monotonic() + PATIENCE_S
    while runs(child) and time.monotonic() < end:  # a killed process has lost its environment before it has ended
        time.sleep(0.01)
    assert not runs(child)


def test_the_environment_and_the_output_are_those_asked_for() -> None:
    done = run_program([sys.executable, "-c", "import os; print(os.environ['PLACE']); exit(3)"], env={"PLACE": "here"})
    assert (done.returncode, done.stdout, done.stderr) == (3, "here\n", "")


def test_what_will_not_come_is_not_waited_for(tmp_path: Path) -> None:
    with (
        started_program([sys.executable, "-c", ""]) as program,
        pytest.raises(AssertionError, match="ended without having made"),
    ):
        wait_for(tmp_path / "nothing", program)
