import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from bigsf.errors import UsageError
from bigsf.files import allocate, atomic_path, hidden_name, write_text
from bigsf.processes import this_process


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_file_appears_only_when_complete(tmp_path: Path) -> None:
    path = tmp_path / "new" / "out.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
        assert temporary.parent == path.parent
    assert path.read_text() == "whole"
    assert names(path.parent) == ["out.txt"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_exception_leaves_the_previous_file_and_no_litter(tmp_path: Path, failure: type[BaseException]) -> None:
    path = tmp_path / "out.txt"
    write_text(path, "previous")

    def write_half() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("hal")
            raise failure("stopped")

    with pytest.raises(failure, match=r"stopped"):
        write_half()
    assert path.read_text() == "previous"
    assert names(tmp_path) == ["out.txt"]


def test_full_disk_is_said_and_leaves_the_previous_file(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    write_text(path, "previous")

    def fill() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("hal")
            raise OSError(errno.ENOSPC, "full")

    with pytest.raises(UsageError, match=r"out.txt could not be written: No space left on device. [\d.]+ GB are free"):
        fill()
    assert path.read_text() == "previous"
    assert names(tmp_path) == ["out.txt"]


def test_error_without_number_is_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"a library's own"), atomic_path(tmp_path / "out.txt"):
        raise OSError("a library's own")


def test_file_in_the_place_of_the_folder_is_said(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "")
    with pytest.raises(UsageError, match=r"file/out.txt could not be written: File exists"):
        write_text(tmp_path / "file" / "out.txt", "")


def test_allocate_reserves_the_size(tmp_path: Path) -> None:
    with (tmp_path / "big").open("wb") as file:
        allocate(file.fileno(), 10_000)
    status = (tmp_path / "big").stat()
    assert status.st_size == 10_000
    assert status.st_blocks * 512 >= 10_000


def test_only_the_litter_of_processes_that_have_died_here_is_removed(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait(timeout=120)
    machine, _ = this_process().split(".")
    node, start, container = machine.split("-")
    kept = [
        f".out.txt.{this_process()}.0a.tmp",
        f".out.txt.0000.{ended.pid}.0a.tmp",  # of another machine, or of a container
        f".out.txt.{machine}.x.0a.tmp",
        f".out.txt.{machine}.{'9' * 40}.0a.tmp",
        f".out.txt.{start}-{node}-{container}.{ended.pid}.0a.tmp",
        f".out.txt.{node}-{start}-00000000.{ended.pid}.0a.tmp",
        f".other.txt.{machine}.{ended.pid}.0a.tmp",
        ".out.txt.tmp",
    ]
    before_the_start = f".out.txt.{node}-00000000-{container}.{os.getpid()}.0a.tmp"
    for name in [*kept, f".out.txt.{machine}.{ended.pid}.0a.tmp", before_the_start]:
        (tmp_path / name).touch()
    write_text(tmp_path / "out.txt", "new")
    assert names(tmp_path) == sorted([*kept, "out.txt"])


def test_a_link_in_the_place_of_a_temporary_file_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda _: "guessed")
    (tmp_path / "thesis").write_text("years of work")
    (tmp_path / f".out.txt.{this_process()}.guessed.tmp").symlink_to(tmp_path / "thesis")
    with pytest.raises(UsageError, match=r"out.txt could not be written: File exists"):
        write_text(tmp_path / "out.txt", "new")
    assert (tmp_path / "thesis").read_text() == "years of work"


def test_a_long_name_has_a_hidden_name_of_its_own(tmp_path: Path) -> None:
    one, other = tmp_path / ("a" * 250), tmp_path / ("a" * 249 + "b")
    assert len(hidden_name(one, ".previous").name) < 200
    assert hidden_name(one, ".previous") != hidden_name(other, ".previous")
    write_text(one, "whole")
    assert one.read_text() == "whole"


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP])
def test_a_file_system_that_cannot_flush_folders_or_reserve_space_is_used(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush = os.fsync

    def fsync(file: int) -> None:
        if stat.S_ISDIR(os.fstat(file).st_mode):
            raise OSError(number, "not supported")
        flush(file)

    def refuse(*_: int) -> None:
        raise OSError(number, "not supported")

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with atomic_path(tmp_path / "big") as temporary, temporary.open("wb") as file:
        allocate(file.fileno(), 10_000)
    assert (tmp_path / "big").stat().st_size == 10_000


def test_space_is_reserved_where_the_system_has_no_call_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate")
    with (tmp_path / "big").open("wb") as file:
        allocate(file.fileno(), 10_000)
    assert (tmp_path / "big").stat().st_size == 10_000


def test_outputs_have_the_mode_that_the_user_asks_for(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        write_text(tmp_path / "out.txt", "shared")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out.txt").stat().st_mode) == 0o664
