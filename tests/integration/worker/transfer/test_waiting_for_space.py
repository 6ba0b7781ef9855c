"""Jobs that wait for a slot or for disk space hold no worker and use no attempt."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from domain.job import Job, JobStatus
from tests.support.origins.origin import Origin
from tests.support.services.engine import run_to_the_end
from tests.support.services.running import run_download, running
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.outcome import Outcome
from worker.storage import disk_space as space

S = JobStatus


@pytest.fixture
def polite(tmp_path: Path, store: StoreServer) -> Iterator[System]:
    """One download of a host at a time, one of a user."""
    settings = {"SEEN_HOST_DOWNLOADS": "1", "SEEN_USER_DOWNLOADS": "1"}
    with System(tmp_path, store, settings=settings) as system:
        yield system


def started(system: System, job: Job) -> None:
    wait_until(lambda: system.job(job).status is S.DOWNLOADING, what="it runs")
    slots = system.runtime.cache.limits.slots(f"downloads:{job.host}")
    wait_until(lambda: slots or system.runtime.cache.limits.slots(f"downloads:{job.host}"))


def test_the_second_of_a_host_waits_and_goes_on_when_the_first_has_ended(
    polite: System, origin: Origin
) -> None:
    gate = threading.Event()
    first = polite.submit(origin.serve("/a.bin", size=50_000, gate=gate, gate_after=1000).url)
    second = polite.submit(origin.serve("/b.bin", size=50_000).url)
    with running(polite, first) as outcomes:
        started(polite, first)

        assert run_download(polite.runtime, second.id) is Outcome.WAITING

        row = polite.job(second)
        assert (row.error_code, row.attempts) == ("host_busy", 0)
        assert row.reason is not None
        assert row.reason.startswith("waiting for a slot at 127.0.0.1: 1 of 1 downloads")
        assert origin.requests_for("/b.bin") == []
        gate.set()
    assert outcomes == [Outcome.COMPLETED]
    # Not by beat: a job that ends requeues the one that waited longest.
    polite.wait_for(second, S.QUEUED)
    assert run_download(polite.runtime, second.id) is Outcome.COMPLETED
    assert polite.job(second).attempts == 1


def test_a_user_has_so_many_downloads_at_a_time(polite: System, origin: Origin) -> None:
    gate = threading.Event()
    slow = origin.serve("/a.bin", size=50_000, gate=gate, gate_after=1000)
    first = polite.submit(slow.url, user_id="ada")
    elsewhere = origin.serve("/b.bin", size=50_000).url.replace("127.0.0.1", "localhost")
    second = polite.submit(elsewhere, user_id="ada")
    third = polite.submit(elsewhere + "?3", user_id="bob")
    with running(polite, first):
        started(polite, first)
        assert run_download(polite.runtime, second.id) is Outcome.WAITING
        assert polite.job(second).error_code == "user_busy"
        assert run_download(polite.runtime, third.id) is Outcome.COMPLETED
        gate.set()
    polite.wait_for(second, S.QUEUED)


def test_a_slot_of_a_host_is_for_the_next_if_the_first_that_waits_has_none_of_its_user(
    polite: System, origin: Origin
) -> None:
    polite.runtime.slot_queue._max_wait = 30
    gates = [threading.Event(), threading.Event()]
    urls = [
        origin.serve(f"/{number}", size=50_000, gate=gate, gate_after=1000).url
        for number, gate in enumerate(gates)
    ]
    at_host = polite.submit(urls[0], user_id="carl")
    of_user = polite.submit(urls[1].replace("127.0.0.1", "localhost"), user_id="ada")
    plain = origin.serve("/plain", size=1000).url
    first, second = (polite.submit(f"{plain}?{user}", user_id=user) for user in ("ada", "bob"))

    def wait_at_host(count: int) -> bool:
        line = polite.runtime.slot_queue._lines.get("127.0.0.1")
        return line is not None and len(line.waiting) == count

    with ExitStack() as stack:
        for gate in gates:
            stack.callback(gate.set)
        for job in (at_host, of_user):
            stack.enter_context(running(polite, job))
            started(polite, job)
        for number, job in enumerate((first, second), 1):
            stack.enter_context(running(polite, job))
            wait_until(partial(wait_at_host, number), what="it waits for its host")
        gates[0].set()
        polite.wait_for(second, S.COMPLETED)
        assert polite.job(of_user).status is S.DOWNLOADING
        gates[1].set()
        polite.wait_for(first, S.COMPLETED)


def test_a_full_disk_uses_no_attempt_and_is_left_when_there_is_room(
    system: System, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = origin.serve("/a.bin", size=300_000)
    job = system.submit(file.url, max_attempts=1)
    with monkeypatch.context() as patch:
        patch.setattr(space, "_free", lambda _directory: 299_999)
        row = run_to_the_end(system, job, attempts=1)
        assert (row.status, row.error_code, row.attempts) == (S.WAITING, "disk_full", 0)
        assert "has only 299,999" in (row.reason or "")

    row = run_to_the_end(system, job, attempts=1)
    assert (row.status, row.sha256) == (S.COMPLETED, file.sha256)


def test_a_limit_of_the_rate_holds_while_it_is_set(system: System, origin: Origin) -> None:
    """Of two files that take the origin a second, one is limited; then its limit is taken away."""
    file = origin.serve("/a.bin", size=2_000_000, bytes_per_second=2_000_000)
    limited, free = system.submit(file.url), system.submit(file.url, name="free.bin")
    limits = system.runtime.cache.limits
    limits.set_rates({f"job:{limited.id}": 1024})

    with running(system, limited) as outcomes:
        wait_until(lambda: origin.requests, what="it has started")
        assert run_download(system.runtime, free.id) is Outcome.COMPLETED
        progress = system.runtime.cache.download.get_progress(limited.id)
        assert progress is not None
        # What came before the first look at the limits, and a chunk or two.
        assert 0 < progress.bytes_downloaded < 1_000_000
        assert outcomes == []
        limits.set_rates({f"job:{limited.id}": None})
    assert outcomes == [Outcome.COMPLETED]
    assert system.job(limited).sha256 == file.sha256
