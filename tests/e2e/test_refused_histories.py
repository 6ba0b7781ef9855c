"""A job that a refusing store keeps from its worker: its history says so once, with the true count."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from domain.history import times_of
from domain.job import RUNNING, Job, JobEvent, JobStatus
from tests.support.histories import claims_in
from tests.support.origin import Origin
from tests.support.refusing import WAYS
from tests.support.store import StoreServer
from tests.support.system import System
from tests.support.wait import wait_until

S = JobStatus

#: What a store says to scripts alone: locks are still granted, and whatever follows them is refused.
TO_SCRIPTS = {
    "NOPERM": "NOPERM this user has no permissions to run the 'evalsha' command",
    "unknown command": "ERR unknown command `EVALSHA`, with args beginning with: ",
}


def hand_backs(system: System, job: Job) -> list[JobEvent]:
    events = system.runtime.jobs.events(job.id)
    assert sum(map(claims_in, events)) == system.job(job).fence, events
    return [
        event for event in events if event.to_status is S.QUEUED and event.from_status in RUNNING
    ]


@contextmanager
def refused_scripts(store: StoreServer, text: str) -> Iterator[None]:
    store.refuse(text, commands=("EVAL", "EVALSHA"))
    try:
        yield
    finally:
        store.accept()


@pytest.fixture(scope="module", params=[False, True], ids=["real", "stand-in"])
def system(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    folder: Path = tmp_path_factory.mktemp("service")
    with StoreServer(stand_in=request.param) as store, System(folder, store) as system:
        system.start_all()
        yield system


@pytest.mark.parametrize("way", TO_SCRIPTS)
def test_claims_that_the_store_refuses_are_one_line(
    system: System, origin: Origin, way: str
) -> None:
    if not system.store.is_stand_in:
        pytest.skip("a real server refuses in other ways")
    file = origin.serve(f"/scripts-{way}.bin", size=50_000)
    with refused_scripts(system.store, TO_SCRIPTS[way]):
        job = system.submit(file.url)
        wait_until(lambda: system.job(job).fence >= 3, deadline=60, what="three claims")
        wait_until(lambda: system.job(job).status is S.QUEUED, what="the last one is handed back")

    done = system.wait_for(job, S.COMPLETED, deadline=60)

    (told,) = hand_backs(system, job)
    assert way in (told.reason or "")
    assert times_of(told.reason) == told.fence == done.fence - 1
    assert done.attempts == 1


@pytest.mark.parametrize("way", ["READONLY", "NOPERM", "BUSY"])
def test_a_running_download_that_loses_its_lock_is_one_line(
    system: System, origin: Origin, way: str
) -> None:
    if system.store.is_stand_in:
        pytest.skip("these are states of a real server")
    gate = threading.Event()
    file = origin.serve(f"/running-{way}.bin", size=400_000, gate=gate, gate_after=100_000)
    job = system.submit(file.url)
    wait_until(lambda: system.job(job).status is S.DOWNLOADING, what="it runs")
    refusing: AbstractContextManager[None] = WAYS[way](system.store)
    with refusing:
        wait_until(lambda: hand_backs(system, job), deadline=30, what="it is handed back")
    gate.set()

    system.wait_for(job, S.COMPLETED, deadline=60)

    assert len(hand_backs(system, job)) == 1, system.runtime.jobs.events(job.id)
