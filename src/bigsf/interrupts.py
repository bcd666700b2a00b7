"""Signals and the end of a time limit -> an orderly stop with one message."""

import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NamedTuple, Self

from bigsf.errors import InterruptedRunError

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
_TRY_AGAIN = 75  # exit code of a run that its time limit stopped (EX_TEMPFAIL of sysexits.h)


class Stop(NamedTuple):
    """Why a run stops."""

    by: str
    """The name of the signal, or "the time limit"."""
    exit_code: int
    """128 and the number of the signal; 75 (try again) for the time limit."""


class Interrupted(BaseException):
    """A signal or the end of the time, at any place of the program.

    It is no `Exception`, so that no `except Exception` takes it for an error of its own work.

    Parameters
    ----------
    stop
        What ends the work.
    """

    def __init__(self, stop: Stop) -> None:
        super().__init__(stop)
        self.stop = stop


_pending: Stop | None = None
"""The stop that was raised as `Interrupted` and is not handled yet: other code may swallow any exception."""

_imports_outside = 0
"""Frames of the import system that called the work which is stopped: a script may run while it is imported."""

_REPEAT_S = 0.02
"""CPU time after which a stop that is still pending is raised again."""


def _of_signal(number: int) -> Stop:
    """Return the stop that a signal asks for."""
    return Stop(signal.Signals(number).name, 128 + number)


def check() -> None:
    """Raise `Interrupted` again where other code has swallowed it."""
    if _pending is not None:
        raise Interrupted(_pending)


@contextmanager
def stopping(time_limit_s: float | None = None, go_on: str = "") -> Iterator[None]:
    """Stop the work inside a `with` block at once, at a signal or once its time is over.

    Outside the main thread Python cannot catch signals, and there is no time limit either.

    Parameters
    ----------
    time_limit_s
        Seconds after which the work is stopped; None: never.
    go_on
        What to say after the reason, e.g. how the work goes on.

    Raises
    ------
    InterruptedRunError
        Once the work was stopped, with everything in it cleaned up.
    """
    global _pending, _imports_outside
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before, _imports_outside = _imports_outside, _imports(sys._getframe())
    try:
        with _repeated(), _caught(_raise), _alarm(time_limit_s):
            check()
            yield
            check()
    except Interrupted as interrupted:
        stop = interrupted.stop
        raise InterruptedRunError(f"Stopped by {stop.by}.{go_on and ' '}{go_on}", stop.exit_code) from None
    finally:
        _pending, _imports_outside = None, before


def _raise(number: int, frame: FrameType | None) -> None:
    global _pending
    _pending = Stop("the time limit", _TRY_AGAIN) if number == signal.SIGALRM else _of_signal(number)
    signal.setitimer(signal.ITIMER_VIRTUAL, _REPEAT_S, _REPEAT_S)
    _raise_pending(number, frame)


def _raise_pending(number: int, frame: FrameType | None) -> None:
    """Raise the pending stop, unless an error is being handled or a module is loading.

    An error ends the work already: its cleaning up is not disturbed. The import system swallows exceptions, and one
    that reaches a compiled module while it starts ends the process.
    """
    if _pending is None:  # the training has taken it over
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        return
    if sys.exception() is None and _imports(frame) == _imports_outside:
        check()


def _imports(frame: FrameType | None) -> int:
    """Return how many frames of the import system are among a frame and its callers."""
    n = 0
    while frame is not None:
        n += frame.f_code.co_filename.startswith("<frozen importlib")
        frame = frame.f_back
    return n


@contextmanager
def _repeated() -> Iterator[None]:
    """Raise a pending stop again and again, as long as it is pending, inside a `with` block."""
    previous = signal.signal(signal.SIGVTALRM, _raise_pending)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, previous)


@contextmanager
def _caught(handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    numbers = [n for n in _SIGNALS if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN]  # nohup ignores it
    previous = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


@contextmanager
def _alarm(seconds: float | None) -> Iterator[None]:
    if seconds is None:
        yield
        return
    previous = signal.signal(signal.SIGALRM, _raise)
    signal.setitimer(signal.ITIMER_REAL, min(max(seconds, 1e-6), 1e9))  # 0 would mean never; 1e9 s are 32 years
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


class StopRequest:
    """Notes signals inside a `with` block, and watches a time limit, for work that stops where it is ready to.

    A second SIGINT ends the process at once. Outside the main thread Python cannot catch signals; there only the time
    limit stops the work.

    Parameters
    ----------
    time_limit_s
        Seconds after which the work is to stop; None: never.
    """

    def __init__(self, time_limit_s: float | None = None) -> None:
        self.signal_number: int | None = None
        self._deadline = time.monotonic() + (math.inf if time_limit_s is None else time_limit_s)
        self._catching = _caught(self._note)

    def __enter__(self) -> Self:
        global _pending
        self._in_main_thread = threading.current_thread() is threading.main_thread()
        if self._in_main_thread:
            self._catching.__enter__()
            if _pending is not None and _pending.exit_code != _TRY_AGAIN:
                self.signal_number, _pending = _pending.exit_code - 128, None
        return self

    def __exit__(self, *raised: object) -> None:
        global _pending
        if self._in_main_thread:
            self._catching.__exit__(None, None, None)
            if raised[0] is None and self.signal_number is not None:  # it came after the work had last asked
                _pending = _of_signal(self.signal_number)

    @property
    def time_left_s(self) -> float | None:
        """Seconds to the time limit, at least 0; None: there is none."""
        return None if self._deadline == math.inf else max(0.0, self._deadline - time.monotonic())

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.signal_number == signal.SIGINT:
            raise Interrupted(_of_signal(number))
        self.signal_number = number

    @property
    def stop(self) -> Stop | None:
        """Why the work is to stop; None: it is not."""
        if self.signal_number is not None:
            return _of_signal(self.signal_number)
        return Stop("the time limit", _TRY_AGAIN) if time.monotonic() > self._deadline else None
