"""Changes of a job: what a claim, a transition and a note write, decided by the job's locked row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from domain.history import requested, stop_reason
from domain.job import FINISHED, RUNNING, TRANSITIONS, Job, JobStatus
from domain.urls import display_url

#: The state that follows from each control request.
_CONTROL_TARGETS = {"cancel": JobStatus.CANCELLED, "pause": JobStatus.PAUSED}


def claim_columns(row: Job, worker: str, now: datetime) -> dict[str, Any]:
    """Return the columns that a claim sets, with a raised fence."""
    return {
        "status": JobStatus.DOWNLOADING,
        "fence": row.fence + 1,
        "attempts": row.attempts + 1,
        "worker": worker,
        "control": None,
        "reason": None,
        "error_code": None,
        "next_attempt_at": None,
        "updated_at": now,
        "started_at": row.started_at or now,
    }


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

    def mistake(self, job: Job) -> ValueError | None:
        """Return an error if `domain.job.TRANSITIONS` lacks this change."""
        if self.to in TRANSITIONS[job.status]:
            return None
        return ValueError(f"{job.status} → {self.to} is not a transition")

    def columns(self, row: Job) -> dict[str, Any]:
        """Return the columns to set, by the job's locked row and its pending control request."""
        values = self._requested_columns(row)
        honored = _HONORED.get(self.to, ()) if row.status in RUNNING else ()
        if row.control is not None and row.control in honored:
            values |= self._columns_of_control(row.control)
        elif honored and self.to is JobStatus.PAUSED:
            # Its pause was withdrawn.
            values |= {"status": JobStatus.QUEUED, "reason": None}
        return values

    def _columns_of_control(self, control: str) -> dict[str, Any]:
        target = _CONTROL_TARGETS[control]
        values: dict[str, Any] = {"status": target, "error_code": None, "next_attempt_at": None}
        if target is not self.to:
            values["reason"] = requested(control)
        if target is JobStatus.CANCELLED:
            values |= {"finished_at": self.now, "bytes_durable": 0}  # its part file is removed
        return values

    def _requested_columns(self, row: Job) -> dict[str, Any]:
        to = self.to
        values: dict[str, Any] = {
            "status": to,
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
            if row.secret_url:
                values["url"], values["mirrors"] = display_url(row.url, secret=True), ()
        if to is JobStatus.CANCELLED:
            values["bytes_durable"] = 0  # its part file is removed
        if to is JobStatus.QUEUED and row.status in FINISHED:
            # Bytes beyond the last checkpoint were discarded.
            values["bytes_downloaded"] = row.bytes_durable
        if to in {JobStatus.QUEUED, JobStatus.PAUSED}:
            values["published_at"] = None
        return values

    def event_reason_for(self, job: Job) -> str | None:
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
