"""Signals are noted while training runs, and mean again what they meant before afterwards."""

import signal
import threading

import pytest
from vip_train.signals import StopRequest


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted_however_often_it_comes(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert not stop.asked
        for _ in range(3):
            signal.raise_signal(number)
        assert stop.asked
        signal.raise_signal(signal.SIGINT)
        assert stop.name == number.name, "the first one counts"
    assert signal.getsignal(number) is before


def test_handlers_come_back_after_an_error() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), StopRequest():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGTERM) is before


def test_outside_the_main_thread_nothing_is_changed() -> None:
    found = []

    def run() -> None:
        before = signal.getsignal(signal.SIGTERM)
        with StopRequest() as stop:
            found.extend([stop.asked, signal.getsignal(signal.SIGTERM) is before])

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(timeout=60)
    assert found == [False, True]
