"""Signals and time limit -> an orderly stop: the step at hand is finished first."""

import math
import signal
import threading
import time
from types import FrameType
from typing import Any, NamedTuple, Self

import torch

from bigsf.training.distributed import World

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
_TRY_AGAIN = 75  # exit code of a run that its time limit stopped (EX_TEMPFAIL of sysexits.h)


class Stop(NamedTuple):
    """Why a run stops."""

    by: str
    """The name of the signal, or "the time limit"."""
    exit_code: int
    """128 and the number of the signal; 75 (try again) for the time limit."""


class StopRequest:
    """Catches SIGINT, SIGTERM and SIGUSR1 inside a `with` block, and watches a time limit.

    A second SIGINT ends the process at once. Outside the main thread Python cannot catch signals; there only the time
    limit stops a run.

    Parameters
    ----------
    time_limit_s
        Seconds after which the run is to stop; None: never.
    """

    def __init__(self, time_limit_s: float | None = None) -> None:
        self.signal_number: int | None = None
        self._deadline = time.monotonic() + (math.inf if time_limit_s is None else time_limit_s)
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, *raised: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.signal_number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal_number = number

    def agreed(self, world: World, device: torch.device) -> Stop | None:
        """Return why all processes stop now, or None; a signal to any of them stops all."""
        late = time.monotonic() > self._deadline
        signalled, out_of_time = world.sums([self.signal_number is not None, late], device)
        if signalled:
            return of_signal(max(world.gather(self.signal_number or 0)))
        return Stop("the time limit", _TRY_AGAIN) if out_of_time else None


def of_signal(number: int) -> Stop:
    """Return the stop that a signal asks for."""
    return Stop(signal.Signals(number).name, 128 + number)
