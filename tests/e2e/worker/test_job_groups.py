"""A message of several jobs in a worker: its slots, its task events, and its drain, with each pool."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ConnectionError

import tasks
from domain.job import Job, JobStatus
from domain.request import DownloadRequest
from tests.support.origins.origin import Origin
from tests.support.services.draining import command, ended
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.broker.queues import queue_of

S = JobStatus
#: A download that takes longer than any test.
SLOW: dict[str, Any] = {"size": 30_000_000, "bytes_per_second": 100_000}


@pytest.fixture
def system(tmp_path: Path, store: StoreServer) -> Iterator[System]:
    with System(tmp_path, store) as system:
        yield system


def submit(system: System, origin: Origin, count: int, **file: Any) -> list[Job]:
    """Submit jobs, and give them one message; so few would have one each."""
    urls = [origin.serve(f"/{number}.bin", **file).url for number in range(count)]
    requests = [DownloadRequest.model_validate({"url": url}) for url in urls]
    jobs: list[Job] = [*tasks.submit_many(requests, runtime=system.runtime)]
    queue = queue_of(jobs[0].priority)
    client: Any = system.store.client(db=1)
    client.delete(queue)
    system.runtime.broker.put_back([job.id for job in jobs], queue, jobs[0].published_at)
    return jobs


def statuses(system: System, jobs: list[Job]) -> list[JobStatus]:
    """The states of the jobs, sorted."""
    return sorted(system.job(job).status for job in jobs)


@contextmanager
def events(system: System) -> Iterator[list[dict[str, Any]]]:
    """The task events of all workers while the block runs."""
    received: list[dict[str, Any]] = []
    with system.app.connection_for_read() as connection:
        receiver = system.app.events.Receiver(connection, handlers={"*": received.append})
        capture = threading.Thread(target=receiver.capture, kwargs={"wakeup": False}, daemon=True)
        capture.start()
        client: Any = system.store.client(db=1)
        wait_until(client.pubsub_numpat, deadline=30, what="it listens")
        yield received
        receiver.should_stop = True
        capture.join(30)


def of_tasks(received: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The events of the task by their kinds, each of which comes once."""
    found = [one for one in received if one["type"].startswith("task-")]
    by_kind = {one["type"].removeprefix("task-"): one for one in found}
    assert len(by_kind) == len(found), [one["type"] for one in found]
    return by_kind


def test_message_of_several_jobs_is_one_task(system: System, origin: Origin) -> None:
    jobs = submit(system, origin, 5, size=1000)
    with events(system) as received:
        system.start_worker(concurrency=8)
        for job in jobs:
            system.wait_for(job, S.COMPLETED)
        wait_until(lambda: "succeeded" in of_tasks(received), what="the event of the end")
    task = of_tasks(received)
    assert list(task) == ["received", "started", "succeeded"]
    assert task["received"]["args"] == str((*(job.id for job in jobs[:4]), "and 1 more"))
    assert task["succeeded"]["result"] == "'5 completed'"
    assert task["succeeded"]["runtime"] > 0
    assert system.backlog() == 0


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_pool_of_celery_runs_all_jobs_of_a_message(
    system: System, origin: Origin, pool: str
) -> None:
    """Each of its processes runs one job; the others go back to their queue."""
    jobs = submit(system, origin, 5, size=1000)
    system.start_worker(concurrency=2, pool=pool)
    for job in jobs:
        assert system.wait_for(job, S.COMPLETED).attempts == 1
    assert system.backlog() == 0
    assert "Traceback" not in system.logs()


def test_slots_follow_celerys_commands(system: System, origin: Origin) -> None:
    jobs = submit(system, origin, 4, **SLOW)
    system.start_worker(concurrency=1)
    wait_until(lambda: statuses(system, jobs) == [S.DOWNLOADING, *[S.QUEUED] * 3])
    control: Any = system.app.control
    control.pool_grow(2)
    wait_until(lambda: statuses(system, jobs) == [*[S.DOWNLOADING] * 3, S.QUEUED])
    assert slots_shown(control) == 3
    control.pool_shrink(2)
    wait_until(lambda: slots_shown(control) == 1)
    first = next(job for job in jobs if system.job(job).status is S.DOWNLOADING)
    tasks.cancel(first.id, runtime=system.runtime)
    system.wait_for(first, S.CANCELLED)
    assert statuses(system, jobs) == [S.CANCELLED, *[S.DOWNLOADING] * 2, S.QUEUED]


def slots_shown(control: Any) -> int:
    """How many slots `celery inspect stats` shows."""
    (stats,) = control.inspect(timeout=5, limit=1).stats().values()
    return int(stats["pool"]["max-concurrency"])


def test_drain_by_celerys_command_waits_for_all_jobs_in_hand(
    system: System, origin: Origin
) -> None:
    jobs = submit(system, origin, 5, **SLOW)
    with events(system) as received:
        worker = system.start_worker(concurrency=8)
        wait_until(lambda: statuses(system, jobs) == [S.DOWNLOADING] * 5)
        command(system, "shutdown")
        assert ended(worker, deadline=20) == 0
        assert statuses(system, jobs) == [S.QUEUED] * 5
        wait_until(lambda: "retried" in of_tasks(received), what="the event of the end")
    assert of_tasks(received)["retried"]["exception"].startswith("5 requeued: ")
    assert {system.job(job).attempts for job in jobs} == {0}


def test_jobs_go_on_while_the_worker_connects_again(system: System, origin: Origin) -> None:
    jobs = submit(system, origin, 3, size=200_000, bytes_per_second=100_000)
    with events(system) as received:
        system.start_worker(concurrency=4)
        wait_until(lambda: statuses(system, jobs) == [S.DOWNLOADING] * 3)
        wait_until(lambda: "started" in of_tasks(received), what="the event of the start")
        cut_consumers(system)
        wait_until(lambda: "Connection to broker lost" in system.logs(), what="it is noticed")
        later = system.submit(origin.serve("/later.bin", size=1000).url)
        system.wait_for(later, S.COMPLETED)
        for job in jobs:
            assert system.wait_for(job, S.COMPLETED).attempts == 1
    assert all(len(origin.requests_for(f"/{number}.bin")) == 1 for number in range(3))
    assert wait_until(lambda: active_tasks(system), what="an answer") == [[]]


def active_tasks(system: System) -> list[Any]:
    """What the worker answers; empty where the connection for its answer was cut, too."""
    control: Any = system.app.control
    with suppress(ConnectionError):
        return [*(control.inspect(timeout=5, limit=1).active() or {}).values()]
    return []


def cut_consumers(system: System) -> None:
    """Cut the connections on which workers wait for messages."""
    client: Any = system.store.client(db=1)
    for one in client.client_list():
        if one["cmd"] == "brpop":
            client.client_kill(one["addr"])
