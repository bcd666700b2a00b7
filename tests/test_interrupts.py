import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from importlib import import_module
from pathlib import Path

import pytest

from bigsf import interrupts
from bigsf.errors import InterruptedRunError
from bigsf.interrupts import Interrupted, StopRequest, check, stopping

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP]


@pytest.fixture(autouse=True)
def _nothing_pending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "_pending", None)


@pytest.fixture(autouse=True)
def _heard() -> Iterator[None]:
    """Let all signals be heard, also where the tests are started by nohup, which ignores one of them."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in SIGNALS if number != signal.SIGINT}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_signal_is_noted_and_nothing_stops(number: signal.Signals) -> None:
    with StopRequest() as stop:
        assert stop.signal_number is None
        signal.raise_signal(number)
        assert stop.signal_number == number


def test_second_interrupt_ends_at_once() -> None:
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.signal_number == signal.SIGINT
        with pytest.raises(Interrupted, match="SIGINT"):
            signal.raise_signal(signal.SIGINT)


def test_second_termination_is_patient() -> None:
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert stop.signal_number == signal.SIGTERM


def test_previous_handlers_are_put_back_also_after_an_error() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    stop = StopRequest()
    with pytest.raises(ValueError, match="broken"), stop:
        raise ValueError("broken")
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_outside_the_main_thread_it_leaves_signals_alone() -> None:
    seen: list[object] = []

    def work() -> None:
        with StopRequest() as stop:
            seen.extend([stop.signal_number, *(signal.getsignal(number) for number in SIGNALS)])

    before = [signal.getsignal(number) for number in SIGNALS]
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [None, *before]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_stops_the_work_at_once_and_says_how_to_go_on(number: signal.Signals) -> None:
    cleaned: list[int] = []

    def work() -> None:
        with stopping(go_on="Go on tomorrow."), ExitStack() as stack:
            stack.callback(cleaned.append, number)
            signal.raise_signal(number)

    with pytest.raises(InterruptedRunError, match=rf"^Stopped by {number.name}\. Go on tomorrow\.$") as stop:
        work()
    assert cleaned == [number]
    assert stop.value.exit_code == 128 + number


def test_the_time_limit_stops_the_work_wherever_it_is() -> None:
    with pytest.raises(InterruptedRunError, match=r"^Stopped by the time limit\.$") as stop, stopping(0.01):
        signal.pause()
    assert stop.value.exit_code == 75
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_time_limit_of_centuries_is_none() -> None:
    with stopping(1e12):
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 1e8


def swallow(number: signal.Signals) -> None:
    """Do as some modules do while they load."""
    with suppress(BaseException):
        signal.raise_signal(number)


def test_a_signal_that_is_swallowed_stops_the_work_later() -> None:
    with pytest.raises(InterruptedRunError, match=r"^Stopped by SIGTERM\.$"), stopping():
        swallow(signal.SIGTERM)


def test_a_signal_that_is_swallowed_stops_what_never_asks() -> None:
    def work() -> None:
        with stopping():
            for _ in range(3):
                swallow(signal.SIGTERM)
            while True:
                pass

    with pytest.raises(InterruptedRunError, match=r"^Stopped by SIGTERM\.$"):
        work()
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)


STOPPED_WHILE_IT_LOADS = """
import signal
signal.raise_signal(signal.SIGTERM)
for _ in range(3_000_000):  # longer than it takes until the stop is raised again
    pass
loaded = True
"""
RUNS_WHILE_IT_LOADS = """
import signal
from bigsf.interrupts import stopping
with stopping():
    signal.raise_signal(signal.SIGTERM)
    raise AssertionError("the signal did not stop the work")
"""


def test_a_signal_that_comes_while_a_module_loads_stops_what_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stopped_while_it_loads.py").write_text(STOPPED_WHILE_IT_LOADS)
    monkeypatch.syspath_prepend(tmp_path)

    def work() -> None:
        with stopping():
            assert import_module("stopped_while_it_loads").loaded
            while True:
                pass

    with pytest.raises(InterruptedRunError, match=r"^Stopped by SIGTERM\.$"):
        work()
    assert sys.modules.pop("stopped_while_it_loads").loaded


def test_a_script_that_runs_while_it_is_imported_is_stopped_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs_while_it_loads.py").write_text(RUNS_WHILE_IT_LOADS)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InterruptedRunError, match=r"^Stopped by SIGTERM\.$"):
        import_module("runs_while_it_loads")


def test_a_signal_that_comes_while_an_error_is_handled_stops_what_follows() -> None:
    def work() -> None:
        with stopping():
            try:
                raise ImportError("an optional module")
            except ImportError:
                signal.raise_signal(signal.SIGTERM)
            while True:
                pass

    with pytest.raises(InterruptedRunError, match=r"^Stopped by SIGTERM\.$"):
        work()


def test_a_signal_that_is_swallowed_before_a_training_is_noted_by_it() -> None:
    def train() -> None:
        with stopping():
            swallow(signal.SIGTERM)
            with StopRequest() as request:
                assert request.stop == ("SIGTERM", 143)
                raise ValueError("the training has stopped in order")

    with pytest.raises(ValueError, match="stopped in order"):
        train()
    check()  # it has arrived


def test_a_signal_that_nobody_asked_for_any_more_stops_what_follows() -> None:
    with StopRequest() as request:
        signal.raise_signal(signal.SIGTERM)
    assert request.stop is not None
    with pytest.raises(InterruptedRunError, match=r"Stopped by SIGTERM"), stopping():
        pass


def test_the_time_that_is_left() -> None:
    assert StopRequest().time_left_s is None
    assert StopRequest(0).time_left_s == 0
    assert StopRequest(0).stop == ("the time limit", 75)
    assert StopRequest(1000).stop is None
    assert 0 < (StopRequest(1000).time_left_s or 0) <= 1000


def test_an_error_that_ends_the_work_is_not_hidden_by_a_signal() -> None:
    cleaned: list[str] = []

    def work() -> None:
        with stopping(), ExitStack() as stack:
            stack.callback(cleaned.append, "all")
            stack.callback(signal.raise_signal, signal.SIGTERM)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        work()
    assert cleaned == ["all"]
    check()


def test_nohup_is_obeyed() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping(), StopRequest() as request:
            signal.raise_signal(signal.SIGHUP)
            assert request.stop is None
    finally:
        signal.signal(signal.SIGHUP, before)
