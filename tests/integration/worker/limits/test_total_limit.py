"""The limit of all downloads as one process knows it, and what it does with it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from domain.job import JobStatus
from tests.support.origins.origin import Origin
from tests.support.services.running import run, running
from tests.support.services.system import System, client_runtime
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.job_pool import JobMessage, JobPool
from worker.outcome import Outcome

S = JobStatus
RESOURCE = "total:downloads"


@pytest.fixture
def system(tmp_path: Path, store: StoreServer) -> Iterator[System]:
    with System(tmp_path, store) as system:
        yield system


def limit(system: System, most: int | None) -> None:
    system.runtime.cache.limits.set_most_downloads(most)


def test_a_download_that_began_without_a_limit_is_counted_and_goes_on(
    system: System, origin: Origin
) -> None:
    gate = threading.Event()
    early = system.submit(origin.serve("/early", size=10, gate=gate).url)
    late = system.submit(origin.serve("/late", size=10).url)
    slots = system.runtime.cache.limits.slots
    with running(system, early):
        wait_until(lambda: origin.requests)
        assert slots(RESOURCE) == {}
        limit(system, 1)
        wait_until(lambda: slots(RESOURCE) == {early.id: 1}, what="it is counted")
        # Another process, as a worker that has just started.
        with closing(client_runtime(system.variables)) as other:
            assert JobPool(other, 4).run(JobMessage((late.id,)))[0].outcome is Outcome.WAITING
        waiting = system.job(late)
        assert waiting.error_code == "total_busy"
        assert waiting.reason == (
            "waiting for a slot: 1 of 1 downloads are running in all. "
            "SEEN_MAX_DOWNLOADS or `seen limit --downloads` sets the limit."
        )
        gate.set()
    system.wait_for(early, S.COMPLETED)
    assert wait_until(lambda: system.job(late).status is S.QUEUED, what="it is called")
    assert run(system, late) is Outcome.COMPLETED
    assert slots(RESOURCE) == {}


def test_a_process_takes_no_more_jobs_in_hand_than_may_run(system: System) -> None:
    pool = JobPool(system.runtime, 4)
    limit(system, 1)
    system.runtime.slots.total.look()
    assert pool.has_room()
    with pool._mutex:
        pool._in_hand += 1
    assert not pool.has_room()
    limit(system, 2)
    system.runtime.slots.total.look()
    assert pool.has_room()


def test_without_an_answer_the_limit_stays(system: System) -> None:
    limit(system, 5)
    found = system.runtime.slots.total
    found.look()
    system.store.pause()
    try:
        found.look()
        assert found.value == 5
    finally:
        system.store.resume()
    with system.store.client() as client:
        for wrong in (b"", b"0", b"-3", b"many", b"100001", b"1e3"):
            client.hset("seen:limits", "downloads", wrong)
            found.look()
            assert found.value == 0, wrong
