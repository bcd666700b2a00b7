"""Files that are written whole or not at all, checked for changes while they are read, and hashed."""

import errno
import glob
import hashlib
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.filesize import decimal

from bigsf.errors import DataError, UsageError


class ChangeDetector:
    """Notices when an open file is written to or truncated.

    A file that is removed, or replaced by another file of the same name, counts as unchanged: a program that has it
    open still reads the old content.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        status = self.path.stat()
        self._inode, self._size_and_time = status.st_ino, (status.st_size, status.st_mtime_ns)

    def check(self) -> None:
        """Check that the file is as it was when this object was made.

        Raises
        ------
        DataError
            Where its size or its time of modification has changed.
        """
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return
        if status.st_ino == self._inode and (status.st_size, status.st_mtime_ns) != self._size_and_time:
            raise DataError(
                f"{self.path} was changed while it was being read. Run the command again once it is complete."
            )


def refuse_overwrite(*paths: Path, overwrite: bool) -> None:
    """Raise `UsageError` where an output exists already and may not be replaced, or cannot be written."""
    for path in paths:
        if path.is_dir():
            raise UsageError(f"{path} is a folder. Name a file to write, e.g. one in that folder.")
        if path.exists() and not overwrite:
            raise UsageError(f"{path} exists already. Pass --overwrite to replace it, or -o to write another file.")
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        if not folder.is_dir():
            raise UsageError(f"{path} cannot be written: {folder} is a file, not a folder.")
        if not os.access(folder, os.W_OK):
            raise UsageError(f"{path} cannot be written: the folder {folder} is read-only for you.")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; on success flush that file to disk and rename it to `path`.

    On any exception the temporary file is removed, and a previous file at `path` stays as it was.

    Raises
    ------
    UsageError
        Where the operating system cannot write (disk full, no permission); the message gives its reason.
    """
    temporary = path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale_files(path)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as error:
        number = _error_number(error)
        if number is None or number == errno.ENOMEM:  # without a number it is an error of a library, or a bug
            raise
        free = f" {_free_space(path)}" if number == errno.ENOSPC else ""
        raise UsageError(f"{path} could not be written: {os.strerror(number)}.{free}") from error
    finally:
        with suppress(OSError):  # the error that matters is raised already
            temporary.unlink()


def _error_number(error: OSError | RuntimeError) -> int | None:
    """Return the number of an error of the operating system; errors of HDF5 have it in their message alone."""
    in_message = re.search(r"errno = (\d+)", str(error))
    return int(in_message[1]) if in_message else getattr(error, "errno", None)


def _remove_stale_files(path: Path) -> None:
    """Remove the temporary files of processes on this machine that were killed while they wrote `path`."""
    for stale in path.parent.glob(f".{glob.escape(path.name)}.{glob.escape(platform.node())}.*.tmp"):
        try:
            os.kill(int(stale.name.split(".")[-2]), 0)
        except ProcessLookupError:
            stale.unlink(missing_ok=True)
        except PermissionError:  # the process of another user is alive
            continue


def make_folder(path: Path) -> None:
    """Make a folder and its parents.

    Raises
    ------
    UsageError
        Where the operating system cannot make it; the message gives its reason.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"The folder {path} cannot be made: {error.strerror}.") from error


def write_text(path: Path, text: str) -> None:
    """Write a small text file, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def allocate(file_descriptor: int, size: int) -> None:
    """Reserve `size` bytes on disk, so that a full disk is an error at once and not in the middle of the work."""
    os.posix_fallocate(file_descriptor, 0, size)


def _free_space(path: Path) -> str:
    try:
        status = os.statvfs(path.parent)
    except OSError:
        return ""
    return f"{decimal(status.f_bavail * status.f_frsize)} are free there."


def _sync_folder(folder: Path) -> None:
    """Flush the list of files of a folder to disk, so that a renaming survives a crash."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
