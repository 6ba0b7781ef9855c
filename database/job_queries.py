"""Reading jobs and their histories."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    TextClause,
    func,
    literal_column,
    null,
    select,
    tuple_,
    union_all,
)

from database.engine import Database
from database.job_rows import (
    COLUMNS,
    batches,
    in_state,
    limited,
    to_job,
    to_job_event,
)
from database.models import (
    HAS_FINISHED,
    HOLDS_DEDUP_KEY,
    PUBLISHED,
    UNPUBLISHED,
    finished_job_counts,
    job_events,
    jobs,
)
from domain.errors import UnknownJobError
from domain.job import (
    FINISHED,
    RUNNING,
    UNFINISHED,
    Job,
    JobEvent,
    JobFilter,
    JobStamp,
    JobStatus,
    Priority,
    QueuedJob,
)

EVERY_JOB = JobFilter()

_Condition = ColumnElement[bool] | TextClause

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

    def stamps(self, job_ids: Sequence[str]) -> dict[str, JobStamp]:
        """Return by id what shows whether a job has changed; it costs a tenth of the job."""
        columns = [jobs.c[name] for name in JobStamp._fields]
        found: dict[str, JobStamp] = {}
        with self._database.read() as connection:
            for some in batches([job_id for job_id in job_ids if is_storable(job_id)]):
                query = select(jobs.c.id, *columns).where(jobs.c.id.in_(some))
                for job_id, status, *others in connection.execute(query):
                    found[job_id] = JobStamp(JobStatus(status), *others)
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
        before = [] if before_id is None else [jobs.c.id < before_id]
        newest = jobs.c.id.desc()
        if where == EVERY_JOB and statuses is None:
            return self._jobs(
                select(*COLUMNS).where(*before).order_by(newest).limit(limited(limit))
            )
        parts = [
            select(jobs.c.id).where(*conditions, *before).order_by(newest).limit(limited(limit))
            for status, conditions in conditions_by_status(where)
            if statuses is None or status in statuses
        ]
        if not parts:
            return []
        chosen = union_all(*(select(part.subquery()) for part in parts)).subquery()
        ids = select(chosen.c.id).order_by(chosen.c.id.desc()).limit(limited(limit))
        return self._jobs(select(*COLUMNS).where(jobs.c.id.in_(ids)).order_by(newest))

    def count_ahead(self, job: Job) -> tuple[int, int]:
        """Return how many older jobs run, and how many are queued that usually start before this one."""
        as_urgent = [one.value for one in Priority if one.is_as_urgent_as(job.priority)]
        is_ahead = jobs.c.priority.in_(as_urgent) | jobs.c.requeued
        kinds = ([in_state(*RUNNING)], [PUBLISHED, is_ahead], [UNPUBLISHED, is_ahead])
        counts = [
            select(func.count()).select_from(jobs).where(jobs.c.id < job.id, *conditions)
            for conditions in kinds
        ]
        with self._database.read() as connection:
            row = connection.execute(select(*(count.scalar_subquery() for count in counts))).one()
        running, published, unpublished = map(int, row)
        return running, published + unpublished

    def overview(self, where: JobFilter = EVERY_JOB, *, limit: int = 50) -> list[Job]:
        """Return running jobs, then waiting, queued and paused ones, then the last finished ones.

        Within each of these the newest are first. One statement reads them all, so that a job that
        changes its state meanwhile is neither missing nor there twice.
        """
        parts = [_overview_part(status, where) for status, where in conditions_by_status(where)]
        chosen = union_all(
            *(select(part.limit(limited(limit)).subquery()) for part in parts)
        ).subquery()
        ids = (
            select(chosen.c.id)
            .order_by(chosen.c.place, chosen.c.finished_at.desc(), chosen.c.id.desc())
            .limit(limited(limit))
        )
        found = self._jobs(select(*COLUMNS).where(jobs.c.id.in_(ids)))
        return sorted(found, key=_overview_key)

    def count_by_status(self) -> dict[JobStatus, int]:
        """Return the number of jobs in each state that has any."""
        unfinished = (
            select(jobs.c.status, func.count()).where(in_state(*UNFINISHED)).group_by(jobs.c.status)
        )
        counts = finished_job_counts.c
        finished = select(counts.status, func.sum(counts.jobs)).group_by(counts.status)
        # One statement, so that a job that ends meanwhile is counted once.
        with self._database.read() as connection:
            found = connection.execute(union_all(unfinished, finished)).all()
        return {JobStatus(status): int(count) for status, count in found if count}

    def has_queued_of_others(self, column: str, value: str) -> bool:
        """Return whether a queued job has another value, or none, in ``host`` or ``user_id``."""
        field = jobs.c[column]
        # Ranges instead of an inequality, since an index answers those; in its order, since PostgreSQL
        # could read all jobs for one of many.
        queries = [
            select(jobs.c.id)
            .where(in_state(JobStatus.QUEUED), other)
            .order_by(field, jobs.c.id)
            .limit(1)
            for other in (field < value, field > value, field.is_(None))
        ]
        with self._database.read() as connection:
            return any(connection.execute(query).first() is not None for query in queries)

    def active_duplicate(self, job: Job) -> str | None:
        """Return the id of another job that holds this one's dedup key."""
        query = select(jobs.c.id).where(
            jobs.c.flight == job.dedup_key, HOLDS_DEDUP_KEY, jobs.c.id != job.id
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
            .where(in_state(*RUNNING), jobs.c.updated_at <= since)
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
            select(*COLUMNS).where(in_state(*RUNNING), jobs.c.control.is_not(None)).limit(limit)
        )

    def inactive_with_progress(self, after_id: str, limit: int = 1000) -> list[Job]:
        """Return queued, waiting and paused jobs with durable bytes, in order of their ids."""
        parts = [
            # A job without a claim has no bytes: an index has the fence, and none has byte counts.
            select(jobs.c.id)
            .where(*of_status, jobs.c.fence > 0, jobs.c.bytes_durable > 0, jobs.c.id > after_id)
            .order_by(jobs.c.id)
            .limit(limited(limit))
            for status, of_status in conditions_by_status(EVERY_JOB)
            if status in UNFINISHED - RUNNING
        ]
        chosen = union_all(*(select(part.subquery()) for part in parts)).subquery()
        ids = select(chosen.c.id).order_by(chosen.c.id).limit(limited(limit))
        return self._jobs(select(*COLUMNS).where(jobs.c.id.in_(ids)).order_by(jobs.c.id))

    def finished_since(
        self, since: datetime, status: JobStatus, *, after: Job | None = None, limit: int = 1000
    ) -> list[Job]:
        """Return jobs that ended in this state since then, in the order of their ends.

        `after` is the last job of the page before.
        """
        query = (
            select(*COLUMNS)
            .where(in_state(status), HAS_FINISHED)
            .order_by(jobs.c.finished_at, jobs.c.id)
            .limit(limit)
        )
        if after is not None and after.finished_at is not None:
            since = after.finished_at
            position = tuple_(jobs.c.finished_at, jobs.c.id)
            query = query.where(position > tuple_(after.finished_at, after.id))
        return self._jobs(query.where(jobs.c.finished_at >= since))

    def unpublished(
        self, before: datetime, *, after_id: str = "", limit: int = 1000
    ) -> list[QueuedJob]:
        """Return jobs that were queued by `before` and have no message, in order of their ids."""
        return self._queued(UNPUBLISHED, jobs.c.updated_at <= before, after_id, limit)

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
        sent = jobs.c.published_at <= before
        if priority is None:
            sent &= jobs.c.requeued
        else:
            sent &= ~jobs.c.requeued & (jobs.c.priority == priority.value)
        return self._queued(PUBLISHED, sent, after_id, limit)

    def _queued(
        self, kind: TextClause, condition: ColumnElement[bool], after_id: str, limit: int
    ) -> list[QueuedJob]:
        query = (
            select(jobs.c.id, jobs.c.priority, jobs.c.updated_at)
            .where(kind, condition, jobs.c.id > after_id)
            .order_by(jobs.c.id)
            .limit(limit)
        )
        with self._database.read() as connection:
            rows = connection.execute(query)
            return [QueuedJob(row.id, Priority(row.priority), row.updated_at) for row in rows]

    def _jobs(self, query: Select[tuple[object, ...]]) -> list[Job]:
        with self._database.read() as connection:
            return [to_job(row) for row in connection.execute(query)]


