"""A job: its states, the legal changes between them, and its row as read from SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from domain.byte_counts import ByteCounts
from domain.limits import plain_host


class JobStatus(StrEnum):
    """The state of a job. Whether its worker is alive is not part of it."""

    QUEUED = "queued"
    """Accepted; a worker will claim it."""
    DOWNLOADING = "downloading"
    """One worker holds its lock and moves bytes."""
    VERIFYING = "verifying"
    """In SQL: the file is verified and about to be published. In the progress hash: also before that."""
    WAITING = "waiting"
    """Waits after a transient error, or for a slot; it is queued again at `next_attempt_at`."""
    PAUSED = "paused"
    """Stopped on request; the part file is kept."""
    COMPLETED = "completed"
    """The file has its final name."""
    FAILED = "failed"
    """A permanent error, or the attempts are used up."""
    CANCELLED = "cancelled"
    """Stopped on request; the part file is removed."""


class Priority(StrEnum):
    """The queue a job waits in; high goes first, and no queue is starved."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"

    def is_as_urgent_as(self, other: Priority) -> bool:
        """Return whether jobs of this priority do not usually wait for those of the other one."""
        order = list(Priority)
        return order.index(self) <= order.index(other)


_S = JobStatus

#: The legal changes of state. No other change is ever written.
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

#: In these states a worker holds the job's lock, or has died: then the job is an orphan.
RUNNING = frozenset({_S.DOWNLOADING, _S.VERIFYING})
#: Nothing more happens in these states unless a person retries the job.
FINISHED = frozenset({_S.COMPLETED, _S.FAILED, _S.CANCELLED})
UNFINISHED = frozenset(_S) - FINISHED


class Order(StrEnum):
    """The order of a list: each has an index, or is for few jobs."""

    NEWEST = "newest"
    """By the time of submission."""
    OLDEST = "oldest"
    """By the time of submission."""
    ENDED = "ended"
    """Finished jobs, those that have ended last first."""
    SPEED = "speed"
    """Running jobs, the fastest first; on one page, since speeds change."""
    SIZE = "size"
    """The largest file first, those of unknown size last."""
    NAME = "name"
    """By the name of the file as it is shown; upper and lower case are alike."""
    PRIORITY = "priority"
    """The most urgent first, of one priority the newest."""

    @property
    def most_jobs(self) -> int | None:
        """Jobs that a list in this order may have at most, since all are read; None for any number."""
        return {Order.SIZE: 5_000, Order.PRIORITY: 5_000, Order.NAME: 2_000}.get(self)

    @property
    def states(self) -> frozenset[JobStatus]:
        """The states whose jobs it orders."""
        return {Order.ENDED: FINISHED, Order.SPEED: RUNNING}.get(self, frozenset(JobStatus))


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One row of the `jobs` table, as read. Times are aware UTC, sizes are bytes."""

    id: str
    url: str = field(repr=False)
    directory: str
    status: JobStatus
    max_attempts: int
    created_at: datetime
    updated_at: datetime
    user_id: str | None = None
    name: str | None = None
    checksum: str | None = None
    overwrite: bool = False
    mirrors: tuple[str, ...] = field(default=(), repr=False)
    secret_url: bool = False
    """`url` and `mirrors` are secrets: no output shows more of them than scheme and host."""
    host: str | None = None
    """The host of `url`, as `domain.urls.host_of` returns it."""
    max_bytes: int | None = None
    max_rate: int | None = None
    """Bytes a second, unless `seen limit --job` has set another limit."""
    connections: int | None = None
    decode: bool = False
    ignore_origin_digests: bool = False
    priority: Priority = Priority.NORMAL
    dedup_key: str | None = field(default=None, repr=False)
    """Equal for requests for the same thing (`domain.dedup`)."""
    secrets: str | None = field(default=None, repr=False)
    """Headers, login and cookies: their names, and after a space each one or two encrypted tokens."""
    fence: int = 0
    """The number of claims so far; a worker with an older number can write nothing."""
    attempts: int = 0
    """Claims that used up an attempt: not drains, pauses, lost leases or waits for slots or the disk."""
    worker: str | None = None
    control: str | None = None
    """The pending control request of a running job: "pause" or "cancel"."""
    reason: str | None = None
    """Why it waits or failed, for people; `error_code` is the same for programs."""
    error_code: str | None = None
    next_attempt_at: datetime | None = None
    published_at: datetime | None = None
    """When its last message was published; None where that is unknown. It is written after the message
    is sent, and not at all once a worker has claimed the job."""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    bytes_downloaded: int = 0
    """Bytes written to the part file."""
    bytes_total: int | None = None
    bytes_durable: int = 0
    """Bytes that survive a power cut, so that another attempt can resume from them."""
    speed_mbps: float = 0.0
    path: str | None = None
    """The published file of a completed job."""
    sha256: str | None = None
    """The digest of the published file."""
    webhook: str | None = field(default=None, repr=False)
    """The URL that is called when the job ends; it may be a secret."""

    @property
    def counts(self) -> ByteCounts:
        """The byte counts of its part file or published file."""
        return ByteCounts(self.bytes_downloaded, self.bytes_durable, self.bytes_total)

    @property
    def secret_names(self) -> tuple[str, ...]:
        """The names of the headers in `secrets`, and "username", "password" and "cookies"."""
        return tuple(self.secrets.partition(" ")[0].split(",")) if self.secrets else ()

    @property
    def is_finished(self) -> bool:
        """Whether the job is completed, failed or cancelled."""
        return self.status in FINISHED


class JobStamp(NamedTuple):
    """What differs after each change of a job that readers show."""

    status: JobStatus
    fence: int
    control: str | None
    updated_at: datetime
    bytes_downloaded: int
    priority: Priority
    """`updated_at` of a job that is not queued stays when it gets another one."""

    @classmethod
    def of(cls, job: Job) -> JobStamp:
        """Return the stamp of a row."""
        return cls(
            *(job.status, job.fence, job.control, job.updated_at, job.bytes_downloaded),
            priority=job.priority,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmittedJob(Job):
    """A job as `tasks.submit` returns it."""

    is_new: bool
    """False for an existing job: an unfinished one for the same request, or one with the same key."""


class QueuedJob(NamedTuple):
    """The part of a `Job` that publishing needs."""

    id: str
    priority: Priority
    updated_at: datetime


class Action(StrEnum):
    """An action on jobs."""

    PAUSE = "pause"
    """Stop until it is resumed; the part file is kept, and no attempt is used up."""
    RESUME = "resume"
    """Queue a paused job again, and a waiting one at once."""
    CANCEL = "cancel"
    """Stop for good; the part file is removed."""
    RETRY = "retry"
    """Queue a failed or cancelled job again, with all its attempts."""


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Selects jobs; None does not restrict.

    Attributes:
        status: only in this state.
        user_id: only this user's.
        host: only from this host, in any spelling; stored normalized.
    """

    status: JobStatus | None = None
    user_id: str | None = None
    host: str | None = None

    def __post_init__(self) -> None:
        if self.host is not None:
            object.__setattr__(self, "host", plain_host(self.host))


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent:
    """One event of a job's history: a change of state, or a note without one."""

    job_id: str
    at: datetime
    from_status: JobStatus | None
    to_status: JobStatus
    worker: str | None
    fence: int
    attempt: int
    reason: str | None
