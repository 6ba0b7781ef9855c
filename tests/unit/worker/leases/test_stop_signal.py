"""The stop signal: the first reason counts, and a drain is one."""

from __future__ import annotations

import pytest

from domain.errors import CancelledError, DrainingError, PausedError
from worker.leases.drain import Drain
from worker.leases.stop_signal import StopSignal


def test_nobody_asked() -> None:
    stop = StopSignal(Drain())
    stop.raise_if_set()
    assert stop.error is None


def test_the_first_word_counts() -> None:
    stop = StopSignal(Drain())
    stop.set(PausedError("first"))
    stop.set(CancelledError("second"))
    with pytest.raises(PausedError, match="first"):
        stop.raise_if_set()


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
