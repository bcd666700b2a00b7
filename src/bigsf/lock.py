"""A folder that one run at a time may use."""

import errno
import os
import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from bigsf.errors import BigsfWarning, UsageError
from bigsf.files import NOT_SUPPORTED
from bigsf.provenance import now

_NO_LOCKS = NOT_SUPPORTED | {errno.ENOLCK}
"""How file systems say that they know no locks."""


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder; the death of the process, however it comes, lets them in again.

    Raises
    ------
    UsageError
        Where another run uses the folder, with its name, or where the folder could not be written.
    """
    path = folder / ".lock"
    lock = FileLock(path, timeout=0, fallback_to_soft=False, on_acquired=_write_holder)
    try:
        lock.acquire()
    except Timeout:
        raise UsageError(f"{folder} is in use by {_holder(path)}. Wait for it, or stop it first.") from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise UsageError(f"{path} could not be written: {error.strerror}.") from None
        warnings.warn(
            f"{folder} cannot be locked ({error.strerror}). Make sure that no other run uses it.",
            BigsfWarning,
            stacklevel=3,
        )
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()


def remove_stale_lock(folder: Path) -> None:
    """Remove the lock file of a process that was killed; that of a running one stays."""
    if (folder / ".lock").exists():
        with suppress(UsageError), lock_folder(folder):
            pass


def _write_holder(file: int) -> None:
    """Write into a lock file which process holds it."""
    os.ftruncate(file, 0)
    os.write(file, f"process {os.getpid()} on {platform.node()} since {now()}".encode())


def _holder(path: Path) -> str:
    """Return who holds a lock file: "another run" where it has not written its name yet, or has just ended."""
    try:
        return path.read_text(errors="replace")[:200] or "another run"
    except OSError:
        return "another run"
