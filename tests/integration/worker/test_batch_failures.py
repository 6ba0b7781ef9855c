"""Everything that is done in batches, by what may go wrong for one item: others are unharmed.

batch of                        | fence, row | text    | constraint, conflict, | refused | line lost,
                                |            |         | time-out, limit       |         | SQLite locked
claims, verifying, ends, notes  | its own    | its own | its own               | –       | all
consumed messages, free slots   | none       | –       | its own               | –       | all
locks, slots                    | –          | –       | –                     | its own | sent again
hashes, releases, places        | –          | –       | –                     | logged  | sent again
messages                        | –          | –       | –                     | its own | all

Lines to the store that are lost: `test_groups.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from sqlalchemy import delete, event, update

from cache import CacheManager
from cache.store.flow import Flow
from database import Database, JobRepository
from database.models import jobs as table
from domain.errors import DatabaseUnavailableError, StoreReplyError, StoreUnavailableError
from domain.job import Job, JobStatus, Priority
from tests.support.build import cache_manager, new_job
from tests.support.reporting import claimed, reporting, shown, tracked
from tests.support.services.slots import BlockingSlots
from tests.support.services.system import System
from tests.support.stores.batches import BAD, COUNT, KINDS, check_others, operation_of, stored_for
from tests.support.stores.refused_commands import RefusingProxy
from tests.support.stores.server import StoreServer
from worker.broker.queues import queue_of
from worker.leases.drain import Drain
from worker.leases.lease import LeaseManager
from worker.leases.stop_signal import StopSignal
from worker.progress.reporter import AttemptResult, ProgressReporter
from worker.publishing import Publication

S = JobStatus

# ── SQL ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["verifying", "end", "note"])
@pytest.mark.parametrize("gone", ["fence", "row"])
def test_a_lost_fence_or_row_is_that_items_alone(
    repo: JobRepository, database: Database, kind: str, gone: str
) -> None:
    jobs = stored_for(repo, kind)
    mine = table.c.id == jobs[BAD].id
    change = (
        update(table).where(mine).values(fence=9) if gone == "fence" else delete(table).where(mine)
    )
    with database.write() as connection:
        connection.execute(change)
    results = repo.perform([operation_of(kind, job) for job in jobs])
    assert results[BAD] in (None, False)
    check_others(repo, kind, jobs, results)


@pytest.mark.parametrize("kind", ["claim", "consumed", "slot"])
def test_a_deleted_row_is_that_items_alone(
    repo: JobRepository, database: Database, kind: str
) -> None:
    jobs = stored_for(repo, kind)
    with database.write() as connection:
        connection.execute(delete(table).where(table.c.id == jobs[BAD].id))
    results = repo.perform([operation_of(kind, job) for job in jobs])
    assert not results[BAD]
    check_others(repo, kind, jobs, results)


@pytest.mark.parametrize("kind", ["claim", "verifying", "end", "note"])
@pytest.mark.parametrize("text", ["a\0b", "\udc80", "x" * 100_000], ids=["NUL", "no text", "long"])
def test_a_text_that_the_database_refuses_is_that_items_alone(
    repo: JobRepository, kind: str, text: str
) -> None:
    jobs = stored_for(repo, kind)
    operations = [operation_of(kind, job) for job in jobs]
    operations[BAD] = operation_of(kind, jobs[BAD], text)
    results = repo.perform(operations)
    check_others(repo, kind, jobs, results)
    if isinstance(results[BAD], Exception):  # SQLite stores some of these
        assert repo.get(jobs[BAD].id) == jobs[BAD]


def _refuse(database: Database, kind: str, job: Job, code: str) -> None:
    """Let a trigger refuse what is written for one job, with an error's code on PostgreSQL."""
    written = "INSERT ON job_events" if kind == "note" else "UPDATE ON jobs"
    column = "job_id" if kind == "note" else "id"
    with database.write() as connection:
        if database.is_sqlite:
            connection.exec_driver_sql(
                f"CREATE TRIGGER refusing BEFORE {written} WHEN NEW.{column} = '{job.id}' "
                "BEGIN SELECT RAISE(ABORT, 'refused'); END"
            )
            return
        connection.exec_driver_sql(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"RAISE EXCEPTION 'refused' USING ERRCODE = '{code}'; END $$"
        )
        connection.exec_driver_sql(
            f"CREATE TRIGGER refusing BEFORE {written} FOR EACH ROW "
            f"WHEN (NEW.{column} = '{job.id}') EXECUTE FUNCTION refuse()"
        )


