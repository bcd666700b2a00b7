"""What an ordinary user may not read or write is one message."""

import ctypes
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from command_processes import Commands, write_yaml
from conftest import Sky

CAPABILITIES_VERSION = 0x20080522  # of capset(2)


def become_ordinary() -> None:
    """Give up the rights of root, so that the modes of files hold, and stay their owner: the package is still read."""
    header = (ctypes.c_uint32 * 2)(CAPABILITIES_VERSION, 0)
    no_capabilities = (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None).capset(header, no_capabilities):
        raise OSError("capset has failed")


@pytest.fixture
def shared(command: Commands) -> Iterator[Path]:
    """Return the folder of the commands, in which nothing may be written but in its folder `open`."""
    if sys.platform != "linux":
        pytest.skip("only Linux has capabilities, which root gives up here")
    with tempfile.TemporaryDirectory() as name:
        command.folder = Path(name)
        yield command.folder
        for path in (command.folder, *command.folder.glob("closed")):
            path.chmod(0o700)


def test_what_may_not_be_read_or_written_is_one_message(
    shared: Path, command: Commands, sky: Sky, patch_path: Path, trained: Path, run_in: Callable[..., dict[str, Any]]
) -> None:
    for source in (sky.path("image"), patch_path, trained / "best.pt"):
        shutil.copy(source, shared / f"read_{source.name}")
        shutil.copy(source, shared / f"secret_{source.name}")
        (shared / f"secret_{source.name}").chmod(0)
    (shared / "closed").mkdir(0)
    (shared / "open").mkdir()
    settings = run_in(shared)
    del settings["split"]["path"]
    for name in ("read", "secret"):
        write_yaml(shared / f"{name}.yaml", {**settings, "data": {"path": str(shared / f"{name}_{patch_path.name}")}})
    write_yaml(shared / "hidden.yaml", settings).chmod(0)
    denied, read_only = "Permission denied|is not readable", "is read-only for you"
    cases: list[tuple[list[object], str]] = [
        (["preprocess", "secret_image.fits", "--patch-size", 16, "-o", "open/a.h5"], denied),
        (["preprocess", "closed/image.fits", "--patch-size", 16, "-o", "open/a.h5"], denied),
        (["preprocess", "read_image.fits", "--patch-size", 16], read_only),
        (["preprocess", "read_image.fits", "--patch-size", 16, "-o", "closed/a.h5"], f"{denied}|{read_only}"),
        (["split", "secret_sky.h5", "-o", "open/a.json"], denied),
        (["split", "read_sky.h5", "-k", 4, "--area-size", 32], read_only),
        (["segment", "secret_best.pt", "read_image.fits", "-o", "open/a.fits"], denied),
        (["segment", "closed", "read_image.fits", "-o", "open/a.fits"], f"{denied}|holds no"),
        (["segment", "read_best.pt", "secret_image.fits", "-o", "open/a.fits"], denied),
        (["segment", "read_best.pt", "read_image.fits"], read_only),
        (["train", "secret.yaml"], denied),
        (["train", "hidden.yaml"], denied),
        (["train", "read.yaml"], f"{denied}|{read_only}"),
        (["kfold", "read.yaml"], f"{denied}|{read_only}"),
        (["resume", "secret_best.pt"], denied),
        (["resume", "closed"], f"{denied}|holds no"),
    ]
    shared.chmod(0o500)
    before = sorted(shared.glob("*"))
    wrong = []
    for arguments, expected in cases:
        result = command(*arguments, prepare=become_ordinary)
        if result.code not in range(2, 6) or not any(text in result.err for text in expected.split("|")):
            wrong.append((arguments, result))
    assert wrong == []
    assert [*sorted(shared.glob("*")), *(shared / "open").glob("*")] == before
