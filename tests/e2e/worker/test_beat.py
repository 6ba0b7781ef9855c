"""Beats as processes: killed, stopped, suspended, and without a store; what is logged about it."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest

from tests.support.servers.process import Process, end_process
from tests.support.services.beats import sent
from tests.support.services.seen import Seen
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

REQUEUE_DUE = "download.requeue_due"
#: Seconds between two requeues of due jobs in a `System`.
INTERVAL = 0.5
#: What a beat logs while it cannot send.
NOT_SENT = "Periodic tasks are not sent: The"
#: Within this time another beat has to take over.
TAKEOVER = 30.0


@pytest.fixture
def service(tmp_path: Path, private_store: StoreServer) -> Iterator[System]:
    """A service without workers, so that its messages can be counted."""
    with System(tmp_path, private_store) as system:
        yield system


def ticks(service: System, beat: Process | None = None) -> list[float]:
    """When beats sent `download.requeue_due`; seconds since the epoch."""
    found = sent(service.store, REQUEUE_DUE)
    return [one.at for one in found if beat is None or one.pid == beat.pid]


def start_two(service: System) -> tuple[Process, Process]:
    """Start two beats, and wait until both run and one of them has sent something."""
    beats = service.start_beat(), service.start_beat()
    for name in ("beat0", "beat1"):
        wait_for_line(service, name, "beat: Starting")
    wait_until(lambda: ticks(service), deadline=30, what="a beat sends")
    return beats


def wait_for_ticks(service: System, beat: Process, count: int, *, deadline: float = 30) -> None:
    """Wait for so many more ticks of one beat."""
    wanted = len(ticks(service, beat)) + count
    wait_until(
        lambda: len(ticks(service, beat)) >= wanted, deadline=deadline, what=f"{count} more ticks"
    )


def wait_for_line(service: System, name: str, text: str, *, deadline: float = 30) -> None:
    """Wait until a process has logged something."""

    def logged() -> bool:
        return (service.folder / f"{name}.log").exists() and text in service.log(name)

    # Often: what follows is to happen soon after it.
    wait_until(logged, deadline=deadline, interval=0.002, what=f"{name} says: {text}")


def gaps_between(times: list[float]) -> list[float]:
    """The seconds from each tick to the next."""
    return [later - earlier for earlier, later in pairwise(sorted(times))]


def assert_rhythm(times: list[float], *, interruptions: int = 0) -> None:
    """Ticks come at their interval, none doubled.

    A beat that is interrupted between sending and noting it costs one tick too many.
    """
    gaps = gaps_between(times)
    assert sum(gap < 0.8 * INTERVAL for gap in gaps) <= interruptions, gaps


def age(service: System) -> float:
    """Seconds since the last heartbeat of a beat in the store."""
    status = service.runtime.cache.beat.status()
    return float("inf") if status is None else status.age_seconds


def test_two_beats_send_at_the_interval_together(service: System) -> None:
    beats = start_two(service)
    before = len(ticks(service))
    wait_until(lambda: len(ticks(service)) >= before + 8, deadline=30)

    times = ticks(service)

    assert_rhythm(times)
    assert median(gaps_between(times)) < 1.5 * INTERVAL, times
    assert len(sent(service.store, "download.cleanup_stale")) == 1, "slow entries, too"
    status = service.runtime.cache.beat.status()
    assert status is not None
    assert int(status.process.rpartition(":")[2]) in {beat.pid for beat in beats}
    assert status.age_seconds < 60


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM])
def test_the_other_goes_on_when_one_dies_hangs_or_ends(
    service: System, how: signal.Signals
) -> None:
    one, other = start_two(service)
    one.send_signal(how)
    wait_for_ticks(service, other, 3, deadline=10)
    assert_rhythm(ticks(service), interruptions=1)
    assert age(service) < 5
    if how is not signal.SIGSTOP:
        assert one.wait(10) == (0 if how is signal.SIGTERM else -how)
        assert "Traceback" not in service.logs()
        return

    one.send_signal(signal.SIGCONT)
    wait_for_ticks(service, other, 3)
    assert_rhythm(ticks(service), interruptions=2)


def test_when_both_restart_the_rhythm_goes_on(service: System) -> None:
    """The slow entries were sent at the first start, and are not due again for minutes."""
    for beat in start_two(service):
        end_process(beat)
    again = service.start_beat()
    wait_for_ticks(service, again, 3)
    assert_rhythm(ticks(service), interruptions=2)
    assert len(sent(service.store, "download.cleanup_stale")) == 1
    assert len(sent(service.store, "cache.log_stats")) == 1


@pytest.mark.parametrize("loss", ["emptied", "restarted"])
def test_the_rhythm_goes_on_when_the_store_loses_everything(service: System, loss: str) -> None:
    start_two(service)
    if loss == "emptied":
        service.store.flush()
    else:
        service.store.restart()
    wait_until(lambda: len(ticks(service)) >= 8, deadline=TAKEOVER, what="further ticks")
    # One tick too many may come at the change.
    assert_rhythm(ticks(service)[-6:])
    assert "Traceback" not in service.logs()


def test_while_the_store_is_away_beats_wait_and_say_so_once(service: System) -> None:
    start_two(service)
    service.store.kill()
    for name in ("beat0", "beat1"):
        wait_for_line(service, name, NOT_SENT, deadline=10)
    service.store.start()
    wait_until(lambda: len(ticks(service)) >= 6, deadline=TAKEOVER)
    for name in ("beat0", "beat1"):
        assert service.log(name).count(NOT_SENT) == 1
    assert "Traceback" not in service.logs()


def test_a_beat_waits_for_a_store_that_is_not_there_yet(service: System) -> None:
    service.store.kill()
    beat = service.start_beat()
    wait_for_line(service, "beat0", NOT_SENT)
    service.store.start()
    wait_for_ticks(service, beat, 2)
    assert "Traceback" not in service.logs()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_beat_can_be_stopped_at_any_moment(service: System, number: signal.Signals) -> None:
    """Also while it starts: from its first line of log on it ends by itself, without an error."""
    early = service.start_beat()
    wait_for_line(service, "beat0", "is starting")
    early.terminate()
    assert early.wait(30) in {0, -signal.SIGTERM}, "before its handler stands the kernel ends it"
    first = service.start_beat()
    wait_for_line(service, "beat1", "beat: Starting")
    first.send_signal(number)
    assert first.wait(30) == 0
    second = service.start_beat()
    wait_until(lambda: ticks(service, second), deadline=30)
    second.send_signal(number)
    assert second.wait(30) == 0
    assert "Traceback" not in service.logs()


def test_a_worker_notices_that_beat_is_missing_and_that_it_is_back(service: System) -> None:
    leader = service.start_beat()
    wait_until(lambda: ticks(service, leader), deadline=30)
    changes = ["beat is missing soon"]
    service.start_worker("downloads", changes=changes)
    service.start_worker("maintenance", pool="prefork", concurrency=1, changes=changes)
    end_process(leader, how=signal.SIGKILL)
    for name in ("downloads1", "maintenance2"):
        wait_for_line(service, name, "Beat has not ticked", deadline=60)
        (line,) = re.findall(r".*Beat has not ticked.*", service.log(name))
        assert "WARNING" in line
        assert f":{leader.pid})" in line
    service.start_beat()
    for name in ("downloads1", "maintenance2"):
        wait_for_line(service, name, "Beat ticks again", deadline=40)
        assert service.log(name).count("Beat has not ticked") == 1


# ── the command line ────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def with_store(tmp_path: Path, store: StoreServer) -> Iterator[Seen]:
    settings = {"SEEN_CACHE_ADDR": store.addr, "SEEN_CACHE_PASSWORD": store.password}
    with Seen(tmp_path, **settings) as person:
        yield person


def beat_finding(seen: Seen) -> dict[str, str]:
    findings = seen.run("doctor", "--json").json()
    (found,) = (one for one in findings if one["check"] == "beat")
    return dict(found)


def test_check_and_doctor_show_whether_beat_ticks(with_store: Seen, store: StoreServer) -> None:
    missing = with_store.run("beat", "--check")
    assert (missing.status, missing.out) == (1, "beat has not ticked within a day\n")
    assert with_store.run("beat", "--check", "--json").json() == {"ok": False}
    assert beat_finding(with_store)["level"] == "warning"

    beat = with_store.start("beat")
    wait_until(lambda: with_store.run("beat", "--check").status == 0, deadline=30)
    one_line = rf"beat ticked \d+\.\d s ago on \S+:{beat.pid}\n"
    assert re.fullmatch(one_line, with_store.good("beat", "--check").out)
    shown = with_store.good("beat", "--check", "--json").json()
    assert shown["ok"] is True
    assert shown["worker"].endswith(f":{beat.pid}")
    assert shown["age_seconds"] < 60
    found = beat_finding(with_store)
    assert found["level"] == "ok"
    assert "ago on" in found["message"]

    beat.send_signal(signal.SIGTERM)
    assert beat.wait(20) == 0
    with store.client() as client:
        client.hincrby("seen:beat", "at", -40_000)
    assert with_store.run("beat", "--check").status == 1
    found = beat_finding(with_store)
    assert found["level"] == "problem"
    assert "are not requeued, progress is not saved" in found["message"]
    assert "seen beat" in found["remedy"]


def test_check_without_store_fails_in_one_line(tmp_path: Path, free_port: int) -> None:
    with Seen(tmp_path, SEEN_CACHE_ADDR=f"127.0.0.1:{free_port}") as seen:
        result = seen.run("beat", "--check")
        assert result.status == 1
        assert "The store does not answer" in result.error_line()


def test_json_goes_with_check(with_store: Seen) -> None:
    result = with_store.run("beat", "--json")
    assert result.status == 2
    assert "--check" in result.json()["error"]["message"]
