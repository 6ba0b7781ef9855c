"""Reading jobs and their histories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime

from sqlalchemy import ColumnElement, CompoundSelect, Select, func, select, tuple_, union_all

from database.engine import Database
from database.job_rows import (
    COLUMNS,
    RUNNING_NAMES,
    UNFINISHED_NAMES,
    batches,
    to_job,
    to_job_event,
)
from database.models import HOLDS_DEDUP_KEY, REQUEUED, job_events, jobs
from domain.errors import UnknownJobError
from domain.job import (
    FINISHED,
    RUNNING,
    UNFINISHED,
    Job,
    JobEvent,
    JobFilter,
    JobStatus,
    Priority,
    QueuedJob,
)

EVERY_JOB = JobFilter()

#: The order of an overview; finished jobs follow.
_UNFINISHED_IN_ORDER = (
    RUNNING,
    frozenset({JobStatus.WAITING}),
    frozenset({JobStatus.QUEUED}),
    frozenset({JobStatus.PAUSED}),
)


class JobQueries:
    """Reads the `jobs` table and the histories. Methods raise DatabaseUnavailableError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # ── jobs by id, by filter ───────────────────────────────────────────────────────────────────

    def get(self, job_id: str) -> Job:
        """Return one job; raise UnknownJobError when it does not exist."""
        job = self.get_many([job_id]).get(job_id)
        if job is None:
            raise UnknownJobError(job_id)
        return job

    def get_many(self, job_ids: Sequence[str]) -> dict[str, Job]:
        """Return by id those of `job_ids` that exist."""
        known = [job_id for job_id in job_ids if is_storable(job_id)]
        if not known:
            return {}
        found: dict[str, Job] = {}
        with self._database.read() as connection:
            for some in batches(known):
                rows = connection.execute(select(*COLUMNS).where(jobs.c.id.in_(some)))
                found |= {row.id: to_job(row) for row in rows}
        return found

    def with_prefix(self, first_id: str, last_id: str, *, limit: int) -> list[Job]:
        """Return the jobs with an id in this range, both ends included, the newest first."""
        in_range = jobs.c.id.between(first_id, last_id)
        return self._jobs(select(*COLUMNS).where(in_range).order_by(jobs.c.id.desc()).limit(limit))

    def neighbours(self, job_ids: Sequence[str]) -> dict[str, list[str]]:
        """Return by id the ids before and after it, of all jobs there are."""
        job, before, after = jobs.alias(), jobs.alias(), jobs.alias()
        previous = select(func.max(before.c.id)).where(before.c.id < job.c.id).scalar_subquery()
        following = select(func.min(after.c.id)).where(after.c.id > job.c.id).scalar_subquery()
        found: dict[str, list[str]] = {}
        with self._database.read() as connection:
            for some in batches(job_ids):
                query = select(job.c.id, previous, following).where(job.c.id.in_(some))
                for job_id, *others in connection.execute(query):
                    found[job_id] = [one for one in others if one is not None]
        return found

    def find(
        self,
        where: JobFilter = EVERY_JOB,
        *,
        statuses: Sequence[JobStatus] | None = None,
        before_id: str | None = None,
        limit: int = 50,
    ) -> list[Job]:
        """Return jobs, the newest first.

        Args:
            where: which jobs.
            statuses: only in one of these states.
            before_id: the last job of the page before.
            limit: how many at most.
        """
        query = select(*COLUMNS).order_by(jobs.c.id.desc()).limit(limit)
        query = query.where(*_conditions(where))
        if statuses is not None:
            query = query.where(jobs.c.status.in_([status.value for status in statuses]))
        if before_id is not None:
            query = query.where(jobs.c.id < before_id)
        return self._jobs(query)

    def count_ahead(self, job: Job) -> tuple[int, int]:
        """Return how many older jobs run, and how many are queued that usually start before this one."""
        as_urgent = [one.value for one in Priority if one.is_as_urgent_as(job.priority)]
        is_queued = jobs.c.status == JobStatus.QUEUED.value
        is_ahead = is_queued & (jobs.c.priority.in_(as_urgent) | jobs.c.requeued)
        query = (
            select(jobs.c.status, func.count())
            .where(jobs.c.status.in_(RUNNING_NAMES) | is_ahead, jobs.c.id < job.id)
            .group_by(jobs.c.status)
        )
        with self._database.read() as connection:
            counts = {str(status): int(count) for status, count in connection.execute(query)}
        queued = counts.pop(JobStatus.QUEUED.value, 0)
        return sum(counts.values()), queued

    def overview(self, where: JobFilter = EVERY_JOB, *, limit: int = 50) -> list[Job]:
        """Return running jobs, then waiting, queued and paused ones, then the last finished ones.

        Within each of these the newest are first. One statement reads them all, so that a job that
        changes its state meanwhile is neither missing nor there twice.
        """
        parts = [
            select(*COLUMNS)
            .where(jobs.c.status.in_([status.value for status in group]), *_conditions(where))
            .order_by(jobs.c.id.desc())
            for group in _UNFINISHED_IN_ORDER
            if where.status is None or where.status in group
        ]
        # By the index on `finished_at`; one on the status would give all finished jobs to be sorted.
        finished = jobs.c.finished_at.is_not(None) & jobs.c.status.not_in(UNFINISHED_NAMES)
        if where.status is None or where.status in FINISHED:
            parts.append(
                select(*COLUMNS)
                .where(finished, *_conditions(where))
                .order_by(jobs.c.finished_at.desc(), jobs.c.id.desc())
            )
        some = (select(part.limit(limit).subquery()) for part in parts)
        found = {job.id: job for job in self._jobs(union_all(*some))}
        return sorted(found.values(), key=_overview_key)[:limit]

    def count_by_status(self) -> dict[JobStatus, int]:
        """Return the number of jobs in each state that has any."""
        query = select(jobs.c.status, func.count()).group_by(jobs.c.status)
        with self._database.read() as connection:
            return {JobStatus(status): count for status, count in connection.execute(query)}

    def has_queued_of_others(self, column: str, value: str) -> bool:
        """Return whether a queued job has another value, or none, in ``host`` or ``user_id``."""
        field = jobs.c[column]
        # Ranges instead of an inequality, since an index answers those.
        queries = [
            select(jobs.c.id).where(jobs.c.status == JobStatus.QUEUED.value, other).limit(1)
            for other in (field < value, field > value, field.is_(None))
        ]
        with self._database.read() as connection:
            return any(connection.execute(query).first() is not None for query in queries)

    def active_duplicate(self, job: Job) -> str | None:
        """Return the id of another job that holds this one's dedup key."""
        query = select(jobs.c.id).where(
            jobs.c.dedup_key == job.dedup_key, HOLDS_DEDUP_KEY, jobs.c.id != job.id
        )
        with self._database.read() as connection:
            return connection.execute(query).scalar()

    # ── histories ───────────────────────────────────────────────────────────────────────────────

    def events(self, job_id: str) -> list[JobEvent]:
        """Return the history of one job, the oldest event first."""
        if not is_storable(job_id):
            return []
        columns = [job_events.c[field.name] for field in fields(JobEvent)]
        query = select(*columns).where(job_events.c.job_id == job_id).order_by(job_events.c.id)
        with self._database.read() as connection:
            return [to_job_event(row) for row in connection.execute(query)]

    def last_workers(self, job_ids: Sequence[str]) -> dict[str, str]:
        """Return by job id the worker that claimed the job last."""
        found: dict[str, str] = {}
        with self._database.read() as connection:
            for some in batches(job_ids):
                query = (
                    select(job_events.c.job_id, job_events.c.worker)
                    .where(job_events.c.job_id.in_(some), job_events.c.worker.is_not(None))
                    .order_by(job_events.c.id)  # the last one wins
                )
                found |= {row.job_id: row.worker for row in connection.execute(query)}
        return found

    # ── for periodic tasks, page by page ────────────────────────────────────────────────────────

    def running_not_updated_since(
        self, since: datetime, *, after: Job | None = None, limit: int = 1000
    ) -> list[Job]:
        """Return running jobs without an update after `since`, the longest silent first.

        `after` is the last job of the page before.
        """
        query = (
            select(*COLUMNS)
            .where(jobs.c.status.in_(RUNNING_NAMES), jobs.c.updated_at <= since)
            .order_by(jobs.c.updated_at, jobs.c.id)
            .limit(limit)
        )
        if after is not None:
            position = tuple_(jobs.c.updated_at, jobs.c.id)
            query = query.where(position > tuple_(after.updated_at, after.id))
        return self._jobs(query)

    def pending_controls(self, limit: int = 1000) -> list[Job]:
        """Return running jobs whose worker has not yet honored a pause or cancel."""
        return self._jobs(
            select(*COLUMNS)
            .where(jobs.c.status.in_(RUNNING_NAMES), jobs.c.control.is_not(None))
            .limit(limit)
        )

    def inactive_with_progress(self, after_id: str, limit: int = 1000) -> list[Job]:
        """Return queued, waiting and paused jobs with durable bytes, in order of their ids."""
        return self._jobs(
            select(*COLUMNS)
            .where(
                jobs.c.status.in_([status.value for status in UNFINISHED - RUNNING]),
                jobs.c.bytes_durable > 0,
                jobs.c.id > after_id,
            )
            .order_by(jobs.c.id)
            .limit(limit)
        )

    def unpublished(
        self, before: datetime, *, after_id: str = "", limit: int = 1000
    ) -> list[QueuedJob]:
        """Return jobs that were queued by `before` and have no message, in order of their ids."""
        every = [priority.value for priority in Priority]  # so that the index is used
        waiting = jobs.c.published_at.is_(None) & (jobs.c.updated_at <= before)
        return self._queued(jobs.c.priority.in_(every) & waiting, after_id, limit)

    def published_before(
        self,
        before: datetime,
        priority: Priority | None,
        *,
        after_id: str = "",
        limit: int = 1000,
    ) -> list[QueuedJob]:
        """Return queued jobs whose last message was sent by `before`, in order of their ids.

        Args:
            before: the latest time of the message.
            priority: only messages to this priority's queue; None for the queue for requeued jobs.
            after_id: the last job of the page before.
            limit: how many at most.
        """
        old = jobs.c.published_at <= before
        if priority is None:
            return self._queued(REQUEUED & old, after_id, limit)
        in_queue = (jobs.c.priority == priority.value) & ~jobs.c.requeued
        return self._queued(in_queue & old, after_id, limit)

    def _queued(self, condition: ColumnElement[bool], after_id: str, limit: int) -> list[QueuedJob]:
        query = (
            select(jobs.c.id, jobs.c.priority, jobs.c.updated_at)
            .where(jobs.c.status == JobStatus.QUEUED.value, condition)
            .order_by(jobs.c.id)
            .limit(limit)
        )
        if after_id:  # without a value SQLite would read all jobs in order of their ids
            query = query.where(jobs.c.id > after_id)
        with self._database.read() as connection:
            rows = connection.execute(query)
            return [QueuedJob(row.id, Priority(row.priority), row.updated_at) for row in rows]

    def _jobs(
        self, query: Select[tuple[object, ...]] | CompoundSelect[tuple[object, ...]]
    ) -> list[Job]:
        with self._database.read() as connection:
            return [to_job(row) for row in connection.execute(query)]


def _conditions(where: JobFilter) -> list[ColumnElement[bool]]:
    values = {
        jobs.c.status: None if where.status is None else where.status.value,
        jobs.c.user_id: where.user_id,
        jobs.c.host: where.host,
    }
    return [column == value for column, value in values.items() if value is not None]


def _overview_key(job: Job) -> tuple[int, float, int]:
    groups = enumerate(_UNFINISHED_IN_ORDER)
    place = next((place for place, group in groups if job.status in group), len(JobStatus))
    ended = 0.0 if job.finished_at is None else -job.finished_at.timestamp()
    return place, ended, -int(job.id.replace("-", ""), 16)


def is_storable(job_id: str) -> bool:
    """Return whether a database can hold this id: NUL and invalid Unicode are refused."""
    return job_id.isprintable()
