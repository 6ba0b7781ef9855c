"""A beat's ticks, one by one: what is sent, and what is not, on a real store."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from itertools import pairwise
from statistics import median
from typing import Any

import pytest
from celery import Celery
from celery.schedules import crontab

import worker.celery_ext.scheduler
from cache.clock import lease_clock
from tests.support.servers.process import free_port
from tests.support.services.beats import scheduler, sent
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.celery_ext.scheduler import Scheduler

Beat = Callable[..., Scheduler]
HOURLY = {"a": 3600.0, "b": 7200.0}


@pytest.fixture
def beat() -> Iterator[Beat]:
    """Makes beats: ``beat(store, {"task": interval}, …)``."""
    with ExitStack() as stack:

        def make(*args: Any, **options: Any) -> Scheduler:
            made = scheduler(*args, **options)
            stack.callback(made.close)
            return made

        yield make


def tasks_sent(store: StoreServer) -> list[str]:
    return [one.task.removeprefix("cache.") for one in sent(store)]


def gaps_of(store: StoreServer) -> list[float]:
    """The seconds from each message to the next."""
    return [later.at - earlier.at for earlier, later in pairwise(sent(store))]


def lines(caplog: pytest.LogCaptureFixture, text: str) -> int:
    return sum(text in record.getMessage() for record in caplog.records)


# ── one beat ────────────────────────────────────────────────────────────────────────────────────


def test_the_first_tick_sends_everything_and_the_next_nothing(
    store: StoreServer, beat: Beat
) -> None:
    one = beat(store, HOURLY)
    assert 4.9 < one.tick() <= 5, "the schedule is looked at at least this often"
    assert sorted(tasks_sent(store)) == ["a", "b"]
    one.tick()
    assert len(tasks_sent(store)) == 2


def test_a_message_names_the_task_and_goes_stale(store: StoreServer, beat: Beat) -> None:
    beat(store, {"a": 3600}).tick()
    (message,) = sent(store)
    seconds, _ = store.client().time()
    assert message.pid == os.getpid()
    assert abs(message.at - seconds) < 60


def test_a_tick_comes_when_something_is_due(store: StoreServer, beat: Beat) -> None:
    one = beat(store, {"a": 3600, "quick": 1.0})
    pause = one.tick()
    assert 0.5 < pause <= 1.0
    wait_until(lambda: one.tick() > 0 and tasks_sent(store).count("quick") == 2, interval=0.01)
    first, second = (message for message in sent(store, "cache.quick"))
    assert 1.0 <= second.at - first.at < 2.0
    assert tasks_sent(store).count("a") == 1


def test_a_tick_leaves_a_sign_of_life(store: StoreServer, beat: Beat) -> None:
    one = beat(store, HOURLY)
    one.tick()
    with store.client() as client:
        first = int(client.hget("seen:beat", "at") or 0)
        assert client.hget("seen:beat", "worker").decode().endswith(f":{os.getpid()}")
        wait_until(lambda: one.tick() and int(client.hget("seen:beat", "at") or 0) > first)


def test_other_schedules_than_intervals_are_refused(store: StoreServer) -> None:
    app = Celery("beat", set_as_current=False)
    app.conf.beat_schedule = {"nightly": {"task": "a", "schedule": crontab(hour="4")}}
    with pytest.raises(TypeError, match=r"nightly.*intervals in seconds"):
        Scheduler(app)


def test_a_signal_whose_exception_is_lost_ends_it_after_the_tick(
    store: StoreServer, beat: Beat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a signal that comes where an exception goes no further, as in a `__del__`."""
    monkeypatch.setattr(worker.celery_ext.scheduler, "_stop_requested", threading.Event())
    one = beat(store, HOURLY)
    one.tick()
    with suppress(SystemExit):
        worker.celery_ext.scheduler._stop(signal.SIGTERM, None)
    with pytest.raises(SystemExit):
        one.tick()


# ── several ─────────────────────────────────────────────────────────────────────────────────────


def test_of_several_beats_one_sends_each_entry(store: StoreServer, beat: Beat) -> None:
    beats = [beat(store, HOURLY) for _ in range(3)]
    for _ in range(3):
        for one in beats:
            one.tick()
    assert sorted(tasks_sent(store)) == ["a", "b"]


def test_beats_that_share_an_entry_send_it_once_an_interval(store: StoreServer, beat: Beat) -> None:
    first, second = beat(store, {"a": 0.3}), beat(store, {"a": 0.3})
    wait_until(lambda: first.tick() and second.tick() and len(tasks_sent(store)) >= 4)
    gaps = gaps_of(store)
    assert min(gaps) > 0.25, gaps
    assert median(gaps) < 0.6, gaps


def test_a_beat_goes_on_at_the_next_interval_when_the_other_is_silent(
    store: StoreServer, beat: Beat
) -> None:
    silent, other = beat(store, {"a": 0.5}), beat(store, {"a": 0.5})
    silent.tick()
    assert 0 < other.tick() <= 0.5, "it looks again when the claim expires"
    wait_until(lambda: other.tick() and len(tasks_sent(store)) == 2)
    silent.tick()
    assert len(tasks_sent(store)) == 2, "its own entry is overdue, and has been sent"


