"""Accepting jobs: each becomes a row, or is told which job it is the same as.

Two unique indexes make that safe for callers who submit at the same moment: one living job a flight, one
job an idempotency key. A running job that is being cancelled holds its flight no more: it will bring
nobody a file. Its keys stay with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from database.job_rows import COLUMNS, FIELDS, batches, event_row, to_job
from database.models import FLYING, idempotency_keys, job_events, jobs
from domain.errors import DatabaseUnavailableError, IdempotencyKeyReusedError
from domain.job import Job

#: Between two looks at a living twin it may end or be cancelled, and another one begin.
_ROUNDS = 10


class RacedError(Exception):
    """Somebody else used the same key at this moment: roll back, and begin anew."""


def accept(connection: Connection, new: Sequence[Job], keys: Mapping[str, str]) -> list[Job]:
    """Insert those of `new` that are new; return for each the job that stands for it, in that order.

    Args:
        connection: in a transaction, which must be rolled back when this raises.
        new: jobs to be; those without a flight are like no other.
        keys: idempotency keys by the id of the new job.

    Raises:
        IdempotencyKeyReusedError: a key belongs to a job that asks for something else.
        RacedError: begin anew.
    """
    owners = _owners(connection, set(keys.values()))
    flights = {key: owner.flight for key, owner in owners.items()}
    leaders: dict[str, Job] = {}
    for job in new:
        key = keys.get(job.id)
        if key is not None and flights.setdefault(key, job.flight) != job.flight:
            raise IdempotencyKeyReusedError(owners[key].id if key in owners else None)
        if key not in owners:
            leaders.setdefault(_flight(job), job)
    stored = _insert(connection, list(leaders.values()))
    answers = {job.id: owners.get(keys.get(job.id, "")) or stored[_flight(job)] for job in new}
    _remember(
        connection, {key: answers[job_id].id for job_id, key in keys.items() if key not in owners}
    )
    return [answers[job.id] for job in new]


def _flight(job: Job) -> str:
    return job.flight or job.id


def _owners(connection: Connection, keys: set[str]) -> dict[str, Job]:
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
    """Insert jobs of different flights; return by flight each of them, or the one that is there."""
    stored: dict[str, Job] = {}
    # Two callers who bring the same in different orders would wait for each other.
    missing = sorted(wanted, key=_flight)
    for _ in range(_ROUNDS):
        if not missing:
            return stored
        statement = _insert_unless_flying(connection).returning(jobs.c.id)
        inserted = set(connection.execute(statement, [_row(job) for job in missing]).scalars())
        stored |= {_flight(job): job for job in missing if job.id in inserted}
        events = [
            event_row(job, None, job.status, job.created_at, None)
            for job in missing
            if job.id in inserted
        ]
        if events:
            connection.execute(insert(job_events), events)
        stored |= _flying(connection, [_flight(job) for job in missing if job.id not in inserted])
        missing = [job for job in missing if _flight(job) not in stored]
    raise DatabaseUnavailableError("The same jobs end and begin all the time; submit them again.")


def _flying(connection: Connection, flights: Sequence[str]) -> dict[str, Job]:
    found: dict[str, Job] = {}
    for some in batches(flights):
        query = select(*COLUMNS).where(jobs.c.flight.in_(some), FLYING)
        found |= {_flight(job): job for job in map(to_job, connection.execute(query))}
    return found


def _remember(connection: Connection, owners: Mapping[str, str]) -> None:
    """Note which job a key belongs to from now on."""
    if not owners:
        return
    rows = [{"key": key, "job_id": job_id} for key, job_id in sorted(owners.items())]
    statement = _insert_of(connection)(idempotency_keys).on_conflict_do_nothing()
    inserted = connection.execute(statement.returning(idempotency_keys.c.key), rows).scalars()
    if len(inserted.all()) < len(rows):
        raise RacedError


def _row(job: Job) -> dict[str, Any]:
    # Not `asdict`: it copies every value, which takes longer than all the rest of accepting a job.
    values = {name: getattr(job, name) for name in FIELDS}
    return {**values, "status": job.status.value, "priority": job.priority.value}


def _insert_unless_flying(connection: Connection) -> Any:
    """Return an INSERT that leaves out jobs whose flight another one holds."""
    return _insert_of(connection)(jobs).on_conflict_do_nothing(
        index_elements=[jobs.c.flight], index_where=FLYING
    )


def _insert_of(connection: Connection) -> Any:
    """Return the INSERT that knows ON CONFLICT; each dialect has its own."""
    return postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
