"""A beat's ticks, one by one: who leads, what is sent, and what is not, on a real store."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from itertools import pairwise
from typing import Any

import pytest
from celery import Celery
from celery.schedules import crontab

import worker.celery_ext.scheduler
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
    assert abs(message.at - seconds) < 5


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
    monkeypatch.setattr(worker.celery_ext.scheduler, "_told_to_end", threading.Event())
    one = beat(store, HOURLY)
    one.tick()
    with suppress(SystemExit):
        worker.celery_ext.scheduler._leave(signal.SIGTERM, None)
    with pytest.raises(SystemExit):
        one.tick()


# ── several ─────────────────────────────────────────────────────────────────────────────────────


def test_one_leads_and_the_other_stands_by(
    store: StoreServer, beat: Beat, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = beat(store, HOURLY), beat(store, HOURLY)
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            first.tick()
            second.tick()
    assert len(tasks_sent(store)) == 2
    assert lines(caplog, "This beat leads") == 1
    assert lines(caplog, "this one stands by") == 1


def test_a_clean_end_lets_the_other_go_on_at_its_next_look(store: StoreServer, beat: Beat) -> None:
    first, second = beat(store, HOURLY), beat(store, HOURLY)
    first.tick()
    second.tick()
    first.close()
    first.close()
    with store.client() as client:
        assert not client.exists("seen:lock:beat")
        second.tick()
        assert client.exists("seen:lock:beat")
    assert len(tasks_sent(store)) == 2, "the successor knows what was sent when"


def test_who_stands_by_does_not_take_the_lease_away_when_it_ends(
    store: StoreServer, beat: Beat
) -> None:
    first, second = beat(store, HOURLY), beat(store, HOURLY)
    first.tick()
    second.tick()
    second.close()
    with store.client() as client:
        assert client.exists("seen:lock:beat")


def test_a_silent_leader_is_replaced_and_stands_by_when_it_goes_on(
    store: StoreServer, beat: Beat
) -> None:
    intervals = {"a": 0.5}
    first, second = (beat(store, intervals, lease_ttl=2.0) for _ in range(2))
    first.tick()
    with store.client() as client:
        token = client.get("seen:lock:beat")
        wait_until(lambda: second.tick() and client.get("seen:lock:beat") not in {token, None})
        count = len(tasks_sent(store))
        pause = first.tick()
        assert client.get("seen:lock:beat") not in {token, None}
    assert pause > 0.5, "it stands by"
    assert len(tasks_sent(store)) == count, "it sends nothing, though its own entry is overdue"


def test_a_restart_goes_on_in_rhythm(store: StoreServer, beat: Beat) -> None:
    """A beat that crashes every minute would else never come to its five-minute entries."""
    beat(store, {"a": 3600, "b": 3600}).tick()
    with store.client() as client:
        client.delete("seen:lock:beat")
        at = int(client.hget("seen:beat:runs", "b") or 0)
        client.hset("seen:beat:runs", "b", at - 3_600_000)
    beat(store, {"a": 3600, "b": 3600, "new": 3600}).tick()
    assert sorted(tasks_sent(store)) == ["a", "b", "b", "new"]


# ── clocks ──────────────────────────────────────────────────────────────────────────────────────


def test_a_clock_that_went_back_stops_nothing_for_hours(store: StoreServer, beat: Beat) -> None:
    beat(store, {"a": 0.5}).tick()
    with store.client() as client:
        client.delete("seen:lock:beat")
        client.hincrby("seen:beat:runs", "a", 7_200_000)
    successor = beat(store, {"a": 0.5})
    assert 0 < successor.tick() <= 0.5
    wait_until(lambda: successor.tick() and len(tasks_sent(store)) == 2)


def test_a_clock_that_went_forward_sends_each_entry_once(store: StoreServer, beat: Beat) -> None:
    beat(store, {"a": 3600}).tick()
    with store.client() as client:
        client.delete("seen:lock:beat")
        client.hincrby("seen:beat:runs", "a", -7 * 24 * 3_600_000)
    successor = beat(store, {"a": 3600})
    for _ in range(5):
        successor.tick()
    assert len(tasks_sent(store)) == 2


# ── the store ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["dead", "silent"])
def test_without_store_nothing_is_sent_and_one_line_says_so(
    private_store: StoreServer, beat: Beat, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    intervals = {"a": 0.2}
    one = beat(private_store, intervals, lease_ttl=1.0, cache_timeout=0.2)
    with caplog.at_level(logging.INFO):
        one.tick()
        if how == "dead":
            private_store.kill()
        else:
            private_store.pause()
        wait_until(lambda: one.tick() and lines(caplog, "Nothing is sent for now"))
        for _ in range(3):
            assert one.tick() > 0
        if how == "dead":
            private_store.start()
        else:
            private_store.resume()
        wait_until(lambda: one.tick() and lines(caplog, "This beat leads") == 2)
    assert lines(caplog, "Nothing is sent for now: The store does not answer") == 1
    assert not any(record.exc_info for record in caplog.records)
    wait_until(lambda: one.tick() and tasks_sent(private_store).count("a") >= 2)


def test_a_beat_may_start_before_its_store(private_store: StoreServer, beat: Beat) -> None:
    private_store.kill()
    one = beat(private_store, HOURLY)
    assert one.tick() > 0
    private_store.start()
    one.tick()
    assert sorted(tasks_sent(private_store)) == ["a", "b"]


def test_an_emptied_store_has_one_leader_and_nothing_is_sent_twice(
    store: StoreServer, beat: Beat
) -> None:
    first, second = beat(store, HOURLY), beat(store, HOURLY)
    first.tick()
    second.tick()
    store.flush()
    first.tick()
    second.tick()
    assert tasks_sent(store) == [], "the leader remembers what it has sent"
    with store.client() as client:
        assert set(client.hkeys("seen:beat:runs")) == {b"a", b"b"}, "and tells the store again"
    first.close()
    second.tick()
    assert tasks_sent(store) == []


def test_after_an_emptied_store_the_old_leader_stands_by_if_another_was_faster(
    store: StoreServer, beat: Beat
) -> None:
    intervals = {"a": 0.2}
    first, second = beat(store, intervals), beat(store, intervals)
    first.tick()
    second.tick()
    store.flush()
    second.tick()
    assert tasks_sent(store) == ["a"], "it does not know better"
    wait_until(lambda: first.tick() and second.tick() and len(tasks_sent(store)) >= 3)
    times = [message.at for message in sent(store)]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert min(gaps) >= 0.2, "only one of them sends"


# ── the broker ──────────────────────────────────────────────────────────────────────────────────


def test_a_leader_without_broker_makes_room_for_one_that_has_one(
    store: StoreServer, beat: Beat, caplog: pytest.LogCaptureFixture
) -> None:
    cut_off = beat(store, HOURLY, broker_url=f"redis://127.0.0.1:{free_port()}/0")
    healthy = beat(store, HOURLY)
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            assert cut_off.tick() > 0
    with store.client() as client:
        assert not client.exists("seen:beat"), "who sends nothing gives no sign of life"
    assert lines(caplog, "Nothing is sent for now: The broker does not answer") == 1
    healthy.tick()
    cut_off.tick()
    assert sorted(tasks_sent(store)) == ["a", "b"]


def test_what_could_not_be_sent_is_sent_when_the_broker_is_back(
    store: StoreServer, private_store: StoreServer, beat: Beat
) -> None:
    private_store.kill()
    one = beat(store, HOURLY, broker_url=private_store.url(1))
    one.tick()
    private_store.start()
    one.tick()
    assert sorted(tasks_sent(private_store)) == ["a", "b"]
