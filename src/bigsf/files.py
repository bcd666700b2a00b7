"""Files that are written whole or not at all, checked for changes while they are read, and hashed."""

import errno
import glob
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.filesize import decimal

from bigsf.errors import DataError, UsageError
from bigsf.processes import is_alive, this_process

NOT_SUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
"""How a file system says that it does not know a call."""

WITHOUT_LOCKS = "For a file system without locks, set HDF5_USE_FILE_LOCKING=FALSE."
"""What to do where HDF5 cannot lock a file."""

_LONGEST_STEM = 150
"""Most bytes of a file's name in the name of a hidden file that belongs to it."""


class ChangeDetector:
    """Notices when an open file is written to or truncated.

    A file that is removed, or replaced by another file of the same name, counts as unchanged: a program that has it
    open still reads the old content.

    Parameters
    ----------
    path
        The file.

    Attributes
    ----------
    is_lost
        Whether it could not be read to its end, so that what was read of it is wrong.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.is_lost = path.absolute(), False
        status = self.path.stat()
        self._inode, self._size_and_time = status.st_ino, (status.st_size, status.st_mtime_ns)

    def has_changed(self) -> bool:
        """Tell whether the size or the time of modification is another one than when this object was made."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return False
        return status.st_ino == self._inode and (status.st_size, status.st_mtime_ns) != self._size_and_time

    def lose(self) -> None:
        """Note that the file could not be read to its end; nothing is written until the error was raised."""
        self.is_lost = True
        _lost.append(self)

    def check(self) -> None:
        """Check that the file is as it was when this object was made.

        Raises
        ------
        DataError
            Where it has changed, or could not be read to its end.
        """
        if self.has_changed():
            problem = "was changed while it was being read. Run the command again once it is complete"
        elif self.is_lost:
            problem = "could not be read to its end: it was cut short, or its disk or the network has failed"
        else:
            return
        _lost[:] = [file for file in _lost if file is not self]
        raise DataError(f"{self.path} {problem}.")


_lost: list[ChangeDetector] = []
"""Files that could not be read to their end, of which no error was raised yet."""


def with_home(path: Path) -> Path:
    """Return a path with the home of a user in the place of `~` or `~name` at its beginning.

    Raises
    ------
    ValueError
        Where there is no such user, or the user has no home.
    """
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError(
            f"{path} begins with {path.parts[0]}, which is no home of a user. Where it is a file, give its whole path."
        ) from None


def hidden_name(path: Path, ending: str) -> Path:
    """Return a hidden file beside `path` that belongs to it; long names are shortened, as a name has 255 bytes."""
    name = path.name.encode(errors="surrogateescape")
    if len(name) > _LONGEST_STEM:
        short = name[:_LONGEST_STEM].decode(errors="ignore")
        return path.with_name(f".{short}.{hashlib.sha256(name).hexdigest()[:8]}{ending}")
    return path.with_name(f".{path.name}{ending}")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; on success flush that file to disk and rename it to `path`.

    On any exception the temporary file is removed, and a previous file at `path` stays as it was. A link at `path` is
    replaced, not followed.

    Raises
    ------
    UsageError
        Where the operating system cannot write (disk full, no permission); the message gives its reason.
    """
    with temporary_file(path) as temporary:
        yield temporary
        flush(temporary)
        temporary.replace(path)
        sync_folder(path.parent)


@contextmanager
def temporary_file(path: Path) -> Iterator[Path]:
    """Make a new file beside `path`, and yield its path; in the end what is there is removed, unless it was renamed.

    Raises
    ------
    UsageError
        Where the operating system cannot write, then or later; the message gives its reason, and names `path`.
    """
    with _naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale_files(path)
        temporary = hidden_name(path, f".{this_process()}.{secrets.token_hex(4)}.tmp")
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666))
    try:
        with _naming(path):
            yield temporary
    finally:
        with suppress(OSError):  # the error that matters is raised already
            remove(temporary)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that it holds; nothing where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Raise the errors of the operating system as `UsageError`, with the name of the file and the reason."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        number = _error_number(error)
        if number is None or number == errno.ENOMEM:  # without a number it is an error of a library, or a bug
            raise
        more = {errno.ENOSPC: f" {_free_space(path)}", errno.ENOLCK: f" {WITHOUT_LOCKS}"}.get(number, "")
        raise UsageError(f"{path} could not be written: {os.strerror(number)}.{more}") from error


def flush(path: Path) -> None:
    """Flush the content of a file, or of all files in a folder, to disk, before it is published.

    Raises
    ------
    DataError
        Where the content may come from a file that could not be read to its end.
    """
    for lost in tuple(_lost):
        lost.check()
    for each in filter(Path.is_file, path.rglob("*")) if path.is_dir() else [path]:
        with each.open("rb+") as file:
            os.fsync(file.fileno())


def _error_number(error: OSError | RuntimeError) -> int | None:
    """Return the number of an error of the operating system; errors of HDF5 have it in their message alone."""
    in_message = re.search(r"errno = (\d+)", str(error))
    return int(in_message[1]) if in_message else getattr(error, "errno", None)


def _remove_stale_files(path: Path) -> None:
    """Remove the temporary files of processes on this machine that were killed while they wrote `path`."""
    start = f"{hidden_name(path, '').name}."
    for stale in path.parent.glob(f"{glob.escape(start)}*.tmp"):
        if is_alive(".".join(stale.name.removeprefix(start).split(".")[:2])) is False:
            remove(stale)


def check_folder(path: Path) -> None:
    """Raise `UsageError` where a folder cannot be made, or written: a file lies above it, or it is read-only."""
    above = next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())
    if not above.is_dir():
        raise UsageError(f"The folder {path} cannot be made: {above} is a file, not a folder.")
    if not os.access(above, os.W_OK):
        raise UsageError(f"The folder {path} cannot be written: {above} is read-only for you.")


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


def refuse_link(path: Path) -> None:
    """Refuse a link in the place of a folder, or of a file that is copied, in a folder that others may have made.

    Raises
    ------
    UsageError
        Where the path is a link, which may lead anywhere.
    """
    if path.is_symlink():
        raise UsageError(f"{path} is a link, which is not followed. Remove it, or put what it points to in its place.")


def write_text(path: Path, text: str) -> None:
    """Write a small text file, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def allocate(file_descriptor: int, size: int) -> None:
    """Reserve `size` bytes on disk, so that a full disk is an error at once and not in the middle of the work.

    Where the system or the file system cannot reserve (macOS; ZFS), the file only gets its size.
    """
    try:
        os.posix_fallocate(file_descriptor, 0, size)
    except (AttributeError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in NOT_SUPPORTED:
            raise
        os.ftruncate(file_descriptor, size)


def _free_space(path: Path) -> str:
    try:
        status = os.statvfs(path.parent)
    except OSError:
        return ""
    return f"{decimal(status.f_bavail * status.f_frsize)} are free there."


def sync_folder(folder: Path) -> None:
    """Flush the list of files of a folder to disk, so that a renaming survives a crash; some file systems cannot."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NOT_SUPPORTED:
            raise
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
