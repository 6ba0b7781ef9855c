"""The values that the cache returns: typed and immutable."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    NonNegativeInt,
    ValidationError,
    ValidationInfo,
    computed_field,
    model_validator,
)

from cache.records import STORED, Record
from domain.byte_counts import ByteCounts
from domain.errors import InvalidInputError
from domain.job import JobStatus
from domain.text import requirement, sentence

#: Seconds without a tick after which beat counts as missing. A beat ticks every 5 s at least.
BEAT_MISSING_AFTER = 30.0


#: A signed 64-bit integer, the database's type.
Count = Annotated[int, Field(ge=0, lt=2**63)]


class DownloadProgress(Record):
    """The progress of one download. Percent and time left are computed from the other fields.

    They may be passed, too: a percent must agree with the byte counts, and a time left is replaced.
    """

    job_id: str
    status: JobStatus
    user_id: str | None = None
    bytes_downloaded: Count = 0
    """Bytes written, synced or not."""
    bytes_durable: Count = 0
    """Bytes that survive a power cut: synced, and recorded in the checkpoint."""
    bytes_total: Count | None = None
    """The size of the whole file; None while it is unknown."""
    download_speed_mbps: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Smoothed speed in megabits (10^6 bits) per second."""
    reason: str | None = None
    error_code: str | None = None
    path: str | None = None
    """The published file, once completed."""
    sha256: str | None = None
    fence: Count = 0
    sequence: Count = 0
    updated_at: datetime | None = None
    """When the worker last updated it, by the store's clock."""
    last_byte_at: datetime | None = None
    """When `bytes_downloaded` last rose, by the store's clock."""
    stated_percent: float | None = Field(
        default=None, alias="progress_percent", ge=0, le=100, exclude=True, repr=False
    )
    """Only an argument, ``progress_percent=45``, and None afterwards."""
    stated_eta: float | None = Field(
        default=None, alias="eta_seconds", ge=0, allow_inf_nan=False, exclude=True, repr=False
    )
    """Only an argument, ``eta_seconds=120``, and None afterwards."""

    @model_validator(mode="after")
    def _check_stated(self, info: ValidationInfo) -> Self:
        computed = self.progress_percent
        stated = None if info.context is STORED else self.stated_percent
        # Whole percents may be rounded either way; 0 is also what a caller without a total passes.
        if stated is not None and abs(stated - (computed or 0)) >= 1:
            raise ValueError(
                f"progress_percent is {stated:g}, but bytes_downloaded and bytes_total give "
                f"{'none' if computed is None else f'{computed:g}'}. Pass both counts; "
                "progress_percent may be left out"
            )
        self.__dict__.update(stated_percent=None, stated_eta=None)
        return self

    @computed_field  # type: ignore[prop-decorator]
    @property
    def progress_percent(self) -> float | None:
        """0 to 100 with one decimal; None if the total is unknown."""
        if self.bytes_total is None:
            return None
        if self.bytes_downloaded >= self.bytes_total:
            return 100.0
        # Rounded down: 100.0 means that every byte is there.
        return self.bytes_downloaded * 1000 // self.bytes_total / 10

    @property
    def counts(self) -> ByteCounts:
        """The byte counts as one record."""
        return ByteCounts(self.bytes_downloaded, self.bytes_durable, self.bytes_total)

    @property
    def speed(self) -> float:
        """Smoothed speed in bytes per second."""
        return self.download_speed_mbps * 1e6 / 8

    @computed_field  # type: ignore[prop-decorator]
    @property
    def eta_seconds(self) -> int | None:
        """Seconds left at the current speed; None if the total or the speed is unknown."""
        if self.bytes_total is None or self.speed <= 0:
            return None
        return round(max(0, self.bytes_total - self.bytes_downloaded) / self.speed)

    @property
    def version(self) -> int:
        """Fence and sequence as one increasing number; exact in a sorted set's score up to 2^53."""
        return version(self.fence, self.sequence)


def version(fence: int, sequence: int) -> int:
    """Return the progress version: versions order by fence, then by sequence."""
    return fence * 2**32 + sequence


class LockGrant(NamedTuple):
    """The result of `acquire_lock`."""

    lock_id: str
    """The holder's token, for `extend_lock` and `release_lock`."""
    acquired: bool

    def __bool__(self) -> bool:
        """Whether the lock was acquired, for ``if session.acquire_lock(…)``."""
        return self.acquired


