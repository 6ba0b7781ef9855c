"""A worker's monitor of beat: one line when beat is missing, one when it is back, no false alarm."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from cache import CacheManager
from tests.support.build import cache_settings
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.celery_ext.beat_monitor import BeatMonitor

MAX_SILENCE, INTERVAL = 1.0, 0.05

Watch = Callable[..., BeatMonitor]


@pytest.fixture
def watch(caplog: pytest.LogCaptureFixture) -> Iterator[Watch]:
    """Makes watches that are asked to look by the test: ``watch(store)``."""
    caplog.set_level(logging.INFO)
    with ExitStack() as stack:

        def make(store: StoreServer, **settings: Any) -> BeatMonitor:
            made = BeatMonitor(
                cache_settings(store, **settings), max_silence=MAX_SILENCE, interval=INTERVAL
            )
            stack.callback(made.close)
            return made

        yield make


def watch_for(watch: BeatMonitor, seconds: float = 2 * MAX_SILENCE) -> None:
    """Let a watch look for so long."""
    end = time.monotonic() + seconds

    def is_over() -> bool:
        watch.check()
        return time.monotonic() > end

    wait_until(is_over)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        r.getMessage()
        for r in caplog.records
        if r.name in {"worker.celery_ext.beat_monitor", "worker.periodic_thread"}
    ]


def test_a_beat_that_ticks_is_not_spoken_of(
    store: StoreServer, manager: CacheManager, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    watching = watch(store)
    end = time.monotonic() + 3 * MAX_SILENCE
    while time.monotonic() < end:
        manager.beat.tick("host:1")
        watching.check()
    assert said(caplog) == []


def test_a_missing_beat_and_its_return_are_logged_once(
    store: StoreServer, manager: CacheManager, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    watching = watch(store)
    manager.beat.tick("host:1")
    watch_for(watching, 4 * MAX_SILENCE)
    (line,) = said(caplog)
    assert "Beat has not ticked" in line
    assert "UTC on host:1" in line, "since when"
    assert "waiting jobs and jobs of dead workers are not requeued" in line, "what stops"
    assert "seen beat" in line, "what to do"
    assert caplog.records[-1].levelno == logging.WARNING

    manager.beat.tick("host:2")
    watch_for(watching)

    assert said(caplog)[1:2] == ["Beat ticks again, on host:2"]
    assert len(said(caplog)) == 3, "and it is missed again"


def test_a_beat_that_never_was_is_missed_but_not_at_once(
    store: StoreServer, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    watching = watch(store)
    watching.check()
    watching.check()
    assert said(caplog) == []
    watch_for(watching)
    (line,) = said(caplog)
    assert "no tick is known" in line


def test_one_that_died_before_the_worker_began_is_not_missed_at_once(
    store: StoreServer, manager: CacheManager, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    manager.beat.tick("host:1")
    manager.client.hincrby("seen:beat", "at", -3_600_000)
    watching = watch(store)
    watching.check()
    assert said(caplog) == []
    watch_for(watching)
    assert len(said(caplog)) == 1


@pytest.mark.parametrize("step", [-3_600_000, 3_600_000])
def test_a_changed_wall_clock_neither_hides_nor_fakes_a_missing_beat(
    store: StoreServer,
    manager: CacheManager,
    watch: Watch,
    caplog: pytest.LogCaptureFixture,
    step: int,
) -> None:
    watching = watch(store)
    manager.beat.tick("host:1")
    watching.check()
    manager.client.hincrby("seen:beat", "at", step)
    watching.check()
    assert said(caplog) == []
    watch_for(watching)
    assert len(said(caplog)) == 1


@pytest.mark.parametrize("how", ["dead", "silent"])
def test_while_the_store_is_away_nothing_is_said(
    private_store: StoreServer, watch: Watch, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    watching = watch(private_store, cache_timeout=0.2)
    watching.check()
    if how == "dead":
        private_store.kill()
    else:
        private_store.pause()
    watch_for(watching)
    assert said(caplog) == []
    if how == "dead":
        private_store.start()
    else:
        private_store.resume()
    watching.check()
    assert said(caplog) == [], "beat is given time to come back, too"
    watch_for(watching)
    assert len(said(caplog)) == 1


def test_it_looks_by_itself_until_it_is_closed(
    store: StoreServer, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    watching = watch(store)
    watching.start()
    wait_until(lambda: said(caplog))
    watching.close()
    watching.close()
    assert len(said(caplog)) == 1


def test_a_foreign_beat_record_is_logged_once_and_watched_again(
    store: StoreServer, manager: CacheManager, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    manager.client.set("seen:beat", "text")
    watching = watch(store)
    watching.start()
    wait_until(lambda: said(caplog))
    enough = time.monotonic() + 10 * INTERVAL
    wait_until(lambda: time.monotonic() > enough)
    manager.client.delete("seen:beat")
    wait_until(lambda: len(said(caplog)) > 2)
    unreadable, readable, missed = said(caplog)
    assert "seen:beat" in unreadable, "which key"
    assert "delete it" in unreadable, "what to do"
    assert "that is over" in readable
    assert "Beat has not ticked" in missed
