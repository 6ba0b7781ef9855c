"""Messages that name several jobs: what lies in the queues, and who reads it."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

import tasks
from database.models import jobs as table
from domain.errors import StoreUnavailableError
from domain.ids import new_job_id
from domain.job import JobStatus, Priority, QueuedJob
from domain.request import DownloadRequest
from tasks.periodic.reconcile import reconcile
from tests.support.build import NOW, unused_url
from tests.support.faults.aging import age_jobs
from tests.support.origins.origin import Origin
from tests.support.services.system import System, client_app
from worker.broker.client import QueuedMessage, read_message
from worker.broker.queues import DOWNLOAD_QUEUES, REQUEUED_QUEUE, queue_of
from worker.broker.task_messages import DOWNLOAD_TASK, SENT_AT

NORMAL = queue_of(Priority.NORMAL)

#: Fields of a message of Celery's own that ours leaves out, since none of them has an effect here.
LEFT_OUT = {
    "headers": {
        # Without a value, as Celery sends them.
        *("shadow", "group_index", "stamped_headers", "stamps", "replaced_task_nesting"),
        # The sender's process and host.
        "origin",
    },
    # No result is sent; the id is in the headers.
    "properties": {"reply_to", "correlation_id"},
}


def queued(count: int, priority: Priority = Priority.NORMAL) -> list[QueuedJob]:
    return [QueuedJob(new_job_id(), priority, NOW) for _ in range(count)]


def raw_messages(system: System, queue: str = NORMAL) -> list[bytes]:
    """The messages of a queue in the order in which they are consumed."""
    with system.store.client(db=1) as client:
        return list(reversed(client.lrange(queue, 0, -1)))


def messages(system: System, queue: str = NORMAL) -> list[QueuedMessage]:
    return [read_message(raw) for raw in raw_messages(system, queue)]


def ids(jobs: Sequence[QueuedJob]) -> list[str]:
    return [job.id for job in jobs]


def test_message_is_what_celery_would_send(system: System) -> None:
    (job,) = queued(1)
    system.runtime.broker.publish([job], NOW)
    with client_app(system.runtime.settings) as app:
        app.send_task(
            DOWNLOAD_TASK,
            args=(job.id,),
            queue=NORMAL,
            headers={SENT_AT: NOW.isoformat()},
            ignore_result=True,
        )
    ours, celerys = (json.loads(raw) for raw in raw_messages(system))
    for part, names in LEFT_OUT.items():
        for name in names:
            del celerys[part][name]
    assert without_ids(ours) == without_ids(celerys)


def without_ids(message: Any) -> Any:
    """A message without what is random in it, its body decoded, its address that of the queue."""
    body = json.loads(base64.b64decode(message["body"]))
    headers, properties = message["headers"], message["properties"]
    assert headers.pop("id") == headers.pop("root_id")
    assert properties.pop("delivery_tag")
    # Celery uses the default exchange, which delivers by the name of the queue.
    address = properties.pop("delivery_info")
    assert address["routing_key"] == NORMAL
    assert address["exchange"] in {"", NORMAL}
    return {**message, "body": body}


#: Jobs of one call, and its messages by the number of jobs that they name.
SPREAD = {
    1: {1: 1},
    16: {1: 16},
    17: {2: 8, 1: 1},
    100: {7: 14, 2: 1},
    1000: {63: 15, 55: 1},
    1025: {64: 16, 1: 1},
    3000: {64: 46, 56: 1},
}


def test_jobs_are_spread_over_messages(system: System) -> None:
    for number, sizes in SPREAD.items():
        jobs = queued(number)
        system.runtime.broker.publish(jobs, NOW)
        found = messages(system)
        assert Counter(len(one.job_ids) for one in found) == sizes
        assert [job_id for one in found for job_id in one.job_ids] == ids(jobs)
        assert {one.sent_at for one in found} == {NOW}
        system.store.flush()


def test_message_names_jobs_of_one_priority(system: System) -> None:
    by_priority = {priority: queued(40, priority) for priority in Priority}
    mixed = [job for some in zip(*by_priority.values(), strict=True) for job in some]
    system.runtime.broker.publish(mixed, NOW)
    for priority, jobs in by_priority.items():
        found = messages(system, queue_of(priority))
        assert [job_id for one in found for job_id in one.job_ids] == ids(jobs)
    system.runtime.broker.publish(mixed, NOW, requeued=True)
    assert system.runtime.broker.requeued() == set(ids(mixed))
    assert len(messages(system, REQUEUED_QUEUE)) < len(mixed)


def test_jobs_that_are_put_back_are_consumed_next(system: System) -> None:
    broker = system.runtime.broker
    for priority in Priority:
        broker.publish(queued(1, priority), NOW + timedelta(hours=1))
    for queue in DOWNLOAD_QUEUES:
        waiting = messages(system, queue)
        for sent_at in (NOW, None):
            rest = tuple(ids(queued(3)))
            broker.put_back(rest, queue, sent_at)
            waiting.insert(0, QueuedMessage(rest, sent_at))
        broker.put_back([], queue, NOW)
        assert messages(system, queue) == waiting


@pytest.mark.parametrize("keeps_time", [True, False])
def test_put_back_with_its_time_makes_no_message_look_lost(
    any_system: System, keeps_time: bool
) -> None:
    hour_ago = any_system.runtime.now() - timedelta(hours=1)
    requests = [DownloadRequest(url=unused_url()) for _ in range(40)]
    tasks.submit_many(requests, runtime=replace(any_system.runtime, now=lambda: hour_ago))
    with any_system.store.client(db=1) as client:
        raw = client.rpop(NORMAL)
    assert isinstance(raw, bytes)
    taken = read_message(raw).job_ids
    with any_system.runtime.database.write() as connection:
        connection.execute(table.delete().where(table.c.id.in_(taken)))
    sent_at = hour_ago if keeps_time else any_system.runtime.now()
    any_system.runtime.broker.put_back(taken, NORMAL, sent_at)
    lost = 0 if keeps_time else 40 - len(taken)
    assert reconcile(any_system.runtime).published == lost


def test_put_back_names_a_key_of_another_type(system: System) -> None:
    with system.store.client(db=1) as client:
        client.set(NORMAL, "x")
    with pytest.raises(StoreUnavailableError, match="has another type"):
        system.runtime.broker.put_back([new_job_id()], NORMAL, NOW)


def test_lost_messages_are_published_one_a_job(any_system: System) -> None:
    """So that a worker that reads only messages of one job runs them."""
    requests = [DownloadRequest(url=unused_url()) for _ in range(40)]
    jobs = tasks.submit_many(requests, runtime=any_system.runtime)
    with any_system.store.client(db=1) as client:
        assert client.llen(NORMAL) < len(jobs)
        client.delete(NORMAL)  # as a worker that refuses them
    age_jobs(any_system)
    assert reconcile(any_system.runtime).published == len(jobs)
    found = messages(any_system)
    assert [one.job_ids for one in found] == [(job.id,) for job in jobs]


def test_worker_runs_every_job_of_a_message(system: System, origin: Origin) -> None:
    files = [origin.serve(f"/{number}.bin", size=1000) for number in range(40)]
    requests = [DownloadRequest(url=file.url) for file in files]
    jobs = tasks.submit_many(requests, runtime=system.runtime)
    assert len(messages(system)) < len(jobs)
    system.start_worker()
    for job in jobs:
        system.wait_for(job, JobStatus.COMPLETED)
    assert all(len(origin.requests_for(f"/{number}.bin")) == 1 for number in range(40))