def conditions_by_status(where: JobFilter) -> Iterator[tuple[JobStatus, list[_Condition]]]:
    """Yield each state that fits a filter, with the conditions for jobs in it, or for a part of them.

    Each index that finds jobs of a host or a user in order has the state before the order, so that a
    search for few jobs of many reads no others. A query for several states joins one for each. Queued
    jobs are in two indexes of their own: those with a message, and those without.
    """
    values = {jobs.c.user_id: where.user_id, jobs.c.host: where.host}
    conditions = [column == value for column, value in values.items() if value is not None]
    for status in JobStatus if where.status is None else (where.status,):
        if status is JobStatus.QUEUED and not conditions:
            yield status, [PUBLISHED]
            yield status, [UNPUBLISHED]
        else:
            yield status, [in_state(status), *conditions]


def _overview_part(
    status: JobStatus, conditions: Sequence[_Condition]
) -> Select[tuple[str, int, datetime | None]]:
    """Return the query for the ids of jobs in one state, in the order of an overview."""
    place = literal_column(str(_place(status)), Integer).label("place")
    if status not in FINISHED:
        # The columns of an index alone: PostgreSQL could prefer the primary key, which has all jobs.
        ended = null().cast(jobs.c.finished_at.type).label("finished_at")
        query = select(jobs.c.id, place, ended).where(*conditions)
        return query.order_by(jobs.c.id.desc())
    query = select(jobs.c.id, place, jobs.c.finished_at).where(*conditions, HAS_FINISHED)
    return query.order_by(jobs.c.finished_at.desc(), jobs.c.id.desc())


def _place(status: JobStatus) -> int:
    groups = enumerate(_UNFINISHED_IN_ORDER)
    return next((place for place, group in groups if status in group), len(_UNFINISHED_IN_ORDER))


def _overview_key(job: Job) -> tuple[int, float, int]:
    ended = 0.0 if job.finished_at is None else -job.finished_at.timestamp()
    return _place(job.status), ended, -int(job.id.replace("-", ""), 16)


def is_storable(job_id: str) -> bool:
    """Return whether a database can hold this id: NUL and invalid Unicode are refused."""
    return job_id.isprintable()
