"""Keep freed memory for the next array, where the C library would give it back to the system."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h
_KEPT_BYTES = 128 << 20
_LARGEST_BYTES = 32 << 20


def keep_freed_memory() -> None:
    """Let the C library keep up to 128 MB of memory at the end of its heap when arrays are freed.

    The outputs of a layer take many megabytes. By default glibc often gives this memory back to the system, and the
    next batch gets it page by page, which takes a tenth of the time of a prediction on a CPU. Arrays of more than
    32 MB, such as the planes of a map, are given back at once. It does nothing where the C library is not glibc.

    Examples
    --------
    >>> keep_freed_memory()
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(_MMAP_THRESHOLD, _LARGEST_BYTES)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