def _number(value: Any) -> Any:
    """Refuse a bool or a text, which pydantic accepts as a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("it must be a number")  # noqa: TRY004 - pydantic does not catch TypeError
    return value


def _seconds(value: Any) -> Any:
    return value.total_seconds() if isinstance(value, timedelta) else _number(value)


class RateLimit(Record):
    """At most `limit` in any `window` seconds."""

    limit: Annotated[int, BeforeValidator(_number)] = Field(ge=1, le=100_000)
    window: Annotated[float, BeforeValidator(_seconds)] = Field(ge=0.001, le=366 * 86_400)
    """In seconds; a timedelta is converted."""

    @model_validator(mode="wrap")
    @classmethod
    def _raise_invalid_input(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(data)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            field = ".".join(str(part) for part in problem["loc"]) or "limits"
            raise InvalidInputError(
                field, problem["input"], sentence(requirement(problem))
            ) from None


class RateState(Record):
    """The state of one limit after a check. Times in seconds."""

    limit: int
    window: float
    remaining: NonNegativeInt
    reset: float
    """Until the whole limit is free again, without further calls."""


class RateDecision(Record):
    """Whether a call is allowed by all of its limits."""

    allowed: bool
    retry_after: float
    """Seconds until it would be allowed; 0 if it is."""
    states: tuple[RateState, ...]
    """One for each limit, in the order given; empty if the store did not answer."""

    def __bool__(self) -> bool:
        """Whether the call is allowed, for ``if session.rate_limit_check(…)``."""
        return self.allowed

    @property
    def tightest(self) -> RateState | None:
        """The limit with the smallest share left."""
        return min(self.states, key=lambda state: state.remaining / state.limit, default=None)

    @property
    def remaining(self) -> int | None:
        """The remainder of the tightest limit; None if the store did not answer."""
        return None if self.tightest is None else self.tightest.remaining

    @property
    def reset(self) -> float | None:
        """Seconds until the tightest limit is free again; None if the store did not answer."""
        return None if self.tightest is None else self.tightest.reset


class DownloadTotals(Record):
    """Totals of all downloads of all workers."""

    active: NonNegativeInt
    """Downloads that were updated within the TTL of a progress hash."""
    bytes_per_second: float
    """Bytes written per second, averaged over the last `seconds`."""
    seconds: float


class DownloadPage(Record):
    """One page of the running downloads, in the order of their job ids."""

    items: tuple[DownloadProgress, ...]
    next_after: str | None
    """The `after` argument for the next page; None on the last page."""


class UserInvalidation(Record):
    """What an invalidation of one user has deleted."""

    sessions: NonNegativeInt
    profile: NonNegativeInt
    catalogs: NonNegativeInt
    downloads: NonNegativeInt


class MaintenanceReport(Record):
    """The result of one run of maintenance."""

    stale: NonNegativeInt
    """Stale progress hashes that were removed with their index entries."""
    gone: NonNegativeInt
    """Index entries without a hash that were removed."""
    stats: CacheStats


class WorkerHeartbeat(Record):
    """One worker process that runs."""

    name: str
    """Its node name, ``downloads-3f9a1c2b@host``."""
    process: str
    """Distinguishes workers that share a name."""
    queues: tuple[str, ...] = ()
    """The queues that it consumes."""


class BeatStatus(Record):
    """The last tick of any beat, by the store's clock."""

    process: str = Field(serialization_alias="worker")
    """The beat that ticked, ``host:pid``."""
    ticked_at: datetime
    age_seconds: float = Field(ge=0)

    @property
    def is_missing(self) -> bool:
        """Whether the last tick is so old that no beat can be running, or all of them hang."""
        return self.age_seconds > BEAT_MISSING_AFTER


class HealthReport(Record):
    """One real round through the store: written, read back, deleted. Times are milliseconds."""

    ok: bool
    write_ms: float
    read_ms: float
    delete_ms: float
    beat_age: float | None = None
    """Seconds since beat's last tick; None when there was none within a day, or it cannot be read."""
    error: str | None = None


class CacheStats(Record):
    """Statistics of the store: the same fields on Dragonfly, Redis and Valkey. Memory in bytes."""

    server: Literal["dragonfly", "redis", "valkey"]
    version: str
    db_size: int
    used_memory: int
    max_memory: int
    """0 means no limit."""
    eviction_policy: str | None
    """``noeviction``, or what is evicted at the limit: ``allkeys-lru``, ``eviction`` (Dragonfly), …"""
    hits: int
    misses: int
    hit_ratio: float | None
    """None before the first read."""
    evicted_keys: int
    expired_keys: int
    connected_clients: int
    uptime_seconds: int
    keyspace: dict[str, int]
    """Keys by database, ``{"db0": 12}``."""
    families: dict[str, int]
    """Keys of the namespace by family (the part after the namespace), among `scanned` keys."""
    scanned: int
    scanned_all: bool
    """Whether all keys were scanned, so that `families` is complete."""
