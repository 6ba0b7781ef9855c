"""A job that a refusing store keeps from its worker: one history line with the true count."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from domain.history import repetitions_of
from domain.job import RUNNING, Job, JobEvent, JobStatus
from tests.support.histories import claims_in
from tests.support.origins.origin import Origin
from tests.support.services.system import System
from tests.support.stores.refusing import WAYS
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

S = JobStatus

#: What the broker and everything but the slots of hosts needs.
ALL_BUT_SLOTS = (
    *("~_kombu*", "~downloads*", "~maintenance*", "~celery*", "~*pidbox*", "~*reply*"),
    *("~seen:lock:*", "~seen:download:*", "~seen:beat*", "~seen:continuity", "~seen:limits"),
    *("~seen:demand:*", "~seen:user:*", "~seen:dead-letters"),
)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder: Path = tmp_path_factory.mktemp("service")
    with StoreServer() as store, System(folder, store) as system:
        system.start_all()
        yield system


def requeues(system: System, job: Job) -> list[JobEvent]:
    events = system.runtime.jobs.events(job.id)
    return [
        event for event in events if event.to_status is S.QUEUED and event.from_status in RUNNING
    ]


def claims_in_history(system: System, job: Job) -> int:
    return sum(map(claims_in, system.runtime.jobs.events(job.id)))


@contextmanager
def without_right_to_slots(store: StoreServer) -> Iterator[None]:
    """Locks are granted, and the job's next command is refused: it is requeued at once."""
    with store.client() as client:
        client.execute_command("ACL", "SETUSER", "default", "resetkeys", *ALL_BUT_SLOTS)
        try:
            yield
        finally:
            client.execute_command("ACL", "SETUSER", "default", "allkeys")


def test_claims_that_the_store_refuses_are_one_line(system: System, origin: Origin) -> None:
    file = origin.serve("/slots.bin", size=50_000)
    with without_right_to_slots(system.store):
        job = system.submit(file.url)
        wait_until(lambda: system.job(job).fence >= 4, deadline=60, what="four claims")
        wait_until(lambda: system.job(job).status is S.QUEUED, what="the last requeue")

    done = system.wait_for(job, S.COMPLETED, deadline=60)

    (requeue,) = requeues(system, job)
    assert "NOPERM" in (requeue.reason or "")
    assert repetitions_of(requeue.reason) == requeue.fence == done.fence - 1
    assert claims_in_history(system, job) == done.fence
    assert done.attempts == 1


@pytest.mark.parametrize("way", ["READONLY", "NOPERM", "BUSY", "MASTERDOWN"])
def test_a_download_that_loses_its_lock_is_requeued_in_one_line(
    system: System, origin: Origin, way: str
) -> None:
    gate = threading.Event()
    file = origin.serve(f"/{way}.bin", size=400_000, gate=gate, gate_after=100_000)
    job = system.submit(file.url)
    wait_until(lambda: system.job(job).status is S.DOWNLOADING, what="it runs")
    with WAYS[way](system.store):
        wait_until(lambda: requeues(system, job), deadline=30, what="it is requeued")
    gate.set()

    done = system.wait_for(job, S.COMPLETED, deadline=60)

    assert len(requeues(system, job)) == 1, system.runtime.jobs.events(job.id)
    assert claims_in_history(system, job) == done.fence
