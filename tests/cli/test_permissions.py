"""What an ordinary user may not read or write is one message."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from command_processes import Commands, write_yaml
from conftest import Sky

NOBODY = 65534


def become_nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


@pytest.fixture
def shared(command: Commands) -> Iterator[Path]:
    """Return a folder that everybody may read, that of the commands."""
    if os.getuid():
        pytest.skip("only root may become another user")
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        command.folder = Path(name)
        yield command.folder


def test_what_may_not_be_read_or_written_is_one_message(
    shared: Path, command: Commands, sky: Sky, patch_path: Path, trained: Path, run_in: Callable[..., dict[str, Any]]
) -> None:
    for source in (sky.path("image"), patch_path, trained / "best.pt"):
        shutil.copy(source, shared / f"read_{source.name}")
        shutil.copy(source, shared / f"secret_{source.name}")
        (shared / f"secret_{source.name}").chmod(0)
    (shared / "closed").mkdir(0o700)
    (shared / "open").mkdir()
    (shared / "open").chmod(0o777)
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
    before = sorted(shared.rglob("*"))
    wrong = []
    for arguments, expected in cases:
        result = command(*arguments, prepare=become_nobody)
        if result.code not in range(2, 6) or not any(text in result.err for text in expected.split("|")):
            wrong.append((arguments, result))
    assert wrong == []
    assert sorted(shared.rglob("*")) == before