def test_a_restart_neither_repeats_nor_postpones(store: StoreServer, beat: Beat) -> None:
    """Also a beat that crashes every minute sends its hourly entries once an hour."""
    beat(store, {"a": 3600, "b": 3600}).tick()
    store.client().pexpire("seen:beat:sent:b", 300)
    again = beat(store, {"a": 3600, "b": 3600, "new": 3600})
    again.tick()
    assert sorted(tasks_sent(store)) == ["a", "b", "new"]
    wait_until(lambda: again.tick() and sorted(tasks_sent(store)) == ["a", "b", "b", "new"])


def test_a_shorter_interval_counts_from_the_restart_on(store: StoreServer, beat: Beat) -> None:
    beat(store, {"a": 3600}).tick()
    beat(store, {"a": 60}).tick()
    assert tasks_sent(store) == ["a", "a"]


# ── clocks ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("left", [7_200_000, None])
def test_a_claim_that_lasts_longer_than_the_interval_counts_for_nothing(
    store: StoreServer, beat: Beat, left: int | None
) -> None:
    """The store's clock went back, or another program wrote the key."""
    store.client().set("seen:beat:sent:a", "host:1", px=left)
    one = beat(store, {"a": 3600})
    for _ in range(3):
        one.tick()
    assert tasks_sent(store) == ["a"]
    assert 3_500_000 < store.client().pttl("seen:beat:sent:a") <= 3_600_000


def test_what_was_missed_is_sent_once(
    store: StoreServer, beat: Beat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a machine has slept for a week."""
    one = beat(store, {"a": 3600, "b": 7200})
    one.tick()
    store.client().delete("seen:beat:sent:a", "seen:beat:sent:b")
    week_later = lease_clock() + 7 * 24 * 3600
    monkeypatch.setattr(worker.celery_ext.scheduler, "lease_clock", lambda: week_later)
    for _ in range(3):
        one.tick()
    assert sorted(tasks_sent(store)) == ["a", "a", "b", "b"]


# ── the store ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["dead", "silent"])
def test_without_store_nothing_is_sent_and_one_line_says_so(
    private_store: StoreServer, beat: Beat, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    one = beat(private_store, {"a": 0.2}, cache_timeout=0.2)
    with caplog.at_level(logging.INFO):
        one.tick()
        if how == "dead":
            private_store.kill()
        else:
            private_store.pause()
        wait_until(lambda: one.tick() and lines(caplog, "Periodic tasks are not sent"))
        for _ in range(3):
            assert one.tick() > 0
        if how == "dead":
            private_store.start()
        else:
            private_store.resume()
        wait_until(lambda: one.tick() and lines(caplog, "that is over"))
    assert lines(caplog, "Periodic tasks are not sent: The store does not answer") == 1
    assert not any(record.exc_info for record in caplog.records)
    wait_until(lambda: one.tick() and tasks_sent(private_store).count("a") >= 2)


def test_a_beat_may_start_before_its_store(private_store: StoreServer, beat: Beat) -> None:
    private_store.kill()
    one = beat(private_store, HOURLY)
    assert one.tick() > 0
    private_store.start()
    one.tick()
    assert sorted(tasks_sent(private_store)) == ["a", "b"]


def test_after_an_emptied_store_nothing_is_sent_early(store: StoreServer, beat: Beat) -> None:
    first, second = beat(store, HOURLY), beat(store, HOURLY)
    first.tick()
    second.tick()
    store.flush()
    first.tick()
    second.tick()
    assert tasks_sent(store) == [], "each knows when the next one is due"


# ── the broker ──────────────────────────────────────────────────────────────────────────────────


def test_a_beat_without_broker_leaves_its_entries_to_one_that_has_one(
    store: StoreServer, beat: Beat, caplog: pytest.LogCaptureFixture
) -> None:
    cut_off = beat(store, HOURLY, broker_url=f"redis://127.0.0.1:{free_port()}/0")
    healthy = beat(store, HOURLY)
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            assert cut_off.tick() > 0
    with store.client() as client:
        assert not client.exists("seen:beat"), "a beat that cannot send sends no heartbeat"
    assert lines(caplog, "Periodic tasks are not sent: The broker does not answer") == 1
    healthy.tick()
    cut_off.tick()
    assert sorted(tasks_sent(store)) == ["a", "b"]


def test_a_signal_while_it_sends_leaves_the_entry_to_others(
    store: StoreServer, beat: Beat, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise SystemExit(0)

    one, other = beat(store, {"a": 3600}), beat(store, {"a": 3600})
    monkeypatch.setattr(one._broker, "send", stop)
    with pytest.raises(SystemExit):
        one.tick()
    other.tick()
    assert tasks_sent(store) == ["a"]


def test_what_could_not_be_sent_is_sent_when_the_broker_is_back(
    store: StoreServer, private_store: StoreServer, beat: Beat
) -> None:
    private_store.kill()
    one = beat(store, HOURLY, broker_url=private_store.url(1))
    one.tick()
    private_store.start()
    one.tick()
    assert sorted(tasks_sent(private_store)) == ["a", "b"]
