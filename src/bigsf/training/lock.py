"""A folder that one run at a time may use."""

import fcntl
import os
import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bigsf.errors import BigsfWarning, UsageError
from bigsf.provenance import now


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder; the death of the process, however it comes, lets them in again.

    Raises
    ------
    UsageError
        Where another run uses the folder, with its name.
    """
    path = folder / ".lock"
    while True:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise UsageError(f"{folder} cannot be written: {error.strerror}.") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another run holds it
            holder = os.read(file, 200).decode(errors="replace") or "another run"  # that has not written its name yet
            os.close(file)
            raise UsageError(f"{folder} is in use by {holder}. Wait for it, or stop it first.") from None
        except OSError as error:
            os.close(file)
            path.unlink(missing_ok=True)
            warnings.warn(
                f"{folder} cannot be locked ({error}). Make sure that no other run uses it.",
                BigsfWarning,
                stacklevel=3,
            )
            yield
            return
        if path.exists() and path.stat().st_ino == os.fstat(file).st_ino:
            break
        os.close(file)  # its holder has removed the file in between
    try:
        _write_holder(file, path)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(file)


def _write_holder(file: int, path: Path) -> None:
    """Write into a lock file which process holds it."""
    try:
        os.ftruncate(file, 0)
        os.write(file, f"process {os.getpid()} on {platform.node()} since {now()}".encode())
    except OSError as error:
        raise UsageError(f"{path} could not be written: {error.strerror}.") from error
