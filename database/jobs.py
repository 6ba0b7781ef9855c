"""Jobs in SQL. Every change of state is a compare-and-set, written together with its event."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    func,
    insert,
    select,
    update,
)

from database.engine import Database
from database.job_rows import (
    CLAIM,
    COLUMNS,
    INSERT_EVENT,
    MARK_PUBLISHED,
    NOTE_EVENT,
    RUNNING_NAMES,
    SAVE_PROGRESS,
    ProgressRow,
    change_statement,
    event_row,
    to_job,
    to_job_event,
)
from database.models import job_events, jobs
from domain.errors import UnknownJobError
from domain.job import FINISHED, RUNNING, TRANSITIONS, Job, JobEvent, JobStatus

#: Ids that one statement names at most; PostgreSQL takes 65,535 parameters, SQLite 32,766.
BATCH = 5_000

#: The error codes of jobs that wait for a place: at their host, among those of their user.
HOST_BUSY, USER_BUSY = "host_busy", "user_busy"


class JobRepository:
    """The `jobs` table and its audit trail. Methods raise DatabaseUnavailableError without database.

    Times are given by the caller, aware, so that one clock rules a decision.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    # ── new jobs, and reading ───────────────────────────────────────────────────────────────────

    def add(self, new: Sequence[Job]) -> None:
        """Store new jobs, all or none."""
        if not new:
            return
        rows = [{**asdict(job), "status": job.status.value} for job in new]
        events = [event_row(job, None, job.status, job.created_at, None) for job in new]
        with self._database.write() as connection:
            connection.execute(insert(jobs), rows)
            connection.execute(insert(job_events), events)

    def get(self, job_id: str) -> Job:
        """Return one job; raise UnknownJobError when there is none."""
        if not _can_exist(job_id):
            raise UnknownJobError(job_id)
        with self._database.read() as connection:
            row = connection.execute(select(*COLUMNS).where(jobs.c.id == job_id)).first()
        if row is None:
            raise UnknownJobError(job_id)
        return to_job(row)

    def get_many(self, job_ids: Sequence[str]) -> dict[str, Job]:
        """Return the jobs there are of `job_ids`."""
        known = [job_id for job_id in job_ids if _can_exist(job_id)]
        if not known:
            return {}
        found: dict[str, Job] = {}
        with self._database.read() as connection:
            for some in _batches(known):
                rows = connection.execute(select(*COLUMNS).where(jobs.c.id.in_(some)))
                found |= {row.id: to_job(row) for row in rows}
        return found

    def find(
        self,
        *,
        status: JobStatus | None = None,
        user_id: str | None = None,
        before_id: str | None = None,
        limit: int = 50,
    ) -> list[Job]:
        """Return jobs, the newest first; `before_id` continues after the last one of a page."""
        query = select(*COLUMNS).order_by(jobs.c.id.desc()).limit(limit)
        if status is not None:
            query = query.where(jobs.c.status == status.value)
        if user_id is not None:
            query = query.where(jobs.c.user_id == user_id)
        if before_id is not None:
            query = query.where(jobs.c.id < before_id)
        with self._database.read() as connection:
            return [to_job(row) for row in connection.execute(query)]

    def count_by_status(self) -> dict[JobStatus, int]:
        """Return how many jobs stand in each state."""
        query = select(jobs.c.status, func.count()).group_by(jobs.c.status)
        with self._database.read() as connection:
            return {JobStatus(status): count for status, count in connection.execute(query)}

    def events(self, job_id: str) -> list[JobEvent]:
        """Return the audit trail of one job, the oldest first."""
        if not _can_exist(job_id):
            return []
        columns = [job_events.c[field.name] for field in fields(JobEvent)]
        query = select(*columns).where(job_events.c.job_id == job_id).order_by(job_events.c.id)
        with self._database.read() as connection:
            return [to_job_event(row) for row in connection.execute(query)]

    # ── changes of state ────────────────────────────────────────────────────────────────────────

    def claim(self, job_id: str, *, worker: str, now: datetime) -> Job | None:
        """Take a queued job: one winner, who gets the next fence. None when it is not queued."""
        if not _can_exist(job_id):
            return None
        parameters = {"b_id": job_id, "b_worker": worker, "b_now": now}

        def work(connection: Connection) -> Job | None:
            row = connection.execute(CLAIM, parameters).first()
            if row is None:
                return None
            job = to_job(row)
            event = event_row(job, JobStatus.QUEUED, JobStatus.DOWNLOADING, now, None)
            connection.execute(INSERT_EVENT, event)
            return job

        return self._database.transact(work)

    def transition(
        self,
        job: Job,
        to: JobStatus,
        *,
        now: datetime,
        reason: str | None = None,
        changes: Mapping[str, Any] | None = None,
    ) -> Job | None:
        """Change the state of `job` if it still is as given, in state and fence; None if it is not.

        A running job that is to go on later, and that a person has asked to stop meanwhile, is stopped
        instead: the word may not have reached its worker. The job that is returned says what it is now.

        Args:
            job: as read; its status and fence are compared.
            to: the new state; a change that `domain.job.TRANSITIONS` lacks is a programming error.
            reason: goes into the event, and into the job where the state asks for one.
            changes: further columns to set.
        """
        if to not in TRANSITIONS[job.status]:
            raise ValueError(f"{job.status} → {to} is not a transition")
        values: dict[str, Any] = {"updated_at": now, "reason": reason, "error_code": None}
        values |= changes or {}
        if to not in RUNNING:
            # Until then it is owed: the store may have lost the word to the worker.
            values["control"] = None
        if to in FINISHED:
            values["finished_at"] = now
        if to is JobStatus.COMPLETED:
            values["secrets"] = None  # nobody needs them any more
        if to is JobStatus.QUEUED:
            values |= {"published_at": None, "finished_at": None, "next_attempt_at": None}
        return self._change(job, to, values, reason)

    def _change(
        self, before: Job, to: JobStatus, values: Mapping[str, Any], reason: str | None
    ) -> Job | None:
        """Compare-and-set on state and fence, with its event."""
        goes_on = to in {JobStatus.QUEUED, JobStatus.WAITING, JobStatus.PAUSED}
        obey = goes_on and before.status in RUNNING
        statement = change_statement(tuple(values), obey=obey)
        parameters = {
            **values,
            "b_to": to.value,
            "b_now": values["updated_at"],
            "b_id": before.id,
            "b_source": before.status.value,
            "b_fence": before.fence,
        }

        def work(connection: Connection) -> Job | None:
            row = connection.execute(statement, parameters).first()
            if row is None:
                return None
            job = to_job(row)
            event = event_row(job, before.status, job.status, values["updated_at"], reason)
            connection.execute(INSERT_EVENT, event)
            return job

        return self._database.transact(work)

    def request_control(self, job: Job, word: str) -> bool:
        """Note on a running job that a person wants it to "pause" or "cancel"; False if it moved on."""
        statement = (
            update(jobs)
            .where(jobs.c.id == job.id, jobs.c.fence == job.fence, jobs.c.status.in_(RUNNING_NAMES))
            .values(control=word)
        )
        with self._database.write() as connection:
            return connection.execute(statement).rowcount == 1

    def note(self, job: Job, reason: str, *, now: datetime) -> bool:
        """Write into the audit trail what happened to a job without changing its state.

        False, and nothing written, when a newer claim owns it.
        """
        parameters = {"b_id": job.id, "b_fence": job.fence, "b_now": now, "b_reason": reason}
        return self._database.transact(
            lambda connection: connection.execute(NOTE_EVENT, parameters).first() is not None
        )

    # ── publishing, waiting, orphans ────────────────────────────────────────────────────────────

    def mark_published(self, job_ids: Sequence[str], now: datetime) -> None:
        """Note that the broker has a message for these jobs."""
        if not job_ids:
            return
        # Row by row and in order of id, as every statement on many rows: two that take the same rows in
        # different orders would wait for each other.
        rows = [{"b_id": job_id, "published_at": now} for job_id in sorted(job_ids)]
        self._database.transact(lambda connection: connection.execute(MARK_PUBLISHED, rows))

    def mark_unpublished(self, job_id: str) -> None:
        """Note that a queued job's message was spent without effect, so that it gets another."""
        with self._database.write() as connection:
            connection.execute(
                update(jobs)
                .where(jobs.c.id == job_id, jobs.c.status == JobStatus.QUEUED.value)
                .values(published_at=None)
            )

    def wake_due(self, now: datetime, limit: int = 500) -> list[str]:
        """Queue the waiting jobs whose time has come; return their ids, to be published."""
        due = (
            select(jobs.c.id)
            .where(jobs.c.status == JobStatus.WAITING.value, jobs.c.next_attempt_at <= now)
            .order_by(jobs.c.next_attempt_at)
            .limit(limit)
        )
        with self._database.write() as connection:
            return self._requeue(connection, due, JobStatus.WAITING, now, "its waiting is over")

    def wake_host(self, host: str, limit: int, now: datetime) -> list[str]:
        """Queue the longest waiting jobs that wait for a place at this host; return their ids."""
        return self._wake_for_place(jobs.c.host == host, HOST_BUSY, limit, now, f"{host} has room")

    def wake_user(self, user_id: str, limit: int, now: datetime) -> list[str]:
        """Queue the longest waiting jobs that wait for a place among their user's; return their ids."""
        return self._wake_for_place(
            jobs.c.user_id == user_id, USER_BUSY, limit, now, "its user has room"
        )

    def _wake_for_place(
        self, whose: ColumnElement[bool], code: str, limit: int, now: datetime, reason: str
    ) -> list[str]:
        waiting = (
            select(jobs.c.id)
            .where(whose, jobs.c.status == JobStatus.WAITING.value, jobs.c.error_code == code)
            .order_by(jobs.c.id)
            .limit(limit)
            # Two places that become free at once are for two jobs.
            .with_for_update(skip_locked=True)
        )
        # Mostly nobody waits: a look takes nobody's turn to write.
        look = select(jobs.c.id).where(whose, jobs.c.status == JobStatus.WAITING.value).limit(1)
        with self._database.read() as connection:
            if connection.execute(look).first() is None:
                return []
        with self._database.write() as connection:
            # By a statement of its own: PostgreSQL may run a subquery once for each row, and each run
            # would pass by what is locked and updated already, until nobody is left waiting.
            longest = connection.execute(waiting).scalars().all()
            chosen = select(jobs.c.id).where(jobs.c.id.in_(longest))
            return sorted(self._requeue(connection, chosen, JobStatus.WAITING, now, reason))

    def running_since(self, quiet_since: datetime, limit: int = 1000) -> list[Job]:
        """Return running jobs of which nothing was heard since `quiet_since`, the quietest first."""
        query = (
            select(*COLUMNS)
            .where(jobs.c.status.in_(RUNNING_NAMES), jobs.c.updated_at <= quiet_since)
            .order_by(jobs.c.updated_at)
            .limit(limit)
        )
        with self._database.read() as connection:
            return [to_job(row) for row in connection.execute(query)]

    def unpublished(self, before: datetime, limit: int = 1000) -> list[str]:
        """Return queued jobs that nobody published by `before`, the oldest first."""
        return self._queued(jobs.c.published_at.is_(None) & (jobs.c.updated_at <= before), limit)

    def published_before(self, before: datetime, limit: int = 1000) -> list[str]:
        """Return queued jobs whose message went out before `before`, the oldest first."""
        return self._queued(jobs.c.published_at <= before, limit)

    def with_control(self, limit: int = 1000) -> list[Job]:
        """Return running jobs that were asked to pause or cancel and have not yet."""
        query = (
            select(*COLUMNS)
            .where(jobs.c.status.in_(RUNNING_NAMES), jobs.c.control.is_not(None))
            .limit(limit)
        )
        with self._database.read() as connection:
            return [to_job(row) for row in connection.execute(query)]

    def _queued(self, condition: ColumnElement[bool], limit: int) -> list[str]:
        query = (
            select(jobs.c.id)
            .where(jobs.c.status == JobStatus.QUEUED.value, condition)
            .order_by(jobs.c.id)
            .limit(limit)
        )
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())

    def _requeue(
        self, connection: Connection, which: Any, source: JobStatus, now: datetime, reason: str
    ) -> list[str]:
        rows = connection.execute(
            update(jobs)
            .where(jobs.c.id.in_(which.scalar_subquery()), jobs.c.status == source.value)
            .values(
                status=JobStatus.QUEUED.value,
                updated_at=now,
                published_at=None,
                next_attempt_at=None,
            )
            .returning(*COLUMNS)
        ).all()
        woken = [to_job(row) for row in rows]
        if woken:
            events = [event_row(job, source, JobStatus.QUEUED, now, reason) for job in woken]
            connection.execute(insert(job_events), events)
        return [job.id for job in woken]

    # ── progress ────────────────────────────────────────────────────────────────────────────────

    def save_progress(self, rows: Sequence[ProgressRow], now: datetime) -> None:
        """Bring the progress of running jobs forward; an older version changes nothing."""
        if not rows:
            return
        # In order of id, so that two savers cannot wait for each other.
        parameters = [
            {
                "b_id": row.job_id,
                "b_version": row.version,
                "b_claim": row.version >> 32,
                "bytes_downloaded": row.bytes_downloaded,
                "bytes_durable": row.bytes_durable,
                "bytes_total": row.bytes_total,
                "speed_mbps": row.speed_mbps,
                "progress_version": row.version,
                "updated_at": min(now, row.heard_at),
            }
            for row in sorted(rows, key=lambda row: row.job_id)
        ]
        self._database.transact(lambda connection: connection.execute(SAVE_PROGRESS, parameters))


def _can_exist(job_id: str) -> bool:
    """Say whether a database could hold this id at all: NUL and what is no Unicode text are refused."""
    return job_id.isprintable()


def _batches(job_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(job_ids), BATCH):
        yield job_ids[start : start + BATCH]
