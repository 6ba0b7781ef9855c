"""One delivery: the end of a job, and who has to learn of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Self

from sqlalchemy import Boolean

from database.models import TextTuple, UTCDateTime, jobs, webhook_deliveries
from domain.job import Job, JobStatus, Priority

#: Attempts that a delivery keeps.
MAX_ATTEMPTS_KEPT = 20


class Target(StrEnum):
    """Who receives a delivery."""

    JOB = "job"
    """The webhook of the job itself."""
    USER = "user"
    """The webhook that the job's owner has at the moment."""
    PROGRAM = "program"
    """The program of SEEN_ON_END."""


class DeliveryState(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    """It is to be made, or to be tried again, at `next_attempt_at`."""
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"
    """All attempts have failed, or the receiver wants no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt at a delivery.

    Attributes:
        at: when it ended, aware UTC.
        status: of the response, or the exit status of the program; None without.
        error: why it failed, as a sentence; None for a success.
        seconds: how long it took.
    """

    at: datetime
    status: int | None
    error: str | None
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Return it as a dict that `json.dumps` takes."""
        return {**asdict(self), "at": self.at.isoformat()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read what `as_json` has returned."""
        return cls(
            at=datetime.fromisoformat(values["at"]),
            status=values["status"],
            error=values["error"],
            seconds=values["seconds"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One row of `webhook_deliveries`, as read.

    Attributes:
        event: the state in which the job has ended.
        job: the job at its end; of a secret URL it has scheme and host alone.
        claims: how often it was claimed.
        attempts: those that count: a person's request to send it again starts from 0.
        log: the newest attempts, the oldest first.
    """

    id: int
    job_id: str
    user_id: str | None
    target: Target
    url: str | None = field(repr=False)
    host: str
    event: JobStatus
    ended_at: datetime
    job: Job
    state: DeliveryState
    claims: int
    attempts: int
    next_attempt_at: datetime
    log: tuple[Attempt, ...]

    @property
    def message_id(self) -> str:
        """The same for all attempts and receivers, and for no other end of a job."""
        micros = round(self.ended_at.timestamp() * 1e6)
        return f"msg_{self.job_id}_{micros}"


DELIVERY_COLUMNS = tuple(webhook_deliveries.c[one.name] for one in fields(Delivery))


def to_delivery(row: Any) -> Delivery:
    """Read one row of `DELIVERY_COLUMNS`."""
    values = dict(row._mapping)
    values["target"] = Target(values["target"])
    values["event"] = JobStatus(values["event"])
    values["state"] = DeliveryState(values["state"])
    values["job"] = _to_job(json.loads(values["job"]))
    values["log"] = tuple(map(Attempt.from_json, json.loads(values["log"] or "[]")))
    return Delivery(**values)


def _to_job(kept: Mapping[str, Any]) -> Job:
    """Read a job as the trigger has kept it; a column of a newer version is left out."""
    names = {one.name for one in fields(Job)}
    values = {name: _read(name, value) for name, value in kept.items() if name in names}
    values["status"] = JobStatus(values["status"])
    values["priority"] = Priority(values["priority"])
    return Job(**values)


#: By the type of a column, what reads a value of it from JSON. SQLite has no type for most of them.
_READERS: Mapping[type, Callable[[Any], Any]] = {
    UTCDateTime: lambda value: _time(value),
    Boolean: bool,
    TextTuple: lambda value: tuple(json.loads(value)),
}


def _read(name: str, value: Any) -> Any:
    if value is None:
        return () if name == "mirrors" else None
    reader = _READERS.get(type(jobs.c[name].type))
    return value if reader is None else reader(value)


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
