"""What SQL notes of messages to workers, and jobs that are queued again when a wait is over."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, update

from database.engine import Database
from database.job_rows import (
    BATCH,
    COLUMNS,
    LOCK_IN_ORDER,
    MARK_ALL_PUBLISHED,
    MARK_MESSAGE_CONSUMED,
    MARK_PUBLISHED,
    batches,
    event_row,
    to_job,
)
from database.models import PUBLISHED, WAITING, jobs
from database.operations.rows import insert_events
from database.operations.unlocked import on_unlocked
from domain.job import Job, JobStatus, QueuedJob


class JobMessages:
    """Writes `published_at` and its like, and requeues jobs. Methods raise DatabaseUnavailableError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # ── messages ────────────────────────────────────────────────────────────────────────────────

    def mark_published(
        self, some: Sequence[Job | QueuedJob], sent_at: datetime, *, requeued: bool = False
    ) -> list[str]:
        """Note that the broker got a message for each of these jobs.

        A worker may have consumed the message before this is written. So a job that was claimed,
        requeued, paused or moved since it was read is left as it is, and so is one whose message was
        consumed.

        Args:
            some: queued jobs, as read before their messages were sent.
            sent_at: the time that the messages carry.
            requeued: whether they went to the queue for requeued jobs.

        Returns:
            The ids of those for which it is not noted: others have locked their rows for too long.
        """
        if not some:
            return []
        values = {"b_sent_at": sent_at, "b_requeued": requeued}
        times = {job.updated_at for job in some}
        # In order of id, as every statement on many rows: two transactions that lock the same rows in
        # different orders would wait for each other.
        rows = sorted((job.id, job.updated_at) for job in some)

        def work(connection: Connection, only: Collection[str]) -> None:
            marked = [row for row in rows if row[0] in only]
            if len(times) == 1 < len(marked):
                for ids in batches([job_id for job_id, _ in marked]):
                    _mark_all_published(connection, ids, {**values, "b_updated_at": rows[0][1]})
            elif marked:
                every = [{"b_id": job_id, "b_updated_at": at, **values} for job_id, at in marked]
                connection.execute(MARK_PUBLISHED, every)

        _, locked = on_unlocked(self._database, {job_id: None for job_id, _ in rows}, work)
        return locked

    def mark_messages_lost(self, before: datetime) -> None:
        """Note that all messages sent by `before` were lost with the broker's data."""
        lost = (
            select(jobs.c.id)
            .where(PUBLISHED, jobs.c.published_at <= before)
            .order_by(jobs.c.id)
            .limit(BATCH)
            .with_for_update()
        )
        with self._database.write() as connection:
            while ids := connection.execute(lost).scalars().all():
                connection.execute(update(jobs).where(jobs.c.id.in_(ids)).values(published_at=None))

    # ── waiting jobs ────────────────────────────────────────────────────────────────────────────

    def requeue_due(self, now: datetime, limit: int = 500) -> list[QueuedJob]:
        """Queue the waiting jobs whose back-off is over; return them, to be published."""
        due = (
            select(jobs.c.id)
            .where(WAITING, jobs.c.next_attempt_at <= now)
            .order_by(jobs.c.next_attempt_at)
            .limit(limit)
            # Other statements lock rows in order of id: waiting here could be a deadlock. A job that is
            # locked now is due the next time.
            .with_for_update(skip_locked=True)
        )
        return self._database.transact(
            lambda connection: requeue(
                connection,
                dict.fromkeys(connection.execute(due).scalars(), "its back-off is over"),
                now,
            )
        )


def requeue(connection: Connection, reasons: Mapping[str, str], now: datetime) -> list[QueuedJob]:
    """Queue waiting jobs that a query has selected and locked; return them in order of their ids.

    It has to be a query of its own: PostgreSQL may run a subquery once for each row, and each run would
    skip the rows that are locked and updated already.

    Args:
        connection: of the transaction.
        reasons: of their events, by job id.
        now: the time of the events.
    """
    if not reasons:
        return []
    rows = connection.execute(
        update(jobs)
        .where(jobs.c.id.in_([*reasons]), jobs.c.status == JobStatus.WAITING.value)
        .values(
            status=JobStatus.QUEUED.value,
            updated_at=now,
            published_at=None,
            next_attempt_at=None,
        )
        .returning(*COLUMNS)
    ).all()
    requeued = [to_job(row) for row in rows]
    events = [event_row(job, JobStatus.WAITING, now, reasons[job.id]) for job in requeued]
    insert_events(connection, events)
    return sorted(QueuedJob(job.id, job.priority, job.updated_at) for job in requeued)


def consume_message(connection: Connection, job_id: str, sent_at: datetime | None) -> None:
    """Note that a queued job's message was consumed; see `database.operations.ConsumeMessage`."""
    if sent_at is None:
        newest_message = update(jobs).where(
            jobs.c.id == job_id, jobs.c.status == JobStatus.QUEUED.value
        )
        connection.execute(newest_message.values(published_at=None))
    else:
        connection.execute(MARK_MESSAGE_CONSUMED, {"b_id": job_id, "b_sent_at": sent_at})


def _mark_all_published(
    connection: Connection, ids: Sequence[str], values: Mapping[str, Any]
) -> None:
    if connection.dialect.name == "postgresql" and len(ids) > 1:
        connection.execute(LOCK_IN_ORDER, {"b_ids": ids})
    connection.execute(MARK_ALL_PUBLISHED, {"b_ids": ids, **values})
