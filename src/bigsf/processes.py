"""Names of processes, by which another one tells whether they still run."""

import hashlib
import os
import platform
import re
from contextlib import suppress
from functools import cache
from pathlib import Path


@cache
def _machine() -> str:
    """Return a name of this machine since it was started, and of this container: process numbers are unique there.

    Its three parts are of the machine, the start and the container: `1f3a09bc-77ab30c2-0d41c8e9`.
    """
    parts = [platform.node(), "", ""]
    with suppress(OSError):  # machines of one name may share a disk
        parts[0] += Path("/etc/machine-id").read_text()
    with suppress(OSError):  # there is no /proc on a Mac, and there are no containers
        parts[1:] = Path("/proc/sys/kernel/random/boot_id").read_text(), str(Path("/proc/self/ns/pid").readlink())
    return "-".join(hashlib.sha256(part.encode()).hexdigest()[:8] for part in parts)


def this_process() -> str:
    """Return a name of this process that no other one has, on this or another machine."""
    return f"{_machine()}.{os.getpid()}"


def is_alive(process: str) -> bool | None:
    """Tell whether a process, as `this_process` named it, still runs; None: it is of another machine, or no name.

    One that began before this machine was started anew does not.
    """
    machine, _, number = process.partition(".")
    (node, start, *_), there = _machine().split("-"), machine.split("-")
    if len(there) == 3 and there[0] == node and there[1] != start:
        return False
    if machine != _machine() or not re.fullmatch("[1-9][0-9]{0,8}", number):
        return None
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # the process of another user
        return True
    return True
