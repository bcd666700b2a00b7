"""A part of a file -> an array that is mapped from it, and an error where the file cannot be read to its end.

Reading a mapped page beyond the end of its file is a bus error (SIGBUS), which ends a process. No check excludes it, as
the file may be cut just after. Reading rows of patches into memory instead takes ten times as long. So the bus error is
handled: zeros take the place of the plane, the reading ends, and the next check raises `DataError`.
"""

import ctypes
import mmap
import signal
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from bigsf.files import ChangeDetector

_MAP_FIXED = 0x10  # of mmap(2) on Linux and macOS; Python has no name for it

_Handler = ctypes.CFUNCTYPE(None, ctypes.c_int)

_mapped: WeakKeyDictionary[mmap.mmap, tuple[int, ChangeDetector]] = WeakKeyDictionary()
"""The address and the file of each mapping that is in use."""


def map_plane(path: Path, dtype: npt.DTypeLike, offset: int, shape: tuple[int, ...], file: ChangeDetector) -> Any:
    """Return a read-only array of a `shape` that lies in a file from the byte `offset` on.

    Parameters
    ----------
    path, dtype, offset, shape
        The file, which is long enough, and where the array lies in it.
    file
        Its detector, whose `check` raises `DataError` once the file could not be read to its end.
    """
    system, handler = _bus_error_handler()
    system.signal(signal.SIGBUS, handler)
    before = offset % mmap.ALLOCATIONGRANULARITY  # a mapping begins at a whole page
    size = before + int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    with path.open("rb") as opened:
        mapping = mmap.mmap(opened.fileno(), size, access=mmap.ACCESS_READ, offset=offset - before)
    plane: npt.NDArray[Any] = np.ndarray(shape, dtype, mapping, before)
    _mapped[mapping] = plane.ctypes.data - before, file
    return plane


def release_pages(plane: npt.NDArray[Any]) -> None:
    """Give back the memory of what was read of a mapped plane; a later read loads it again."""
    if isinstance(plane.base, mmap.mmap):
        plane.base.madvise(mmap.MADV_DONTNEED)


@cache
def _bus_error_handler() -> tuple[Any, Any]:
    """Return the C library, and a handler of SIGBUS for it.

    A handler that Python calls would run too late: the thread would read the lost page again and again.
    """
    system = ctypes.CDLL(None)
    system.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    system.mmap.restype = system.signal.restype = ctypes.c_void_p
    system.signal.argtypes = [ctypes.c_int, _Handler]

    def handle(number: int) -> None:
        found = {mapping: place for mapping, place in _mapped.items() if not place[1].is_lost}
        changed = {mapping: place for mapping, place in found.items() if place[1].has_changed()}
        for mapping, (address, file) in (changed or found).items():  # none has changed: a disk or a network has failed
            file.lose()
            flags = _MAP_FIXED | mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            system.mmap(address, len(mapping), mmap.PROT_READ, flags, -1, 0)
        if not found:  # it is no error of ours: the next one ends the process
            system.signal(number, _Handler())  # none: the default

    return system, _Handler(handle)
