import os
import pty
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from command_processes import Commands, write_yaml
from conftest import Sky
from programs import PATIENCE_S, started_program


def test_output_off_a_terminal_is_plain(
    command: Commands, sky: Sky, trained: Path, run_in: Callable[..., dict[str, Any]], tmp_path: Path
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
        result = command(*arguments)
        assert result.code == (3 if "nothing.yaml" in arguments else 0), result.err
        assert not re.search("[\x1b\r]", result.out + result.err)
    for path in tmp_path.glob("image*"):
        path.unlink()
    for arguments in [commands[0], commands[1], commands[5], commands[6]]:
        result = command(*arguments, "--quiet")
        assert result.out == ""
        assert all(line.startswith(("Warning: ", "Error: ")) for line in result.err.splitlines())


@pytest.mark.parametrize("no_colour", [False, True])
def test_a_terminal_without_colour_gets_none(no_colour: bool, sky: Sky, tmp_path: Path) -> None:
    terminal, end = pty.openpty()
    command = [sys.executable, "-m", "bigsf", "preprocess", sky.path("image"), "--patch-size", "1000"]
    env = {**os.environ, "TERM": "xterm-256color", **({"NO_COLOR": "1"} if no_colour else {})}
    with started_program(command, stdout=end, stderr=end, cwd=tmp_path, env=env) as program:
        program.wait(PATIENCE_S)
    result = os.read(terminal, 100_000).decode()
    os.close(end)
    os.close(terminal)
    assert "Error:" in result
    assert bool(re.search(r"\x1b\[[0-9;]*3[0-9]", result)) != no_colour
