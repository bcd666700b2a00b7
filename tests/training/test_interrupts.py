import signal
import threading

import pytest

from bigsf.training.interrupts import StopRequest

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1]


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
        with pytest.raises(KeyboardInterrupt):  # it has no message
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
