"""A job: its states, the legal changes between them, and its row as read from SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from domain.limits import plain_host


class JobStatus(StrEnum):
    """Where a job stands. Liveness (stalled, orphaned) is told apart, never guessed into it."""

    QUEUED = "queued"
    """Accepted; a worker will take it."""
    DOWNLOADING = "downloading"
    """One worker holds its lock and moves bytes."""
    VERIFYING = "verifying"
    """All bytes are on disk; size and checksum are being checked."""
    WAITING = "waiting"
    """A transient error; it is queued again at `next_attempt_at`."""
    PAUSED = "paused"
    """Stopped on request; the part file is kept."""
    COMPLETED = "completed"
    """The file stands under its final name."""
    FAILED = "failed"
    """A permanent error, or the attempts are used up."""
    CANCELLED = "cancelled"
    """Stopped on request; the part file is gone."""


class Priority(StrEnum):
    """Which queue a job waits in; the first is served first, and none of them waits for ever."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


_S = JobStatus

#: The whole life of a job. A change that is not in this table is never written.
TRANSITIONS: Mapping[JobStatus, frozenset[JobStatus]] = MappingProxyType(
    {
        _S.QUEUED: frozenset({_S.DOWNLOADING, _S.PAUSED, _S.CANCELLED}),
        _S.DOWNLOADING: frozenset(
            {_S.VERIFYING, _S.QUEUED, _S.WAITING, _S.PAUSED, _S.FAILED, _S.CANCELLED}
        ),
        _S.VERIFYING: frozenset(
            {_S.COMPLETED, _S.QUEUED, _S.WAITING, _S.PAUSED, _S.FAILED, _S.CANCELLED}
        ),
        _S.WAITING: frozenset({_S.QUEUED, _S.PAUSED, _S.CANCELLED}),
        _S.PAUSED: frozenset({_S.QUEUED, _S.CANCELLED}),
        _S.FAILED: frozenset({_S.QUEUED}),
        _S.CANCELLED: frozenset({_S.QUEUED}),
        _S.COMPLETED: frozenset(),
    }
)

#: A worker holds the lock in these.
RUNNING = frozenset({_S.DOWNLOADING, _S.VERIFYING})
#: Nothing happens to these any more unless a person asks for it.
FINISHED = frozenset({_S.COMPLETED, _S.FAILED, _S.CANCELLED})
#: The others: something is still to come of them.
UNFINISHED = frozenset(_S) - FINISHED


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One row of the `jobs` table, as read. Times are aware UTC, sizes are bytes."""

    id: str
    url: str
    directory: str
    status: JobStatus
    max_attempts: int
    created_at: datetime
    updated_at: datetime
    user_id: str | None = None
    name: str | None = None
    checksum: str | None = None
    overwrite: bool = False
    mirrors: tuple[str, ...] = ()
    host: str | None = None
    """The host of `url`, as `domain.urls.host_of` tells it."""
    max_bytes: int | None = None
    connections: int | None = None
    decode: bool = False
    ignore_origin_digests: bool = False
    priority: Priority = Priority.NORMAL
    dedup_key: str | None = field(default=None, repr=False)
    """What jobs that ask for the very same have in common (`domain.dedup`)."""
    secrets: str | None = field(default=None, repr=False)
    """Headers, login and cookies, sealed: the names of what there is, a space, an encrypted token."""
    fence: int = 0
    """How often the job has been claimed; each claim owns its number, an older one may write nothing."""
    attempts: int = 0
    """Claims that counted against max_attempts (a drained one does not)."""
    worker: str | None = None
    control: str | None = None
    """What a person asked of a running job: "pause" or "cancel"."""
    reason: str | None = None
    """Why it waits or failed, for people; `error_code` is the same for programs."""
    error_code: str | None = None
    next_attempt_at: datetime | None = None
    published_at: datetime | None = None
    """When its message went to the broker, the last time that it waited; None where nobody noted that.

    Once it is claimed nobody notes it any more.
    """
    started_at: datetime | None = None
    finished_at: datetime | None = None
    bytes_downloaded: int = 0
    """How far it got."""
    bytes_total: int | None = None
    bytes_durable: int = 0
    """What is fsynced, so that another attempt can go on from it."""
    speed_mbps: float = 0.0
    path: str | None = None
    """The published file, once completed."""
    sha256: str | None = None
    """The digest of the published file."""

    @property
    def secret_names(self) -> tuple[str, ...]:
        """The names of the headers in `secrets`, and "username", "password" and "cookies"."""
        return tuple(self.secrets.partition(" ")[0].split(",")) if self.secrets else ()

    @property
    def is_finished(self) -> bool:
        """Whether nothing more happens to this job by itself."""
        return self.status in FINISHED


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmittedJob(Job):
    """A job as `tasks.submit` returns it."""

    is_new: bool
    """False when it was there already: alive and asking for the very same, or under the same key."""


class QueuedJob(NamedTuple):
    """What publishing a job needs to know of it; a `Job` has it, too."""

    id: str
    priority: Priority
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs are meant; what is None does not matter.

    Attributes:
        status: only in this state.
        user_id: only this user's.
        host: only from this host, in any spelling; kept in the one that rows have.
    """

    status: JobStatus | None = None
    user_id: str | None = None
    host: str | None = None

    def __post_init__(self) -> None:
        if self.host is not None:
            object.__setattr__(self, "host", plain_host(self.host))


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent:
    """One change of a job's state, from the audit trail."""

    job_id: str
    at: datetime
    from_status: JobStatus | None
    to_status: JobStatus
    worker: str | None
    fence: int
    attempt: int
    reason: str | None
