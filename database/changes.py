"""One change of a job's state: a compare-and-set, written together with its event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from database.job_rows import INSERT_EVENT, change_statement, event_row, to_job
from database.repeated_events import merge_into_previous
from domain.history import stop_reason
from domain.job import FINISHED, RUNNING, TRANSITIONS, Job, JobStatus
from domain.urls import display_url


@dataclass(frozen=True, slots=True)
class Change:
    """A change of state; `JobRepository.transition` says what it does.

    Attributes:
        to: the new state.
        now: when.
        reason: of the event, and of the job.
        changes: further columns to set.
        event_reason: of the event, instead of `reason`.
        may_repeat: the event may be counted in the one before it (`database.repeated_events`).
    """

    to: JobStatus
    now: datetime
    reason: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    event_reason: str | None = None
    may_repeat: bool = False

    def apply(self, connection: Connection, before: Job) -> Job | None:
        """Change the job if it is as given, and return it; None, and nothing changed, if it is not."""
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
        """Do `apply` in a transaction that can continue where another job holds the dedup key."""
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
            # A running job keeps its request: the store may have lost the copy for the worker.
            values["control"] = None
        if to is JobStatus.COMPLETED:
            values["secrets"] = None  # no attempt will need them
            if before.secret_url:
                values["url"], values["mirrors"] = display_url(before.url, secret=True), ()
        if to is JobStatus.CANCELLED:
            values["bytes_durable"] = 0  # its part file is removed
        if to is JobStatus.QUEUED and before.status in FINISHED:
            # Bytes beyond the last checkpoint were discarded.
            values["bytes_downloaded"] = before.bytes_durable
        if to in {JobStatus.QUEUED, JobStatus.PAUSED}:
            values["published_at"] = None
        return values

    def _event_reason_for(self, job: Job) -> str | None:
        """Return the event's reason for `job`, given as it is after the change."""
        as_requested = job.status is self.to
        if as_requested and self.event_reason is not None:
            return self.event_reason
        if self.to is JobStatus.PAUSED and job.status is JobStatus.QUEUED:
            return "the pause was withdrawn"
        is_known = self.event_reason is not None or job.status is JobStatus.CANCELLED
        if not is_known:
            return job.reason  # only the job's worker knew which bytes are kept
        return stop_reason(job.reason, job.counts)


#: By the target state, the pending requests that are applied instead. A failing job is not paused, since
#: its attempts are used up.
_HONORED: Mapping[JobStatus, tuple[str, ...]] = {
    JobStatus.QUEUED: ("cancel", "pause"),
    JobStatus.WAITING: ("cancel", "pause"),
    JobStatus.PAUSED: ("cancel", "pause"),
    JobStatus.FAILED: ("cancel",),
}
