"""A child process -> killed just before one of its system calls. Only Linux can do this (ptrace).

The parent is the tracer: it must fork the child and wait for it in one thread. Only the main thread of the child is
followed; SIGKILL ends all of its threads.
"""

import ctypes
import os
import signal
import struct
from collections import Counter
from contextlib import suppress
from functools import cache
from typing import NamedTuple

_TRACEME, _SYSCALL, _SETOPTIONS, _GET_SYSCALL_INFO = 0, 24, 0x4200, 0x420E  # of <sys/ptrace.h>
_MARK_SYSTEM_CALLS, _KILL_WITH_PARENT = 1, 0x100000
_STOPPED_AT_A_CALL = signal.SIGTRAP | 0x80
_INFO_BYTES, _NUMBER_AT = 88, 24
_ENTRY = 1


class Call(NamedTuple):
    """A system call of a process."""

    kind: int
    """Its number in the kernel, which stands for its name."""
    nth: int
    """How many of the kind there were with it, from 1."""


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(None, use_errno=True)
    library.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    library.ptrace.restype = ctypes.c_long
    return library


def _ptrace(request: int, process: int, address: int = 0, data: int = 0) -> None:
    if _library().ptrace(request, process, address, data) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def be_followed() -> None:
    """Let the parent follow this process from here on."""
    _ptrace(_TRACEME, 0)
    os.kill(os.getpid(), signal.SIGSTOP)


def follow(child: int, kill_at: Call | None = None) -> tuple[int, Counter[int]]:
    """Let a child that calls `be_followed` run to its end, or kill it.

    Parameters
    ----------
    child
        Number of the process.
    kill_at
        The system call before which it is killed; None: none.

    Returns
    -------
    code : int
        Its exit code, negative where a signal ended it.
    calls : Counter
        The number of its system calls of each kind.
    """
    calls: Counter[int] = Counter()
    _, status = os.waitpid(child, 0)
    if os.WIFSTOPPED(status):
        _ptrace(_SETOPTIONS, child, 0, _MARK_SYSTEM_CALLS | _KILL_WITH_PARENT)
    info = ctypes.create_string_buffer(_INFO_BYTES)
    while os.WIFSTOPPED(status):
        stopped_by = os.WSTOPSIG(status)
        if stopped_by == _STOPPED_AT_A_CALL:
            _ptrace(_GET_SYSCALL_INFO, child, _INFO_BYTES, ctypes.addressof(info))
            if info.raw[0] == _ENTRY:
                kind = struct.unpack_from("Q", info.raw, _NUMBER_AT)[0]
                calls[kind] += 1
                if kill_at == (kind, calls[kind]):
                    os.kill(child, signal.SIGKILL)
        delivered = 0 if stopped_by in (_STOPPED_AT_A_CALL, signal.SIGSTOP) else stopped_by
        with suppress(ProcessLookupError):  # it has just been killed
            _ptrace(_SYSCALL, child, 0, delivered)
        _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), calls
