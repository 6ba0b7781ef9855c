"""Inserting jobs: each request gets a row of its own, or the job that exists for it already.

Two unique indexes make that safe for concurrent callers: one unfinished job a dedup key, one job an
idempotency key. A running job with a pending cancel no longer blocks an identical request, since it will
not complete; its idempotency keys stay with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, select

from database.insertion.columns import insert_columns
from database.job_rows import COLUMNS, batches, event_row, to_job
from database.models import HOLDS_DEDUP_KEY, idempotency_keys, jobs
from database.operations.rows import insert_events
from domain.errors import DatabaseUnavailableError, IdempotencyKeyReusedError
from domain.job import Job, Priority

#: Between an INSERT and the SELECT of the job that holds the key, that job may finish or be cancelled,
#: and another one may be inserted.
_ROUNDS = 10
#: Skips jobs whose dedup key another job holds.
_UNLESS_HELD = f"ON CONFLICT (flight) WHERE {HOLDS_DEDUP_KEY} DO NOTHING"
#: How to read each column of a new row from its job, and the value that it has by default.
_FIELDS = {
    **{field.name: (attrgetter(field.name), field.default) for field in fields(Job)},
    "status": (attrgetter("status.value"), MISSING),
    "priority": (attrgetter("priority.value"), Priority.NORMAL.value),
}


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
        inserted = _insert_unless_held(connection, missing)
        stored |= {_dedup_key(job): job for job in inserted}
        if len(inserted) == len(missing):
            return stored
        held = [key for key in map(_dedup_key, missing) if key not in stored]
        stored |= _holders(connection, held)
        missing = [job for job in missing if _dedup_key(job) not in stored]
    raise DatabaseUnavailableError(
        "Could not insert because of concurrent changes to identical jobs; retry the request."
    )


def _insert_unless_held(connection: Connection, wanted: Sequence[Job]) -> Sequence[Job]:
    """Insert jobs with their first event; return those whose dedup key no other job held."""
    inserted = wanted
    count = insert_columns(connection, jobs, dict(_columns(wanted)), _UNLESS_HELD)
    if count < len(wanted):
        ids = _existing(connection, [job.id for job in wanted])
        inserted = [job for job in wanted if job.id in ids]
    insert_events(connection, [event_row(job, None, job.created_at, None) for job in inserted])
    return inserted


def _columns(some: Sequence[Job]) -> Iterator[tuple[str, Sequence[Any]]]:
    """Yield the columns of new rows, without those in which every row has the default."""
    for name, (get, default) in _FIELDS.items():
        values = list(map(get, some))
        if values.count(default) < len(values):
            yield name, values
            if name == "dedup_key":
                # The column's former name, which has the unique index (revision 0007).
                yield "flight", values


def _existing(connection: Connection, ids: Sequence[str]) -> set[str]:
    return {
        job_id
        for some in batches(ids)
        for job_id in connection.execute(select(jobs.c.id).where(jobs.c.id.in_(some))).scalars()
    }


def _holders(connection: Connection, dedup_keys: Sequence[str]) -> dict[str, Job]:
    found: dict[str, Job] = {}
    for some in batches(dedup_keys):
        query = select(*COLUMNS).where(jobs.c.flight.in_(some), HOLDS_DEDUP_KEY)
        found |= {_dedup_key(job): job for job in map(to_job, connection.execute(query))}
    return found


def _store_keys(connection: Connection, job_ids: Mapping[str, str]) -> None:
    """Store idempotency keys, given with the ids of their jobs."""
    if not job_ids:
        return
    # In order, as dedup keys are.
    columns = {"key": sorted(job_ids), "job_id": [job_ids[key] for key in sorted(job_ids)]}
    stored = insert_columns(connection, idempotency_keys, columns, "ON CONFLICT DO NOTHING")
    if stored < len(job_ids):
        raise ConcurrentInsertError
