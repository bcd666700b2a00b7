"""A folder, or a file, that one run at a time may use."""

import errno
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from bigsf.errors import InUseError, UsageError, warn
from bigsf.files import NOT_SUPPORTED, hidden_name
from bigsf.provenance import now

_NO_LOCKS = NOT_SUPPORTED | {errno.ENOLCK}
"""How file systems say that they know no locks."""


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder; the lock ends with the process, also where that is killed.

    Raises
    ------
    InUseError
        Where another run uses the folder, with its name.
    UsageError
        Where the folder could not be written.
    """
    with _locked(folder / ".lock", folder, wait_s=0):
        yield


@contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """Keep other runs from writing a file; they wait for up to ten minutes.

    Raises
    ------
    InUseError
        Where another run is still writing it then, with its name.
    UsageError
        Where its folder could not be written.
    """
    with _locked(hidden_name(path, ".lock"), path, wait_s=600):
        yield


@contextmanager
def _locked(path: Path, what: Path, wait_s: float) -> Iterator[None]:
    """Hold the lock in a file; `what` it locks is named in messages."""
    held: list[os.stat_result] = []

    def on_acquired(file: int) -> None:
        held.append(os.fstat(file))
        _write_holder(file)

    lock = FileLock(path, timeout=wait_s, fallback_to_soft=False, on_acquired=on_acquired)
    try:
        lock.acquire()
    except Timeout:
        raise InUseError(f"{what} is in use by {_holder(path)}. Wait for it, or stop it first.") from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise UsageError(f"{path} could not be written: {error.strerror}.") from None
        warn(f"{what} cannot be locked ({error.strerror}). Make sure that no other run uses it.")
    try:
        yield
    finally:
        with suppress(OSError):  # the folder may have been removed, and made anew by another run with a lock of its own
            if not held or os.path.samestat(path.stat(), held[-1]):
                path.unlink()
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
