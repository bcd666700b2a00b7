import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from bigsf import files
from bigsf.errors import DataError
from bigsf.files import ChangeDetector, write_text
from bigsf.patches.mapped_plane import map_plane, release_pages
from bigsf.patches.patch_file import PatchFile
from conftest import write_patch_file

NX = 3 * os.sysconf("SC_PAGE_SIZE") // 4
"""Columns of a map whose rows are three pages each."""


@pytest.fixture
def large(tmp_path: Path) -> PatchFile:
    """Return a patch file of 4 rows, each on other pages."""
    image = np.arange(4 * NX, dtype=np.float32).reshape(1, 4, NX)
    labels = np.ones((4, NX), np.uint8), np.ones((4, NX), np.uint8)
    write_patch_file(tmp_path / "large.h5", image, 4, NX // 2, labels)
    return PatchFile(tmp_path / "large.h5")


def cut(file: PatchFile) -> None:
    os.truncate(file.path, 100)


def test_a_plane_is_what_lies_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "bytes"
    path.write_bytes(bytes(range(100)) * 100)
    plane = map_plane(path, np.uint8, 5003, (2, 3), ChangeDetector(path))
    np.testing.assert_array_equal(plane, [[3, 4, 5], [6, 7, 8]])
    assert not plane.flags.writeable


def mapped_mb() -> float:
    """Return the memory that files take which are mapped into this process, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssFile"))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how much memory mapped files take")
def test_a_plane_that_is_release_pages_takes_no_memory_and_can_be_read_again(tmp_path: Path) -> None:
    path = tmp_path / "bytes"
    path.write_bytes(bytes(64 * 2**20) + b"1")
    plane = map_plane(path, np.uint8, 1, (64, 2**20), ChangeDetector(path))
    before = mapped_mb()
    assert plane.sum() == ord("1")
    assert mapped_mb() > before + 16
    release_pages(plane)
    assert mapped_mb() < before + 4
    assert plane.sum() == ord("1")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how much memory mapped files take")
def test_rows_that_were_read_take_no_memory(tmp_path: Path) -> None:
    image = np.ones((1, 64, 2**18), np.float32)  # 64 MB
    write_patch_file(tmp_path / "large.h5", image, 64, 2**17, (np.ones((64, 2**18), np.uint8),) * 2)
    file = PatchFile(tmp_path / "large.h5")
    before = mapped_mb()
    assert file.read_rows(0, 64).sum() == 2**24
    assert mapped_mb() < before + 16


@pytest.mark.parametrize("in_thread", [False, True])
def test_a_file_that_is_cut_after_the_last_check_is_an_error_and_no_signal(
    in_thread: bool, large: PatchFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    check, checks = ChangeDetector.check, iter(range(10))

    def check_and_cut(self: ChangeDetector) -> None:
        check(self)
        if next(checks) == 0:
            cut(large)

    monkeypatch.setattr(ChangeDetector, "check", check_and_cut)
    raised: list[str] = []

    def read() -> None:
        with pytest.raises(DataError) as caught:
            large.read([0, 1])
        raised.append(str(caught.value))

    if in_thread:
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
    else:
        read()
    assert raised == [f"{large.path} was changed while it was being read. Run the command again once it is complete."]


def test_rows_are_read_before_the_file_is_cut_or_not_at_all(large: PatchFile) -> None:
    rows = large.read_rows(0, 2)
    cut(large)
    assert rows[0, 1, -1] == 2 * NX - 1
    with pytest.raises(DataError, match="was changed while it was being read"):
        large.read_rows(2, 4)


def test_nothing_is_published_that_comes_from_a_file_that_was_cut(large: PatchFile, tmp_path: Path) -> None:
    cut(large)
    assert large.image.sum() == 0, "the pages are lost"
    with pytest.raises(DataError, match="was changed while it was being read"):
        write_text(tmp_path / "sum.txt", "0")
    assert not (tmp_path / "sum.txt").exists()
    write_text(tmp_path / "other.txt", "said once")


def test_what_is_lost_stays_lost_where_the_file_comes_back(large: PatchFile, tmp_path: Path) -> None:
    shutil.copy2(large.path, tmp_path / "copy.h5")
    cut(large)
    assert large.image.max() == 0
    status = (tmp_path / "copy.h5").stat()
    large.path.write_bytes((tmp_path / "copy.h5").read_bytes())
    os.utime(large.path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(DataError, match="could not be read to its end: it was cut short, or its disk"):
        large.read([0])
    assert not files._lost
    assert PatchFile(large.path).image[0, 0, 1] == 1


def test_a_file_that_is_rewritten_in_place_is_noticed(large: PatchFile) -> None:
    with large.path.open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"1234")
    os.utime(large.path)
    with pytest.raises(DataError, match="was changed while it was being read"):
        large.read([0])


def test_a_bus_error_of_other_code_ends_the_process(large: PatchFile) -> None:
    program = f"""
import mmap, os
from pathlib import Path
from bigsf.patches.patch_file import PatchFile
file = PatchFile({str(large.path)!r})
del file
path = Path({str(large.path.with_name("other"))!r})
path.write_bytes(bytes(100_000))
with path.open("rb") as opened:
    mapping = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
os.truncate(path, 0)
mapping[50_000]
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (-signal.SIGBUS, b"")
