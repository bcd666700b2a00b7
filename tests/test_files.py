import errno
import os
from pathlib import Path

import pytest

from bigsf.errors import UsageError
from bigsf.files import allocate, atomic_path, refuse_overwrite, write_text


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
    with pytest.raises(UsageError, match=r"file is a file, not a folder"):
        refuse_overwrite(tmp_path / "file" / "out.txt", overwrite=True)


def test_existing_output_is_refused_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    refuse_overwrite(path, tmp_path / "new" / "deep.txt", overwrite=False)
    write_text(path, "previous")
    with pytest.raises(UsageError, match=r"out.txt exists already. Pass --overwrite"):
        refuse_overwrite(tmp_path / "new.txt", path, overwrite=False)
    refuse_overwrite(path, overwrite=True)
    assert names(tmp_path) == ["out.txt"]


def test_read_only_folder_is_refused_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda folder, _: folder != tmp_path)  # root may write anywhere
    with pytest.raises(UsageError, match=f"cannot be written: the folder {tmp_path} is read-only"):
        refuse_overwrite(tmp_path / "new" / "out.txt", overwrite=False)


def test_allocate_reserves_the_size(tmp_path: Path) -> None:
    with (tmp_path / "big").open("wb") as file:
        allocate(file.fileno(), 10_000)
    status = (tmp_path / "big").stat()
    assert status.st_size == 10_000
    assert status.st_blocks * 512 >= 10_000
