"""Input files, watched while they are read."""

import errno
import glob
import hashlib
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bigsf.console import size
from bigsf.errors import DataError, UsageError


class ChangeDetector:
    """Notices when an open file is written into or cut short.

    A file that is removed, or replaced by another of the same name, counts as unchanged: who holds it open still reads
    the old one.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        status = self.path.stat()
        self._inode, self._stand = status.st_ino, (status.st_size, status.st_mtime_ns)

    def check(self) -> None:
        """Raise where the file was changed since it was opened.

        Raises
        ------
        DataError
            Where its size or its time of modification is another.
        """
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return
        if status.st_ino == self._inode and (status.st_size, status.st_mtime_ns) != self._stand:
            raise DataError(f"{self.path} was changed while it was being read. Run the command again once it is whole.")


def refuse_overwrite(*paths: Path, overwrite: bool) -> None:
    """Raise `UsageError` when an output exists already and may not be replaced, or cannot be written."""
    for path in paths:
        if path.is_dir():
            raise UsageError(f"{path} is a folder. Name a file to write, e.g. in it.")
        if path.exists() and not overwrite:
            raise UsageError(f"{path} exists already. Pass --overwrite to replace it, or -o to write elsewhere.")
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        if not folder.is_dir():
            raise UsageError(f"{path} cannot be written: {folder} is a file, not a folder.")
        if not os.access(folder, os.W_OK):
            raise UsageError(f"{path} cannot be written: the folder {folder} is read-only for you.")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; on success flush it to disk and rename it to `path`.

    On any exception the temporary file is removed and a previous file at `path` stays as it was.

    Raises
    ------
    UsageError
        Where the operating system refuses to write (disk full, no permission), with its words.
    """
    temporary = path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_litter(path)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as error:
        number = _errno(error)
        if number is None or number == errno.ENOMEM:  # a library's own, and a bug here; or no fault of the file
            raise
        room = f" {_free(path)}" if number == errno.ENOSPC else ""
        raise UsageError(f"{path} could not be written: {os.strerror(number)}.{room}") from error
    finally:
        with suppress(OSError):  # what went wrong has been said
            temporary.unlink()


def _errno(error: OSError | RuntimeError) -> int | None:
    """Return the number of an operating system's error, which HDF5 gives in words alone."""
    words = re.search(r"errno = (\d+)", str(error))
    return int(words[1]) if words else getattr(error, "errno", None)


def _remove_litter(path: Path) -> None:
    """Remove the temporary files that processes of this machine left when they were killed while writing `path`."""
    for stale in path.parent.glob(f".{glob.escape(path.name)}.{glob.escape(platform.node())}.*.tmp"):
        try:
            os.kill(int(stale.name.split(".")[-2]), 0)
        except ProcessLookupError:
            stale.unlink(missing_ok=True)
        except PermissionError:
            continue  # another user's process, alive


def make_folder(path: Path) -> None:
    """Make a folder and its parents.

    Raises
    ------
    UsageError
        Where the operating system refuses, with its words.
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
    """Reserve `size` bytes now, so that a full disk is an error here and not halfway through the work."""
    os.posix_fallocate(file_descriptor, 0, size)


def _free(path: Path) -> str:
    try:
        status = os.statvfs(path.parent)
    except OSError:
        return ""
    return f"{size(status.f_bavail * status.f_frsize)} are free there."


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
