"""The stop signal: the first reason counts, and a drain is one."""

from __future__ import annotations

import threading
import time

import pytest

from domain.errors import CancelledError, DrainingError, PausedError
from worker.leases.drain import Drain
from worker.leases.stop_signal import StopSignal


def test_nobody_asked() -> None:
    stop = StopSignal(Drain())
    stop.raise_if_set()
    assert stop.error is None
    assert stop.wait(0.01) is False


def test_the_first_word_counts() -> None:
    stop = StopSignal(Drain())
    stop.set(PausedError("first"))
    stop.set(CancelledError("second"))
    with pytest.raises(PausedError, match="first"):
        stop.raise_if_set()
    assert stop.wait(10) is True


def test_a_drain_stops_every_transfer() -> None:
    drain = Drain()
    stops = [StopSignal(drain) for _ in range(3)]
    drain.start()
    for stop in stops:
        with pytest.raises(DrainingError):
            stop.raise_if_set()


def test_a_word_before_the_drain_still_counts() -> None:
    drain = Drain()
    stop = StopSignal(drain)
    stop.set(CancelledError("cancel"))
    drain.start()
    assert isinstance(stop.error, CancelledError)


@pytest.mark.parametrize("how", ["set", "drain"])
def test_a_waiting_transfer_wakes(how: str) -> None:
    drain = Drain()
    stop = StopSignal(drain)
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(stop.wait(60)))
    started = time.monotonic()
    thread.start()
    if how == "set":
        stop.set(PausedError("pause"))
    else:
        drain.start()
    thread.join(30)
    assert answers == [True]
    assert time.monotonic() - started < 30
