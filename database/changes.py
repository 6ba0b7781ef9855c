"""One change of a job's state: a compare-and-set, written together with its event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from database.job_rows import INSERT_EVENT, change_statement, event_row, to_job
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
    """

    to: JobStatus
    now: datetime
    reason: str | None
    changes: Mapping[str, Any]
    told: str | None = None

    def apply(self, connection: Connection, before: Job) -> Job | None:
        """Change the job if it still is as given; return what it is now, or None if it was not."""
        values = self._values(before)
        obey = before.status in RUNNING and self.to in _YIELDING
        parameters = {
            **values,
            "b_to": self.to.value,
            "b_now": self.now,
            "b_id": before.id,
            "b_source": before.status.value,
            "b_fence": before.fence,
        }
        row = connection.execute(
            change_statement(tuple(values), obey=obey, paused=self.to is JobStatus.PAUSED),
            parameters,
        ).first()
        if row is None:
            return None
        job = to_job(row)
        event = event_row(job, before.status, job.status, self.now, self._told_of(job))
        connection.execute(INSERT_EVENT, event)
        return job

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
            **self.changes,
        }
        if to not in RUNNING:
            # Until then it is owed: the store may have lost the word to the worker.
            values["control"] = None
        if to in FINISHED:
            values["finished_at"] = self.now
        if to is JobStatus.COMPLETED:
            values["secrets"] = None  # nobody needs them any more
        if to is JobStatus.QUEUED:
            values |= {"finished_at": None, "next_attempt_at": None}
        if to in {JobStatus.QUEUED, JobStatus.PAUSED}:
            values["published_at"] = None
        return values

    def _told_of(self, job: Job) -> str | None:
        if self.to is JobStatus.PAUSED and job.status is JobStatus.QUEUED:
            return "the pause was taken back"
        return self.told or self.reason


#: A job that is to go on, or to be paused, asks first what a person wants by now.
_YIELDING = frozenset({JobStatus.QUEUED, JobStatus.WAITING, JobStatus.PAUSED})
