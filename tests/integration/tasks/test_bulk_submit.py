"""`submit_many` of many requests: stored and published as those of single calls are."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, func, select

import tasks
from database.models import idempotency_keys, job_events
from domain.errors import IdempotencyKeyReusedError, InvalidInputError
from domain.job import JobStatus, Priority, SubmittedJob
from domain.request import DownloadRequest
from tasks.periodic import maintenance
from tasks.periodic.missing_messages import PUBLISHING_GRACE
from tests.support.faults.aging import age_jobs
from tests.support.services.system import System, client_app
from tests.support.stores.server import StoreServer
from worker.broker.client import Broker, read_message
from worker.broker.queues import DOWNLOAD_QUEUES
from worker.storage.filenames import resolve_directory

_numbers = count()


def wanted(number: int, **fields: Any) -> list[DownloadRequest]:
    """Requests that no other test makes."""
    call = next(_numbers)
    return [
        DownloadRequest(url=f"http://127.0.0.1:9/{call}/{one}.bin", directory="bulk", **fields)
        for one in range(number)
    ]


def submit(system: System, requests: Sequence[DownloadRequest]) -> list[SubmittedJob]:
    return tasks.submit_many(requests, runtime=system.runtime)


def published(system: System) -> list[str]:
    """The ids of all jobs in all messages, in the order in which they are consumed."""
    with system.store.client(db=1) as client:
        raw = [one for queue in DOWNLOAD_QUEUES for one in reversed(client.lrange(queue, 0, -1))]
    return [job_id for one in raw for job_id in read_message(one).job_ids]


def rows_of(system: System, table: Any) -> int:
    with system.runtime.database.read() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def test_ten_thousand_are_stored_and_published_in_their_order(any_system: System) -> None:
    requests = wanted(10_000)
    jobs = submit(any_system, requests)
    ids = [job.id for job in jobs]
    assert [job.url for job in jobs] == [request.url for request in requests]
    assert ids == sorted(set(ids))
    assert all(job.is_new for job in jobs)
    assert published(any_system) == ids
    rows = any_system.runtime.jobs.get_many(ids)
    assert {row.status for row in rows.values()} == {JobStatus.QUEUED}
    assert {row.published_at for row in rows.values()} == {jobs[0].published_at} != {None}
    assert rows_of(any_system, job_events) == len(jobs)
    assert any_system.runtime.jobs.events(ids[-1])[0].to_status is JobStatus.QUEUED


def test_row_is_what_was_returned(any_system: System) -> None:
    """Whatever some requests have and others have not."""
    plain, other = wanted(1), wanted(1, user_id="ada", name="b.bin", max_bytes=7, overwrite=True)
    full = wanted(
        1,
        mirrors=("http://127.0.0.1:9/mirror",),
        priority=Priority.LOW,
        checksum="md5:" + "a" * 32,
        max_attempts=9,
        max_rate=2048,
        connections=2,
        decode=True,
        secret_url=True,
        ignore_origin_digests=True,
    )
    jobs = submit(any_system, [*plain, *other, *full, *wanted(30)])
    rows = any_system.runtime.jobs.get_many([job.id for job in jobs])
    for job in jobs:
        row = rows[job.id]
        assert {name: getattr(job, name) for name in row.__slots__} == {
            name: getattr(row, name) for name in row.__slots__
        }
        single = tasks.submit(wanted_again(job), runtime=any_system.runtime)
        assert (single.id, single.is_new) == (job.id, False)


def wanted_again(job: SubmittedJob) -> DownloadRequest:
    names = set(DownloadRequest.model_fields) & set(job.__dataclass_fields__)
    return DownloadRequest(**{name: getattr(job, name) for name in names})


def test_repeated_requests_of_one_call_are_one_job(any_system: System) -> None:
    requests = wanted(300)
    earlier = submit(any_system, requests[::3])
    jobs = submit(any_system, [*requests, *reversed(requests)])
    assert [job.id for job in jobs[:300]] == [job.id for job in reversed(jobs[300:])]
    assert [job.id for job in jobs[:300:3]] == [job.id for job in earlier]
    assert sum(job.is_new for job in jobs) == 200
    assert not any(job.is_new for job in jobs[300:])
    assert all(job.published_at is not None for job in jobs)
    assert sorted(published(any_system)) == sorted({job.id for job in jobs})
    assert rows_of(any_system, job_events) == 300


def test_idempotency_keys_of_one_call(any_system: System) -> None:
    requests = [
        one.model_copy(update={"idempotency_key": f"k{n}"}) for n, one in enumerate(wanted(200))
    ]
    jobs = submit(any_system, [*requests, *requests[:50]])
    assert [job.id for job in jobs[200:]] == [job.id for job in jobs[:50]]
    assert rows_of(any_system, idempotency_keys) == 200
    for job in jobs[:3]:
        tasks.cancel(job.id, runtime=any_system.runtime)
    again = submit(any_system, requests)
    assert [job.id for job in again] == [job.id for job in jobs[:200]]
    assert not any(job.is_new for job in again)
    other = wanted(1, idempotency_key="k7")
    with pytest.raises(IdempotencyKeyReusedError):
        submit(any_system, [*wanted(50), *other, *wanted(50)])
    assert rows_of(any_system, job_events) == 203


#: A request that is refused where it is accepted, by what is wrong with it.
REFUSED: dict[str, Callable[[], DownloadRequest]] = {
    "outside": lambda: wanted(1)[0].model_copy(update={"directory": "/etc"}),
    "a file": lambda: wanted(1)[0].model_copy(update={"directory": "file"}),
    "in a file": lambda: wanted(1)[0].model_copy(update={"directory": "file/below"}),
    "a link": lambda: wanted(1)[0].model_copy(update={"directory": "link"}),
    "no key for its login": lambda: wanted(1, username="me")[0],
}


@pytest.mark.parametrize("what", REFUSED)
def test_one_bad_request_in_the_middle_writes_nothing(
    system: System, tmp_path: Path, what: str
) -> None:
    system.downloads.mkdir()
    (system.downloads / "file").write_text("")
    (system.downloads / "link").symlink_to(tmp_path)
    with pytest.raises(InvalidInputError):
        submit(system, [*wanted(100), REFUSED[what](), *wanted(100)])
    assert system.runtime.jobs.find() == []
    assert rows_of(system, job_events) == 0
    assert published(system) == []


def test_cost_does_not_grow_with_the_number_of_requests(
    any_system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of statements, and of looks at the disk."""
    statements: list[str] = []
    resolved: list[str] = []

    def resolve(root: Path, directory: str, *, allow_any: bool) -> Path:
        resolved.append(directory)
        return resolve_directory(root, directory, allow_any=allow_any)

    monkeypatch.setattr("worker.runtime.resolve_directory", resolve)
    engine = any_system.runtime.database.engine
    event.listen(engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    counts = []
    for number in (20, 1_000):
        statements.clear()
        submit(any_system, wanted(number))
        counts.append(len(statements))
    assert counts[0] == counts[1] < 8
    assert resolved == ["bulk", "bulk"]


def test_no_request_is_no_job(any_system: System) -> None:
    assert submit(any_system, []) == []


def test_without_broker_all_are_accepted_and_published_later(
    tmp_path: Path, private_store: StoreServer, migrated_url: str
) -> None:
    with System(tmp_path, private_store, database_url=migrated_url) as system:
        private_store.stop()
        jobs = submit(system, wanted(1_200))
        assert {job.published_at for job in jobs} == {None}
        private_store.start()
        age_jobs(system, seconds=PUBLISHING_GRACE + 1)
        assert maintenance.requeue_due(system.runtime) == len(jobs)
        assert published(system) == [job.id for job in jobs]
        assert maintenance.requeue_due(system.runtime) == 0


class FatalBroker(Broker):
    """Ends its process in place of publishing, as SIGKILL between the two commits does."""

    def publish(self, *_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def test_killed_before_publishing_is_published_after_the_grace(any_system: System) -> None:
    child = os.fork()
    if child == 0:
        with System(
            any_system.folder,
            any_system.store,
            database_url=any_system.variables["SEEN_DATABASE_URL"],
        ) as own:
            broker = FatalBroker(client_app(own.runtime.settings), timeout=5)
            tasks.submit_many(wanted(100), runtime=replace(own.runtime, broker=broker))
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    jobs = any_system.runtime.jobs.find(limit=200)
    assert len(jobs) == 100
    assert published(any_system) == []
    age_jobs(any_system, seconds=PUBLISHING_GRACE + 1)
    assert maintenance.requeue_due(any_system.runtime) == 100
    assert sorted(published(any_system)) == sorted(job.id for job in jobs)


def test_concurrent_calls_with_the_same_requests_make_each_once(any_system: System) -> None:
    requests = wanted(200)
    orders: Iterator[Sequence[DownloadRequest]] = iter([requests, requests[::-1]] * 4)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda some: submit(any_system, some), orders))
    assert {frozenset(job.id for job in jobs) for jobs in answers} == {
        frozenset(job.id for job in answers[0])
    }
    assert sum(job.is_new for jobs in answers for job in jobs) == 200
    assert sorted(published(any_system)) == sorted(job.id for job in answers[0])
