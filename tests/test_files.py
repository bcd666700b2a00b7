import errno
from pathlib import Path

import pytest

from bigsf.errors import UsageError
from bigsf.files import allocate, atomic_path, write_text


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
