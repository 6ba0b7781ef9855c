"""Jobs in SQL. Every change of state is a compare-and-set, written together with its event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    func,
    insert,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError

from database.changes import Change
from database.engine import Database
from database.insertion import ConcurrentInsertError, insert_or_get
from database.job_rows import (
    CLAIM,
    COLUMNS,
    INSERT_EVENT,
    MARK_MESSAGE_CONSUMED,
    MARK_PUBLISHED,
    MOVE,
    NOTE_EVENT,
    REQUEST_CONTROL,
    RUNNING_NAMES,
    SAVE_PROGRESS,
    ProgressRow,
    batches,
    event_row,
    is_newest_note,
    note_statement,
    to_job,
    to_job_event,
)
from database.models import HOLDS_DEDUP_KEY, REQUEUED, job_events, jobs
from domain.errors import DatabaseUnavailableError, DuplicateJobError, UnknownJobError
from domain.job import RUNNING, UNFINISHED, Job, JobEvent, JobFilter, JobStatus, Priority, QueuedJob

#: How often somebody else may come first with the same idempotency key.
_ROUNDS = 5

EVERY_JOB = JobFilter()

#: The error codes of jobs that wait for a place: at their host, among those of their user.
HOST_BUSY, USER_BUSY = "host_busy", "user_busy"


class JobRepository:
    """The `jobs` table and its audit trail. Methods raise DatabaseUnavailableError without database.

    Times are given by the caller, aware, so that one clock rules a decision.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    # ── new jobs, and reading ───────────────────────────────────────────────────────────────────

    def add(self, new: Sequence[Job], keys: Mapping[str, str] | None = None) -> list[Job]:
        """Store new jobs, all or none; return for each the job that stands for it, in that order.

        That is another one where a living job has the same dedup_key (one that is being cancelled
        does not count), or where its key was used before.

        Args:
            new: jobs to be.
            keys: their idempotency keys, by the id of the job.

        Raises:
            IdempotencyKeyReusedError: a key belongs to a job that asks for something else.
        """
        if not new:
            return []
        for _ in range(_ROUNDS):
            try:
                return self._database.transact(
                    lambda connection: insert_or_get(connection, new, keys or {})
                )
            except ConcurrentInsertError:
                continue
        raise DatabaseUnavailableError(
            "Others use the same idempotency keys all the time; try again."
        )

    def get(self, job_id: str) -> Job:
        """Return one job; raise UnknownJobError when there is none."""
        if not _is_storable(job_id):
            raise UnknownJobError(job_id)
        with self._database.read() as connection:
            row = connection.execute(select(*COLUMNS).where(jobs.c.id == job_id)).first()
        if row is None:
            raise UnknownJobError(job_id)
        return to_job(row)

    def get_many(self, job_ids: Sequence[str]) -> dict[str, Job]:
        """Return the jobs there are of `job_ids`."""
        known = [job_id for job_id in job_ids if _is_storable(job_id)]
        if not known:
            return {}
        found: dict[str, Job] = {}
        with self._database.read() as connection:
            for some in batches(known):
                rows = connection.execute(select(*COLUMNS).where(jobs.c.id.in_(some)))
                found |= {row.id: to_job(row) for row in rows}
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
            where: which ones.
            statuses: only in one of these states.
            before_id: go on after the last one of a page.
            limit: how many at most.
        """
        query = select(*COLUMNS).order_by(jobs.c.id.desc()).limit(limit)
        if where.status is not None:
            query = query.where(jobs.c.status == where.status.value)
        if where.user_id is not None:
            query = query.where(jobs.c.user_id == where.user_id)
        if where.host is not None:
            query = query.where(jobs.c.host == where.host)
        if statuses is not None:
            query = query.where(jobs.c.status.in_([status.value for status in statuses]))
        if before_id is not None:
            query = query.where(jobs.c.id < before_id)
        with self._database.read() as connection:
            return [to_job(row) for row in connection.execute(query)]

    def count_by_status(self) -> dict[JobStatus, int]:
        """Return how many jobs stand in each state."""
        query = select(jobs.c.status, func.count()).group_by(jobs.c.status)
        with self._database.read() as connection:
            return {JobStatus(status): count for status, count in connection.execute(query)}

    def has_queued_of_others(self, column: str, value: str) -> bool:
        """Say whether a queued job has another value, or none, in ``host`` or ``user_id``."""
        field = jobs.c[column]
        # Ranges, not an inequality: those an index answers.
        looks = [
            select(jobs.c.id).where(jobs.c.status == JobStatus.QUEUED.value, other).limit(1)
            for other in (field < value, field > value, field.is_(None))
        ]
        with self._database.read() as connection:
            return any(connection.execute(look).first() is not None for look in looks)

    def events(self, job_id: str) -> list[JobEvent]:
        """Return the audit trail of one job, the oldest first."""
        if not _is_storable(job_id):
            return []
        columns = [job_events.c[field.name] for field in fields(JobEvent)]
        query = select(*columns).where(job_events.c.job_id == job_id).order_by(job_events.c.id)
        with self._database.read() as connection:
            return [to_job_event(row) for row in connection.execute(query)]

    # ── changes of state ────────────────────────────────────────────────────────────────────────

    def claim(
        self, job_id: str, *, worker: str, now: datetime, priority: Priority | None = None
    ) -> Job | None:
        """Take a queued job: one winner, who gets the next fence. None when it is not queued.

        With a `priority`, a job that has been moved to another one is not taken.
        """
        if not _is_storable(job_id):
            return None
        wanted = None if priority is None else priority.value
        parameters = {"b_id": job_id, "b_worker": worker, "b_now": now, "b_priority": wanted}

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
        event_reason: str | None = None,
        may_repeat: bool = False,
    ) -> Job | None:
        """Change the state of `job` if it still is as given, in state and fence; None if it is not.

        What a person wants goes first: a running job that is to go on later, and that was asked to stop
        meanwhile, is stopped instead (the word may not have reached its worker); one whose pause was
        taken back before it came is queued. The job that is returned says what it is now.

        Args:
            job: as read; its status and fence are compared.
            to: the new state; a change that `domain.job.TRANSITIONS` lacks is a programming error.
            reason: goes into the event, and into the job where the state asks for one.
            changes: further columns to set.
            told: what the event says instead of the reason.
            may_repeat: a hand-back that only repeats the one before it is counted there.

        Raises:
            DuplicateJobError: it has ended, and another job that asks for the same lives.
        """
        change = Change(to, now, reason, changes or {}, event_reason, may_repeat)
        try:
            return self._database.transact(lambda connection: change.apply(connection, job))
        except IntegrityError:
            duplicate_id = self.active_duplicate(job)
            if duplicate_id is None:
                return None  # it has just ended: look again
            raise DuplicateJobError(job.id, duplicate_id) from None

    def transition_many(
        self,
        some: Sequence[Job],
        to: JobStatus,
        *,
        now: datetime,
        reason: str | None = None,
        changes: Mapping[str, Any] | None = None,
    ) -> list[Job]:
        """Do `transition` for several jobs in one transaction; return those that were changed.

        Those that are not as given any more, or whose living duplicate_id keeps them out, are left out.
        """
        change = Change(to, now, reason, changes or {})

        def work(connection: Connection) -> list[Job]:
            moved = (change.apply_if_possible(connection, job) for job in _in_order(some))
            return [job for job in moved if job is not None]

        return self._database.transact(work) if some else []

    def active_duplicate(self, job: Job) -> str | None:
        """Return the id of another job that lives, is not being cancelled and asks for the same."""
        query = select(jobs.c.id).where(
            jobs.c.dedup_key == job.dedup_key, HOLDS_DEDUP_KEY, jobs.c.id != job.id
        )
        with self._database.read() as connection:
            return connection.execute(query).scalar()

    def request_control(self, some: Sequence[Job], word: str | None) -> list[Job]:
        """Note on running jobs that a person wants them to "pause" or "cancel"; None takes a pause back.

        Returns those that still run under the given claim, as they are now: "cancel" stays.
        """
        rows = [
            {"b_id": job.id, "b_fence": job.fence, "b_control": word} for job in _in_order(some)
        ]

        def work(connection: Connection) -> list[Job]:
            found = (connection.execute(REQUEST_CONTROL, row).first() for row in rows)
            return [to_job(row) for row in found if row is not None]

        return self._database.transact(work) if rows else []

    def move(self, some: Sequence[Job], priority: Priority, *, now: datetime) -> list[Job]:
        """Give living jobs another priority; return those that changed, each with a note in its trail.

        One that is queued has no message any more, as far as this knows: publish it.
        """
        rows = [
            {"b_id": job.id, "b_priority": priority.value, "b_now": now} for job in _in_order(some)
        ]
        before = {job.id: job.priority for job in some}

        def work(connection: Connection) -> list[Job]:
            found = (connection.execute(MOVE, row).first() for row in rows)
            moved = [to_job(row) for row in found if row is not None]
            events = [
                event_row(
                    job, job.status, job.status, now, f"moved from {before[job.id]} to {priority}"
                )
                for job in moved
            ]
            if events:
                connection.execute(insert(job_events), events)
            return moved

        return self._database.transact(work) if rows else []

    def note(self, job: Job, reason: str, *, now: datetime) -> bool:
        """Write into the audit trail what happened to a job without changing its state.

        False, and nothing written, when a newer claim owns it.
        """
        parameters = {"b_id": job.id, "b_fence": job.fence, "b_now": now, "b_reason": reason}
        return self._database.transact(
            lambda connection: connection.execute(NOTE_EVENT, parameters).first() is not None
        )

    def note_many(self, job_ids: Sequence[str], reason: str, *, now: datetime) -> None:
        """Write the same note into the audit trails of several jobs, whoever owns them.

        Not where it would repeat the newest line: what maintenance does at every tick is told once.
        """

        def work(connection: Connection) -> None:
            for some in batches(sorted(job_ids)):
                statement = note_statement(jobs.c.id.in_(some) & ~is_newest_note(reason))
                connection.execute(statement, {"b_now": now, "b_reason": reason})

        if job_ids:
            self._database.transact(work)

    # ── publishing, waiting, orphans ────────────────────────────────────────────────────────────

    def mark_published(
        self, some: Sequence[Job | QueuedJob], sent_at: datetime, *, requeued: bool = False
    ) -> None:
        """Note that the broker got a message for each of these jobs.

        Whatever came before this note goes before it: a job that was claimed, handed back, paused or
        moved since it was read is left as it is, and so is one whose message was spent already.

        Args:
            some: queued jobs, as read before their messages were sent.
            sent_at: the time that the messages carry.
            requeued: whether they went to the queue of what was begun.
        """
        if not some:
            return
        # Row by row and in order of id, as every statement on many rows: two that take the same rows in
        # different orders would wait for each other.
        rows = [
            {
                "b_id": job.id,
                "b_updated_at": job.updated_at,
                "b_sent_at": sent_at,
                "b_requeued": requeued,
            }
            for job in sorted(some, key=lambda job: job.id)
        ]
        self._database.transact(lambda connection: connection.execute(MARK_PUBLISHED, rows))

    def mark_message_consumed(self, job_id: str, sent_at: datetime | None = None) -> None:
        """Note that a queued job's message was spent without effect, so that it gets another.

        That is true also where its sender notes it only after this. A job that has a newer message is
        left as it is.

        Args:
            job_id: its id.
            sent_at: the time that the message carries; without one it is taken for the newest.
        """
        any_message = (
            update(jobs)
            .where(jobs.c.id == job_id, jobs.c.status == JobStatus.QUEUED.value)
            .values(published_at=None)
        )

        def work(connection: Connection) -> None:
            if sent_at is None:
                connection.execute(any_message)
            else:
                connection.execute(MARK_MESSAGE_CONSUMED, {"b_id": job_id, "b_sent_at": sent_at})

        self._database.transact(work)

    def mark_messages_lost(self, before: datetime) -> None:
        """Note that messages that went out before `before` are gone, with the broker that had them."""
        with self._database.write() as connection:
            connection.execute(
                update(jobs)
                .where(jobs.c.status == JobStatus.QUEUED.value, jobs.c.published_at <= before)
                .values(published_at=None)
            )

    def requeue_due(self, now: datetime, limit: int = 500) -> list[QueuedJob]:
        """Queue the waiting jobs whose time has come; return them, to be published."""
        due = (
            select(jobs.c.id)
            .where(jobs.c.status == JobStatus.WAITING.value, jobs.c.next_attempt_at <= now)
            .order_by(jobs.c.next_attempt_at)
            .limit(limit)
            # Others take rows in order of id. Who waits for no row keeps nobody waiting for ever; what
            # somebody has in hand is due the next time.
            .with_for_update(skip_locked=True)
        )
        return self._requeue(due, now, "its waiting is over")

    def requeue_for_host(self, host: str, limit: int, now: datetime) -> list[QueuedJob]:
        """Queue the longest waiting jobs that wait for a place at this host; return them."""
        return self._requeue_for_slot(
            jobs.c.host == host, HOST_BUSY, limit, now, f"{host} has room"
        )

    def requeue_for_user(self, user_id: str, limit: int, now: datetime) -> list[QueuedJob]:
        """Queue the longest waiting jobs that wait for a place among their user's; return them."""
        return self._requeue_for_slot(
            jobs.c.user_id == user_id, USER_BUSY, limit, now, "its user has room"
        )

    def _requeue_for_slot(
        self, whose: ColumnElement[bool], code: str, limit: int, now: datetime, reason: str
    ) -> list[QueuedJob]:
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
        return self._requeue(waiting, now, reason)

    def running_not_updated_since(
        self, quiet_since: datetime, *, after: Job | None = None, limit: int = 1000
    ) -> list[Job]:
        """Return running jobs of which nothing was heard since `quiet_since`, the quietest first.

        `after` continues after the last one of a page.
        """
        query = (
            select(*COLUMNS)
            .where(jobs.c.status.in_(RUNNING_NAMES), jobs.c.updated_at <= quiet_since)
            .order_by(jobs.c.updated_at, jobs.c.id)
            .limit(limit)
        )
        if after is not None:
            place = tuple_(jobs.c.updated_at, jobs.c.id)
            query = query.where(place > tuple_(after.updated_at, after.id))
        with self._database.read() as connection:
            return [to_job(row) for row in connection.execute(query)]

    def unpublished(
        self, before: datetime, *, after_id: str = "", limit: int = 1000
    ) -> list[QueuedJob]:
        """Return queued jobs that nobody published by `before`, in order of their ids."""
        every = [priority.value for priority in Priority]  # so that the index serves
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

        Those whose message went to the queue of that priority; without one, to that of what was begun.
        """
        old = jobs.c.published_at <= before
        if priority is None:
            return self._queued(REQUEUED & old, after_id, limit)
        behind = (jobs.c.priority == priority.value) & ~jobs.c.requeued
        return self._queued(behind & old, after_id, limit)

    def inactive_with_progress(self, after_id: str, limit: int = 1000) -> list[Job]:
        """Return jobs that wait or rest and count on bytes of their part file, in order of their ids."""
        query = (
            select(*COLUMNS)
            .where(
                jobs.c.status.in_([status.value for status in UNFINISHED - RUNNING]),
                jobs.c.bytes_durable > 0,
                jobs.c.id > after_id,
            )
            .order_by(jobs.c.id)
            .limit(limit)
        )
        with self._database.read() as connection:
            return [to_job(row) for row in connection.execute(query)]

    def last_workers(self, job_ids: Sequence[str]) -> dict[str, str]:
        """Return which worker claimed each of these jobs last."""
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

    def reset_progress(self, some: Sequence[Job], *, now: datetime) -> int:
        """Count on nothing any more for resting jobs whose part file is gone; return how many."""

        def work(connection: Connection) -> int:
            lost = 0
            for job in _in_order(some):
                row = connection.execute(
                    update(jobs)
                    .where(
                        jobs.c.id == job.id,
                        jobs.c.status == job.status.value,
                        jobs.c.fence == job.fence,
                    )
                    .values(bytes_durable=0, bytes_downloaded=0)
                    .returning(*COLUMNS)
                ).first()
                if row is not None:
                    lost += 1
                    text = f"its part file is gone: {job.bytes_durable:,} bytes are to be fetched again"
                    event = event_row(to_job(row), job.status, job.status, now, text)
                    connection.execute(INSERT_EVENT, event)
            return lost

        return self._database.transact(work) if some else 0

    def pending_controls(self, limit: int = 1000) -> list[Job]:
        """Return running jobs that were asked to pause or cancel and have not yet."""
        query = (
            select(*COLUMNS)
            .where(jobs.c.status.in_(RUNNING_NAMES), jobs.c.control.is_not(None))
            .limit(limit)
        )
        with self._database.read() as connection:
            return [to_job(row) for row in connection.execute(query)]

    def _queued(self, condition: ColumnElement[bool], after_id: str, limit: int) -> list[QueuedJob]:
        query = (
            select(jobs.c.id, jobs.c.priority, jobs.c.updated_at)
            .where(jobs.c.status == JobStatus.QUEUED.value, condition)
            .order_by(jobs.c.id)
            .limit(limit)
        )
        if after_id:  # else SQLite would look through all jobs in order of their ids
            query = query.where(jobs.c.id > after_id)
        with self._database.read() as connection:
            rows = connection.execute(query)
            return [QueuedJob(row.id, Priority(row.priority), row.updated_at) for row in rows]

    def _requeue(self, chosen: Select[tuple[str]], now: datetime, reason: str) -> list[QueuedJob]:
        """Queue the waiting jobs that a query names and locks; return them in order of their ids."""

        def work(connection: Connection) -> list[QueuedJob]:
            # By a statement of its own: PostgreSQL may run a subquery once for each row, and each run
            # would pass by what is locked and updated already, until nobody is left waiting.
            job_ids = connection.execute(chosen).scalars().all()
            rows = connection.execute(
                update(jobs)
                .where(jobs.c.id.in_(job_ids), jobs.c.status == JobStatus.WAITING.value)
                .values(
                    status=JobStatus.QUEUED.value,
                    updated_at=now,
                    published_at=None,
                    next_attempt_at=None,
                )
                .returning(*COLUMNS)
            ).all()
            requeued = [to_job(row) for row in rows]
            if requeued:
                states = (JobStatus.WAITING, JobStatus.QUEUED)
                events = [event_row(job, *states, now, reason) for job in requeued]
                connection.execute(insert(job_events), events)
            return sorted(QueuedJob(job.id, job.priority, job.updated_at) for job in requeued)

        return self._database.transact(work)

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
                "updated_at": min(now, row.reported_at),
            }
            for row in sorted(rows, key=lambda row: row.job_id)
        ]
        self._database.transact(lambda connection: connection.execute(SAVE_PROGRESS, parameters))


def _is_storable(job_id: str) -> bool:
    """Say whether a database could hold this id at all: NUL and what is no Unicode text are refused."""
    return job_id.isprintable()


def _in_order(some: Sequence[Job]) -> list[Job]:
    """Return jobs in the order in which every statement on many rows takes them, against deadlocks."""
    return sorted(some, key=lambda job: job.id)
