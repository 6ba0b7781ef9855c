"""One change of a job's state: a compare-and-set, written together with its event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from database.job_rows import INSERT_EVENT, change_statement, event_row, to_job
from database.repeated_events import merge_into_previous
from domain.history import stop_reason
from domain.job import FINISHED, RUNNING, TRANSITIONS, Job, JobStatus


@dataclass(frozen=True, slots=True)
class Change:
    """What is to become of a job; see `JobRepository.transition` for what it means.

    Attributes:
        to: the new state.
        now: when.
        reason: goes into the event and the job.
        changes: further columns to set.
        told: what the event says instead of the reason.
        may_repeat: the event may be counted in the one before it (`database.repeated_events`).
    """

    to: JobStatus
    now: datetime
    reason: str | None
    changes: Mapping[str, Any]
    event_reason: str | None = None
    may_repeat: bool = False

    def apply(self, connection: Connection, before: Job) -> Job | None:
        """Change the job if it still is as given; return what it is now, or None if it was not."""
        values = self._values(before)
        honor = _HONORED.get(self.to, ()) if before.status in RUNNING else ()
        parameters = {
            **values,
            "b_now": self.now,
            "b_id": before.id,
            "b_source": before.status.value,
            "b_fence": before.fence,
        }
        statement = change_statement(tuple(values), self.to, honor=honor)
        row = connection.execute(statement, parameters).first()
        if row is None:
            return None
        job = to_job(row)
        event = event_row(job, before.status, job.status, self.now, self._event_reason_for(job))
        if not self._is_counted(connection, before, job, event):
            connection.execute(INSERT_EVENT, event)
        return job

    def _is_counted(
        self, connection: Connection, before: Job, job: Job, event: Mapping[str, Any]
    ) -> bool:
        if not self.may_repeat or self.reason is None or job.status is not self.to:
            return False
        return merge_into_previous(connection, before, event, self.reason)

    def apply_if_possible(self, connection: Connection, before: Job) -> Job | None:
        """Do `apply` within a transaction that goes on when a living twin stands in the way."""
        if before.status not in FINISHED:
            return self.apply(connection, before)
        try:
            with connection.begin_nested():
                return self.apply(connection, before)
        except IntegrityError:
            return None

    def _values(self, before: Job) -> dict[str, Any]:
        to = self.to
        if to not in TRANSITIONS[before.status]:
            raise ValueError(f"{before.status} → {to} is not a transition")
        values: dict[str, Any] = {
            "updated_at": self.now,
            "reason": self.reason,
            "error_code": None,
            "next_attempt_at": None,
            "finished_at": self.now if to in FINISHED else None,
            **self.changes,
        }
        if to not in RUNNING:
            # Until then it is owed: the store may have lost the word to the worker.
            values["control"] = None
        if to is JobStatus.COMPLETED:
            values["secrets"] = None  # nobody needs them any more
        if to is JobStatus.CANCELLED:
            values["bytes_durable"] = 0  # its part file goes
        if to is JobStatus.QUEUED and before.status in FINISHED:
            # What was there beyond that has been thrown away.
            values["bytes_downloaded"] = before.bytes_durable
        if to in {JobStatus.QUEUED, JobStatus.PAUSED}:
            values["published_at"] = None
        return values

    def _event_reason_for(self, job: Job) -> str | None:
        """Return what the event says of `job`, as it is now."""
        as_requested = job.status is self.to
        if as_requested and self.event_reason is not None:
            return self.event_reason
        if self.to is JobStatus.PAUSED and job.status is JobStatus.QUEUED:
            return "the pause was taken back"
        is_known = self.event_reason is not None or job.status is JobStatus.CANCELLED
        if not is_known:
            return job.reason  # what became of the bytes, only its worker could say
        return stop_reason(job.reason, job.bytes_downloaded, job.bytes_durable)


#: A job that is to go on, or to stop, asks first what a person wants by now; to pause one whose attempts
#: are used up is of no use.
_HONORED: Mapping[JobStatus, tuple[str, ...]] = {
    JobStatus.QUEUED: ("cancel", "pause"),
    JobStatus.WAITING: ("cancel", "pause"),
    JobStatus.PAUSED: ("cancel", "pause"),
    JobStatus.FAILED: ("cancel",),
}
