"""Each worker has its own name, so that control commands and `seen doctor` distinguish workers."""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from cache.ttl import WORKER_HEARTBEAT
from tests.support.servers.process import end_process
from tests.support.services.seen import Seen
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.celery_ext.heartbeat import INTERVAL

#: Many commands one after the other, each of which loads a Python: on a busy machine they take long.
pytestmark = pytest.mark.timeout(600)

NAME = rf"downloads-[0-9a-f]{{8}}@{re.escape(socket.gethostname())}"


@pytest.fixture
def seen(tmp_path: Path, store: StoreServer) -> Iterator[Seen]:
    settings = {"SEEN_CACHE_ADDR": store.addr, "SEEN_CACHE_PASSWORD": store.password}
    with Seen(tmp_path, **settings) as person:
        yield person


def names(seen: Seen) -> list[str]:
    """The download workers that answer to a check, at once or one after the other."""
    findings = seen.run("doctor", "--json").json()
    (found,) = (one for one in findings if one["check"] == "workers of downloads")
    return re.findall(NAME, found["message"])


def age_heartbeats(store: StoreServer) -> None:
    """Make the last heartbeats older, but not so old that a worker that sends more is missed."""
    with store.client() as client:
        for member in client.zrange("seen:workers", 0, -1):
            client.zincrby("seen:workers", -1000 * (WORKER_HEARTBEAT - INTERVAL - 2), member)


def ready(seen: Seen) -> int:
    return seen.printed.count(" ready.")


def test_two_workers_on_one_machine_have_names_of_their_own(seen: Seen) -> None:
    missing = seen.run("worker", "--check", timeout=60)
    assert (missing.status, "no worker of downloads has sent" in missing.out) == (1, True)
    first = seen.start("worker", "--concurrency", "1")
    second = seen.start("worker", "--concurrency", "1")
    wait_until(lambda: ready(seen) == 2, deadline=60, what="both are ready")
    wait_until(lambda: len(set(names(seen))) == 2, deadline=60, what="doctor counts two")
    both = set(names(seen))
    assert seen.good("worker", "--check").out == f"{', '.join(sorted(both))}\n"

    end_process(first, how=signal.SIGTERM)
    third = seen.start("worker", "--concurrency", "1")
    wait_until(lambda: ready(seen) == 3, deadline=60, what="a third one is ready")
    wait_until(lambda: len(set(names(seen))) == 2, deadline=60, what="doctor counts two")
    assert len(both | set(names(seen))) == 3, "a restarted worker has a new name"
    for worker in (second, third):
        end_process(worker, how=signal.SIGTERM)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_is_killed_or_hangs_fails_the_check(
    seen: Seen, store: StoreServer, how: signal.Signals
) -> None:
    worker = seen.start("worker", "--concurrency", "1")
    wait_until(lambda: seen.run("worker", "--check").status == 0, deadline=60)
    worker.send_signal(how)
    age_heartbeats(store)
    wait_until(lambda: seen.run("worker", "--check").status == 1, deadline=60)
    assert seen.run("worker", "--check", "--json").json() == {"ok": False, "workers": []}
    if how is signal.SIGSTOP:
        worker.send_signal(signal.SIGCONT)
        wait_until(lambda: seen.run("worker", "--check").status == 0, deadline=60)


def test_doctor_names_workers_that_share_a_name(
    tmp_path: Path, store: StoreServer, seen: Seen
) -> None:
    folder = tmp_path / "system"
    folder.mkdir()
    with System(folder, store) as system:
        for number in range(2):
            worker = ["worker", "-Q", "downloads.low", "-n", "same@here", "-c", "1"]
            system._start(f"same{number}", worker)
        wait_until(lambda: system.logs().count(" ready.") == 2, deadline=60, what="both are ready")

        def is_found() -> bool:
            findings = seen.run("doctor", "--json").json()
            return any("2 workers are named same@here" in one["message"] for one in findings)

        wait_until(is_found, deadline=60, what="doctor has found it")