@pytest.fixture
def refuse(database: Database) -> Iterator[Callable[[str, Job, str], None]]:
    tables: list[str] = []

    def add(kind: str, job: Job, code: str) -> None:
        tables.append("job_events" if kind == "note" else "jobs")
        _refuse(database, kind, job, code)

    yield add
    with database.write() as connection:
        for name in tables:
            on = "" if database.is_sqlite else f" ON {name}"
            connection.exec_driver_sql(f"DROP TRIGGER refusing{on}")
            if not database.is_sqlite:
                connection.exec_driver_sql("DROP FUNCTION refuse()")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "code",
    ["23514", "40001", "40P01", "57014", "55P03", "54000"],
    ids=["check", "serialization", "deadlock", "time-out", "lock time-out", "limit"],
)
def test_a_constraint_a_conflict_or_a_time_out_is_that_items_alone(
    repo: JobRepository, refuse: Callable[[str, Job, str], None], kind: str, code: str
) -> None:
    jobs = stored_for(repo, kind)
    refuse(kind, jobs[BAD], code)
    results = repo.perform([operation_of(kind, job) for job in jobs])
    # What a constraint refuses for a job's new state is read again: None.
    assert results[BAD] is None or isinstance(results[BAD], Exception)
    check_others(repo, kind, jobs, results)
    assert repo.get(jobs[BAD].id) == jobs[BAD]


