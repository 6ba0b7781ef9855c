"""Inserting jobs: each request gets a row of its own, or the job that exists for it already.

Two unique indexes make that safe for concurrent callers: one unfinished job a dedup key, one job an
idempotency key. A running job with a pending cancel no longer blocks an identical request, since it will
not complete; its idempotency keys stay with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from database.job_rows import COLUMNS, FIELDS, batches, event_row, to_job
from database.models import HOLDS_DEDUP_KEY, idempotency_keys, jobs
from database.operations.rows import insert_events
from domain.errors import DatabaseUnavailableError, IdempotencyKeyReusedError
from domain.job import Job

#: Between an INSERT and the SELECT of the job that holds the key, that job may finish or be cancelled,
#: and another one may be inserted.
_ROUNDS = 10


class ConcurrentInsertError(Exception):
    """A concurrent transaction used the same idempotency key: roll back, and try again."""


def insert_or_get(connection: Connection, new: Sequence[Job], keys: Mapping[str, str]) -> list[Job]:
    """Insert jobs whose requests are new; return for each its row or the existing job, in that order.

    Args:
        connection: in a transaction, which must be rolled back when this raises.
        new: jobs to insert; one without dedup key is never a duplicate.
        keys: idempotency keys by the id of the new job.

    Raises:
        IdempotencyKeyReusedError: a key belongs to a different request.
        ConcurrentInsertError: roll back, and try again.
    """
    jobs_by_key = _jobs_by_key(connection, set(keys.values()))
    dedup_keys = {key: job.dedup_key for key, job in jobs_by_key.items()}
    candidates: dict[str, Job] = {}
    for job in new:
        key = keys.get(job.id)
        if key is not None and dedup_keys.setdefault(key, job.dedup_key) != job.dedup_key:
            raise IdempotencyKeyReusedError(jobs_by_key[key].id if key in jobs_by_key else None)
        if key not in jobs_by_key:
            candidates.setdefault(_dedup_key(job), job)
    stored = _insert(connection, list(candidates.values()))
    answers = {
        job.id: jobs_by_key.get(keys.get(job.id, "")) or stored[_dedup_key(job)] for job in new
    }
    _store_keys(
        connection,
        {key: answers[job_id].id for job_id, key in keys.items() if key not in jobs_by_key},
    )
    return [answers[job.id] for job in new]


def _dedup_key(job: Job) -> str:
    return job.dedup_key or job.id


def _jobs_by_key(connection: Connection, keys: set[str]) -> dict[str, Job]:
    """Return the jobs that were submitted under these keys."""
    found: dict[str, Job] = {}
    for some in batches(sorted(keys)):
        query = (
            select(*COLUMNS, idempotency_keys.c.key)
            .join(idempotency_keys, idempotency_keys.c.job_id == jobs.c.id)
            .where(idempotency_keys.c.key.in_(some))
        )
        found |= {row.key: to_job(row[: len(COLUMNS)]) for row in connection.execute(query)}
    return found


def _insert(connection: Connection, wanted: Sequence[Job]) -> dict[str, Job]:
    """Insert jobs of different dedup keys; return by key each of them, or the existing one."""
    stored: dict[str, Job] = {}
    # In order of the keys: two callers with the same keys in different orders would deadlock.
    missing = sorted(wanted, key=_dedup_key)
    for _ in range(_ROUNDS):
        if not missing:
            return stored
        statement = _insert_unless_held(connection).returning(jobs.c.id)
        inserted = set(connection.execute(statement, [_row(job) for job in missing]).scalars())
        stored |= {_dedup_key(job): job for job in missing if job.id in inserted}
        events = [
            event_row(job, None, job.created_at, None) for job in missing if job.id in inserted
        ]
        insert_events(connection, events)
        stored |= _holders(
            connection, [_dedup_key(job) for job in missing if job.id not in inserted]
        )
        missing = [job for job in missing if _dedup_key(job) not in stored]
    raise DatabaseUnavailableError(
        "Could not insert because of concurrent changes to identical jobs; retry the request."
    )


def _holders(connection: Connection, dedup_keys: Sequence[str]) -> dict[str, Job]:
    found: dict[str, Job] = {}
    for some in batches(dedup_keys):
        query = select(*COLUMNS).where(jobs.c.dedup_key.in_(some), HOLDS_DEDUP_KEY)
        found |= {_dedup_key(job): job for job in map(to_job, connection.execute(query))}
    return found


def _store_keys(connection: Connection, job_ids: Mapping[str, str]) -> None:
    """Store idempotency keys, given with the ids of their jobs."""
    if not job_ids:
        return
    rows = [{"key": key, "job_id": job_id} for key, job_id in sorted(job_ids.items())]
    statement = _insert_of(connection)(idempotency_keys).on_conflict_do_nothing()
    inserted = connection.execute(statement.returning(idempotency_keys.c.key), rows).scalars()
    if len(inserted.all()) < len(rows):
        raise ConcurrentInsertError


def _row(job: Job) -> dict[str, Any]:
    # Not `asdict`: it copies every value, which takes longer than the rest of the insertion.
    values = {name: getattr(job, name) for name in FIELDS}
    values |= {"status": job.status.value, "priority": job.priority.value}
    # The column's former name, which has the unique index (revision 0007).
    return {**values, "flight": job.dedup_key}


def _insert_unless_held(connection: Connection) -> Any:
    """Return an INSERT that skips jobs whose dedup key another job holds."""
    return _insert_of(connection)(jobs).on_conflict_do_nothing(
        index_elements=[jobs.c.flight], index_where=HOLDS_DEDUP_KEY
    )


def _insert_of(connection: Connection) -> Any:
    """Return the dialect's INSERT, which has ON CONFLICT."""
    return postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
