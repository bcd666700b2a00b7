"""Linux and macOS: no call that only Linux has is needed. Windows is refused in one sentence."""

import os
import subprocess
import sys
from pathlib import Path

from bigsf.patches.patch_file import PatchFile
from conftest import Sky

MACOS = """
import ctypes, os, pathlib
del os.posix_fallocate
for method in ("read_text", "readlink"):
    def absent(self, *args, former=getattr(pathlib.Path, method), **kwargs):
        if str(self).startswith("/proc/"):
            raise FileNotFoundError(2, "No such file or directory", str(self))
        return former(self, *args, **kwargs)
    setattr(pathlib.Path, method, absent)
class CDLL(ctypes.CDLL):
    def __getattr__(self, name):
        if name == "prctl":
            raise AttributeError(name)
        return super().__getattr__(name)
ctypes.CDLL = CDLL
"""
"""What makes Linux like macOS, as far as BigSF can see."""


def run(program: str, *arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], cwd=folder, capture_output=True, text=True, check=False
    )


def test_commands_run_without_the_calls_that_only_linux_has(sky: Sky, tmp_path: Path) -> None:
    program = f"{MACOS}\nfrom bigsf.cli import main; main()"
    assert "preprocess" in run(program, "--help", folder=tmp_path).stdout
    ended = run(program, "preprocess", sky.path("image"), "--patch-size", 16, folder=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert PatchFile(tmp_path / "image.h5").shape == sky.image.shape
    assert (
        run(f"{MACOS}\nfrom bigsf.training.launcher import _end_with_parent as end; end()", folder=tmp_path).stderr
        == ""
    )


def test_windows_is_refused_in_one_sentence(tmp_path: Path) -> None:
    ended = run('import sys; sys.platform = "win32"; import bigsf', folder=tmp_path)
    assert ended.stderr.splitlines()[-1] == (
        "ImportError: BigSF runs on Linux and macOS; it does not run on Windows. "
        "Use the Windows Subsystem for Linux (WSL)."
    )


def test_the_package_names_its_platforms() -> None:
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    systems = [line.strip(' ",') for line in text.splitlines() if "Operating System" in line]
    assert systems == ["Operating System :: MacOS", "Operating System :: POSIX :: Linux"]
    assert os.name == "posix"