@pytest.mark.parametrize("kind", KINDS)
def test_a_lost_connection_writes_nothing_of_a_batch(
    repo: JobRepository, database: Database, kind: str
) -> None:
    jobs, seen = stored_for(repo, kind), list[str]()

    def lose(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith(("UPDATE", "INSERT")):
            seen.append(statement)
            connection.invalidate()
            raise OSError("the connection is gone")

    event.listen(database.engine, "before_cursor_execute", lose)
    try:
        with pytest.raises(DatabaseUnavailableError):
            repo.perform([operation_of(kind, job) for job in jobs])
    finally:
        event.remove(database.engine, "before_cursor_execute", lose)
    assert len(seen) == 1, "it is not tried one by one"
    assert [repo.get(job.id) for job in jobs] == jobs


# ── the store ───────────────────────────────────────────────────────────────────────────────────

HOST = "example.org"
DONE = AttemptResult(status=S.COMPLETED, path="/x/a.bin", sha256="a" * 64)


@dataclass
class Parts:
    """What a worker has of the store."""

    manager: CacheManager
    leases: LeaseManager
    slots: BlockingSlots
    reporter: ProgressReporter

    def lock(self, job: Job) -> Flow[Any]:
        return self.leases.acquire_flow(self.manager.download_lock(job.id), StopSignal(Drain()))

    def key(self, job: Job) -> str:
        return self.manager.keys.download_lock_key(job.id)

    def held(self) -> dict[str, int]:
        return self.manager.limits.slots(f"downloads:{HOST}")


def _lock(parts: Parts, job: Job) -> tuple[Flow[Any], Callable[[], bool]]:
    client: Any = parts.manager.client
    return parts.lock(job), lambda: client.exists(parts.key(job)) == 1


def _slot(parts: Parts, job: Job) -> tuple[Flow[Any], Callable[[], bool]]:
    return parts.slots.acquire_flow(job.id, HOST), lambda: job.id in parts.held()


def _hash(parts: Parts, job: Job) -> tuple[Flow[Any], Callable[[], bool]]:
    flow = parts.reporter.finish_flow(tracked(parts.reporter, job), DONE, persisted=True)
    return flow, lambda: shown(parts.manager, job).status is S.COMPLETED


def _release(parts: Parts, job: Job) -> tuple[Flow[Any], Callable[[], bool]]:
    lease, client = parts.manager.store.run(parts.lock(job)), parts.manager.client
    return parts.leases.release_flow(lease), lambda: client.exists(parts.key(job)) == 0


def _free_slot(parts: Parts, job: Job) -> tuple[Flow[Any], Callable[[], bool]]:
    flow = parts.slots.release_flow(parts.slots.acquire(job.id, HOST))
    return flow, lambda: job.id not in parts.held()


def _place(parts: Parts, job: Job) -> tuple[Flow[Any], Callable[[], bool]]:
    client, resource = parts.manager.client, f"user:{job.id}"
    key = parts.manager.keys.slots_key(resource)
    client.hset(key, job.id, "wait 1 99999999999999 here 0")
    flow = parts.slots.keep_place_flow((resource, job.id), 60)
    return flow, lambda: b" away " in client.hget(key, job.id)  # type: ignore[operator]


#: By name: the flow of a job and what shows that it is done; whether its caller gets the error.
STORE_KINDS = {
    "locks": (_lock, True),
    "slots": (_slot, True),
    "hashes": (_hash, False),
    "released locks": (_release, False),
    "freed slots": (_free_slot, False),
    "places": (_place, False),
}
REFUSALS = {
    "OOM command not allowed when used memory > 'maxmemory'.": StoreUnavailableError,
    "READONLY You can't write against a read only replica.": StoreUnavailableError,
    "LOADING Redis is loading the dataset in memory": StoreUnavailableError,
    "NOPERM this user has no permissions to access one of the keys": StoreUnavailableError,
    "WRONGTYPE Operation against a key holding the wrong kind of value": StoreReplyError,
}


@pytest.fixture(scope="module")
def refusing(request: pytest.FixtureRequest) -> Iterator[tuple[StoreServer, RefusingProxy]]:
    with StoreServer() as server:
        proxy = RefusingProxy(server.port)
        yield server, proxy
        proxy.close()


@pytest.fixture
def parts(refusing: tuple[StoreServer, RefusingProxy]) -> Iterator[Parts]:
    server, proxy = refusing
    with (
        cache_manager(server, cache_addr=proxy.addr) as manager,
        LeaseManager(ttl=60) as leases,
        BlockingSlots(manager.limits, per_host_connections=0, per_host_downloads=50) as slots,
        reporting(manager) as reporter,
    ):
        yield Parts(manager, leases, slots, reporter)


@pytest.mark.parametrize("kind", STORE_KINDS)
@pytest.mark.parametrize("message", REFUSALS, ids=lambda message: message.split()[0])
def test_a_refused_reply_of_a_pipeline_is_that_items_alone(
    refusing: tuple[StoreServer, RefusingProxy], parts: Parts, kind: str, message: str
) -> None:
    make, raises = STORE_KINDS[kind]
    jobs = [claimed() for _ in range(COUNT)]
    flows = [make(parts, job) for job in jobs]
    with refusing[1].refusing(jobs[BAD].id, message):
        results = parts.manager.store.run_together([flow for flow, _ in flows])
    assert isinstance(results[BAD], REFUSALS[message]) is raises, results[BAD]
    assert not [one for n, one in enumerate(results) if n != BAD and isinstance(one, Exception)]
    assert all(is_done() for n, (_, is_done) in enumerate(flows) if n != BAD)


# ── messages ────────────────────────────────────────────────────────────────────────────────────


def test_a_queue_of_another_type_leaves_the_messages_of_others(any_system: System) -> None:
    repo, client = any_system.runtime.jobs, any_system.store.client(db=1)
    jobs = [new_job(priority=Priority.HIGH if n == BAD else Priority.NORMAL) for n in range(COUNT)]
    repo.add(jobs)
    client.set(queue_of(Priority.HIGH), "x")
    publish = any_system.runtime.publisher.publish_all
    assert publish([Publication(job) for job in jobs]) == [None] * COUNT
    stored = repo.get_many([job.id for job in jobs])
    assert [stored[job.id].published_at is None for job in jobs] == [n == BAD for n in range(COUNT)]
    assert any_system.runtime.publisher.publish([jobs[BAD]]) is None, "the broker took none"
    client.delete(queue_of(Priority.HIGH))
    assert any_system.runtime.publisher.publish([replace(jobs[BAD])]) is not None
    assert repo.get(jobs[BAD].id).published_at is not None


def test_a_broker_without_answer_marks_none_as_published(any_system: System) -> None:
    repo, jobs = any_system.runtime.jobs, [new_job() for _ in range(COUNT)]
    repo.add(jobs)
    with any_system.store.client() as client:
        client.config_set("maxmemory", "1")
        try:
            any_system.runtime.publisher.publish_all([Publication(job) for job in jobs])
        finally:
            client.config_set("maxmemory", "0")
    assert {repo.get(job.id).published_at for job in jobs} == {None}
