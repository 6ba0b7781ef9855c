"""Jobs in SQL. Every change of state is a compare-and-set, written together with its event."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, exists, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql.dml import ReturningUpdate

from database.changes import Change
from database.conditions.verdicts import is_timeout, may_be_of_one_row
from database.insertion import ConcurrentInsertError, insert_or_get
from database.job_messages import JobMessages
from database.job_pages import JobPages
from database.job_queries import JobQueries
from database.job_rows import (
    COLUMNS,
    MOVE,
    REQUEST_CONTROL,
    SAVE_PROGRESS,
    UNFINISHED_NAMES,
    ProgressRow,
    batches,
    event_row,
    is_newest_note,
    note_statement,
    to_job,
)
from database.models import idempotency_keys, jobs
from database.operations import Operation, RequeueForSlot, Transition
from database.operations.group import perform_all, perform_possible
from database.operations.rows import insert_events
from database.operations.slots import awaited
from database.operations.unlocked import on_unlocked
from domain.errors import DatabaseUnavailableError, DuplicateJobError
from domain.job import Job, JobStatus, Priority

#: A statement of one operation, after one on its whole group took too long. Milliseconds: all 64 of the
#: largest group take no longer than the group's own time-out.
_ALONE_TIMEOUT = 500

#: How often an insert is tried again after another one used the same idempotency key.
_ROUNDS = 5


class JobRepository(JobQueries, JobPages, JobMessages):
    """The `jobs` table and the histories. Methods raise DatabaseUnavailableError without database.

    Times are aware and given by the caller, so that one clock decides.
    """

    # ── new jobs ────────────────────────────────────────────────────────────────────────────────

    def add(self, new: Sequence[Job], keys: Mapping[str, str] | None = None) -> list[Job]:
        """Store new jobs, all or none; return for each its row, or the existing job for the request.

        An existing job is returned where it holds the same dedup key, or where the idempotency key was
        used before.

        Args:
            new: jobs to insert.
            keys: their idempotency keys, by job id.

        Raises:
            IdempotencyKeyReusedError: a key belongs to a different request.
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
            "Could not insert because of concurrent requests with the same idempotency keys; "
            "retry the request."
        )

    # ── several operations in one transaction ───────────────────────────────────────────────────

    def perform(self, operations: Sequence[Operation]) -> list[Any]:
        """Do several operations in one transaction; return for each its result, or its own exception.

        An operation that fails does not affect the others: each is then done in a transaction of its
        own, with little time for each if it was time that the group lacked. Operations on one job are
        done in the given order, all others in any order.

        Raises:
            DatabaseUnavailableError: nothing was written.
        """
        if not operations or not self._writes(operations):
            return [[] for _ in operations]
        if len(operations) == 1:
            return [self._perform_alone(operations[0])]
        try:
            return self._database.transact(lambda connection: perform_all(connection, operations))
        except DatabaseUnavailableError as error:
            if not may_be_of_one_row(error.__cause__):
                raise
            timeout = _ALONE_TIMEOUT if is_timeout(error.__cause__) else None
        except Exception:  # it is the result of the operation that causes it
            timeout = None
        return self._perform_each(operations, timeout)

    def _perform_each(self, operations: Sequence[Operation], timeout: int | None) -> list[Any]:
        """Do each in a transaction of its own, up to the first that finds the database away."""
        results: list[Any] = []
        for operation in operations:
            try:
                results.append(self._perform_alone(operation, timeout))
            except DatabaseUnavailableError as error:
                results.append(error)  # others of its group may be written
                if not may_be_of_one_row(error.__cause__):
                    return results + [error] * (len(operations) - len(results))
        return results

    def _perform_alone(self, operation: Operation, timeout: int | None = None) -> Any:
        def work(connection: Connection) -> Any:
            if timeout is not None:
                connection.exec_driver_sql(f"SET LOCAL statement_timeout = {timeout}")
            return perform_all(connection, [operation])[0]

        try:
            return self._database.transact(work)
        except DatabaseUnavailableError:
            raise
        except Exception as error:
            return self._own_result(operation, error)

    def _writes(self, operations: Sequence[Operation]) -> bool:
        """Return False for freed slots that no job waits for: reading needs no lock for writing."""
        slots = [one for one in operations if isinstance(one, RequeueForSlot)]
        if len(slots) < len(operations):
            return True
        with self._database.read() as connection:
            return bool(awaited(connection, slots))

    def _own_result(self, operation: Operation, error: Exception) -> Any:
        """Return what an operation that failed alone results in."""
        if not (isinstance(operation, Transition) and isinstance(error, IntegrityError)):
            return error
        try:
            duplicate_id = self.active_duplicate(operation.job)
        except DatabaseUnavailableError as outage:
            return outage
        # Without duplicate, it has just finished: read the job again.
        return duplicate_id and DuplicateJobError(operation.job.id, duplicate_id)

    # ── changes of state ────────────────────────────────────────────────────────────────────────

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
        """Change the state of `job` if its state and fence are as given; None if they are not.

        The same UPDATE applies a pending control request: a running job that would be queued, wait or
        fail is paused or cancelled instead, and one whose pause was withdrawn is queued. The returned
        job has the state that was written.

        Args:
            job: as read; its status and fence are compared.
            to: the new state; a change that `domain.job.TRANSITIONS` lacks is a programming error.
            reason: of the event, and of the job where the state has one.
            changes: further columns to set.
            event_reason: of the event, instead of `reason`.
            may_repeat: a requeue that repeats the one before it is counted in that event.

        Raises:
            DuplicateJobError: the job was finished, and another job holds its dedup key.
        """
        change = Change(to, now, reason, changes or {}, event_reason, may_repeat)
        changed: Job | Exception | None = self.perform([Transition(job, change)])[0]
        if isinstance(changed, Exception):
            raise changed
        return changed

    def transition_many(
        self,
        some: Sequence[Job],
        to: JobStatus,
        *,
        now: datetime,
        reason: str | None = None,
        changes: Mapping[str, Any] | None = None,
        may_leave_out: bool = False,
    ) -> list[Job]:
        """Do `transition` for several jobs in one transaction; return the jobs that were changed.

        Jobs that are not as given, or whose dedup key another job holds, are left out; with
        `may_leave_out` also those whose rows another session has locked for too long.
        """
        change = Change(to, now, reason, changes or {})
        operations = {job.id: Transition(job, change) for job in _in_order(some)}

        def work(connection: Connection, only: Collection[str]) -> list[Job]:
            wanted = [one for job_id, one in operations.items() if job_id in only]
            changed = perform_possible(connection, wanted) if wanted else []
            return [job for job in changed if job is not None]

        if not some:
            return []
        if may_leave_out:
            return on_unlocked(self._database, operations, work)[0]
        return self._database.transact(lambda connection: work(connection, operations))

    def request_control(self, some: Sequence[Job], control: str | None) -> list[Job]:
        """Request "pause" or "cancel" of running jobs; None withdraws a pause.

        Returns the jobs that still run under the given claim, as they are now. A pending cancel stays.
        """
        rows = [
            {"b_id": job.id, "b_fence": job.fence, "b_control": control} for job in _in_order(some)
        ]

        def work(connection: Connection) -> list[Job]:
            found = (connection.execute(REQUEST_CONTROL, row).first() for row in rows)
            return [to_job(row) for row in found if row is not None]

        return self._database.transact(work) if rows else []

    def move(self, some: Sequence[Job], priority: Priority, *, now: datetime) -> list[Job]:
        """Give unfinished jobs another priority; return those that changed, with an event for each.

        The queued ones have no message in their new queue yet: publish them.
        """
        rows = [
            {"b_id": job.id, "b_priority": priority.value, "b_now": now} for job in _in_order(some)
        ]
        before = {job.id: job.priority for job in some}

        def work(connection: Connection) -> list[Job]:
            found = (connection.execute(MOVE, row).first() for row in rows)
            moved = [to_job(row) for row in found if row is not None]
            events = [
                event_row(job, job.status, now, f"moved from {before[job.id]} to {priority}")
                for job in moved
            ]
            insert_events(connection, events)
            return moved

        return self._database.transact(work) if rows else []

    def revise(
        self, job: Job, changes: Mapping[str, Any], *, now: datetime, reason: str
    ) -> Job | None:
        """Change what an unfinished job asks for that no worker has claimed yet; note it in its history.

        Returns the job; None, and nothing is written, if it is not so, another caller has changed it, or
        it has a new dedup key and an idempotency key, which stands for the request it was given with.

        Args:
            job: as read.
            changes: columns with their new values.
            now: the time.
            reason: what was changed, for people.

        Raises:
            DuplicateJobError: another unfinished job is for the same request.
        """
        statement = _revision(job, changes)

        def work(connection: Connection) -> Job | None:
            row = connection.execute(statement).first()
            if row is None:
                return None
            changed = to_job(row)
            insert_events(connection, [event_row(changed, changed.status, now, reason)])
            return changed

        try:
            return self._database.transact(work)
        except IntegrityError:
            duplicate_id = self.active_duplicate(replace(job, dedup_key=changes.get("dedup_key")))
            if duplicate_id is None:
                return None  # it has just ended
            raise DuplicateJobError(job.id, duplicate_id) from None

    # ── notes in the history ────────────────────────────────────────────────────────────────────

    def note_many(self, job_ids: Sequence[str], reason: str, *, now: datetime) -> None:
        """Add the same event to the histories of several jobs, under any claim.

        A history that ends with the same event is left as it is: maintenance repeats its findings. So is
        that of a job whose row another session has locked for too long.
        """

        def work(connection: Connection, only: Collection[str]) -> None:
            for some in batches(sorted(only)):
                statement = note_statement(jobs.c.id.in_(some) & ~is_newest_note(reason))
                connection.execute(statement, {"b_now": now, "b_reason": reason})

        if job_ids:
            on_unlocked(self._database, set(job_ids), work)

    # ── progress ────────────────────────────────────────────────────────────────────────────────

    def save_progress(self, rows: Sequence[ProgressRow], now: datetime) -> list[str]:
        """Write the progress of running jobs; an older version than the row's changes nothing.

        Returns the ids of those whose rows others have locked for too long: theirs is not written.
        """
        if not rows:
            return []
        parameters = [
            {
                "b_id": row.job_id,
                "b_version": row.version,
                "b_claim": row.version >> 32,
                **row.counts.as_fields(),
                "speed_mbps": row.speed_mbps,
                "progress_version": row.version,
                "updated_at": min(now, row.reported_at),
            }
            for row in sorted(rows, key=lambda row: row.job_id)  # two savers must not deadlock
        ]

        def work(connection: Connection, only: Collection[str]) -> None:
            if some := [one for one in parameters if one["b_id"] in only]:
                connection.execute(SAVE_PROGRESS, some)

        return on_unlocked(self._database, {row.job_id for row in rows}, work)[1]

    def reset_progress(self, some: Sequence[Job], *, now: datetime) -> int:
        """Set the byte counts of inactive jobs without part file to 0; return how many changed."""

        def work(connection: Connection, only: Collection[str]) -> int:
            return sum(
                _reset_one(connection, job, now) for job in _in_order(some) if job.id in only
            )

        return on_unlocked(self._database, {job.id for job in some}, work)[0] if some else 0


def _reset_one(connection: Connection, job: Job, now: datetime) -> bool:
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
    if row is None:
        return False
    text = f"its part file is missing: {job.bytes_durable:,} bytes will be fetched again"
    insert_events(connection, [event_row(to_job(row), job.status, now, text)])
    return True


def _in_order(some: Sequence[Job]) -> list[Job]:
    """Return jobs by id, the order in which all statements lock rows, against deadlocks."""
    return sorted(some, key=lambda job: job.id)


def _revision(job: Job, changes: Mapping[str, Any]) -> ReturningUpdate[Any]:
    """Return the statement of `JobRepository.revise`."""
    is_as_read = [
        jobs.c.id == job.id,
        jobs.c.fence == 0,
        jobs.c.status.in_(UNFINISHED_NAMES),
        jobs.c.dedup_key.is_not_distinct_from(job.dedup_key),
    ]
    values = dict(changes)
    if "dedup_key" in values:
        values["flight"] = values["dedup_key"]  # its former name, which has the unique index
        is_as_read.append(~exists().where(idempotency_keys.c.job_id == job.id))
    return update(jobs).where(*is_as_read).values(values).returning(*COLUMNS)
