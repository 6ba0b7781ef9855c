"""What the cache layer hands out: typed, immutable values."""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    NonNegativeInt,
    ValidationError,
    computed_field,
    model_validator,
)

from domain.byte_counts import ByteCounts
from domain.errors import InvalidInputError
from domain.job import JobStatus

#: Seconds without a tick after which beat counts as missing. A beat ticks every 5 s at least.
BEAT_MISSING_AFTER = 30.0


#: What the database can hold.
Count = Annotated[int, Field(ge=0, lt=2**63)]


class _FrozenModel(BaseModel):
    model_config = ConfigDict(frozen=True)


class _SensitiveModel(_FrozenModel):
    """Neither its fields nor what was meant to become them stand in an error's message."""

    model_config = ConfigDict(hide_input_in_errors=True)


class DownloadProgress(_FrozenModel):
    """Where one download stands. Percent and time left are derived, so they cannot disagree."""

    job_id: str
    status: JobStatus
    user_id: str | None = None
    bytes_downloaded: Count = 0
    """Bytes on disk, fsynced or not."""
    bytes_durable: Count = 0
    """Bytes that survive a crash: fsynced and written into the checkpoint."""
    bytes_total: Count | None = None
    """The size of the whole file; None while nobody knows it."""
    download_speed_mbps: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Smoothed speed in megabits (10^6 bits) a second."""
    reason: str | None = None
    error_code: str | None = None
    path: str | None = None
    """The published file, once completed."""
    sha256: str | None = None
    fence: Count = 0
    sequence: Count = 0
    updated_at: datetime | None = None
    """The last sign of life of the worker, by the store's clock."""
    last_byte_at: datetime | None = None
    """When the count of bytes last rose, by the store's clock."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def progress_percent(self) -> float | None:
        """0 to 100 with one decimal, or None when the total is unknown."""
        if self.bytes_total is None:
            return None
        if self.bytes_downloaded >= self.bytes_total:
            return 100.0
        # Rounded down: 100.0 is shown only when every byte is there.
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
        """Seconds left at the present speed, or None when that cannot be said."""
        if self.bytes_total is None or self.speed <= 0:
            return None
        return round(max(0, self.bytes_total - self.bytes_downloaded) / self.speed)

    @property
    def version(self) -> int:
        """Fence and sequence as one rising number; exact in a sorted set's double up to 2^53."""
        return version(self.fence, self.sequence)


def version(fence: int, sequence: int) -> int:
    """Return the progress version of (fence, sequence): it rises with either, the fence first."""
    return fence * 2**32 + sequence


class SessionData(_SensitiveModel):
    """One login. The refresh token is kept as its SHA-256 only; `issue` makes that from the token.

    A token has enough randomness of its own (128 bits or more) that a fast hash protects it: there is no
    dictionary of them to try, unlike passwords.
    """

    session_id: str = Field(repr=False)
    user_id: str = Field(repr=False)
    expires_at: AwareDatetime
    created_at: AwareDatetime | None = None
    refresh_token_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$", repr=False)
    client: str = ""
    """What the user sees in a list of sessions, such as the browser's name."""

    @classmethod
    def issue(
        cls,
        *,
        session_id: str,
        user_id: str,
        expires_at: datetime,
        refresh_token: str | None = None,
        created_at: datetime | None = None,
        client: str = "",
    ) -> Self:
        """Return the session of one login, its refresh token hashed.

        Raises:
            InvalidInputError: the refresh token is empty or shorter than 16 characters.
        """
        return cls(
            session_id=session_id,
            user_id=user_id,
            expires_at=expires_at,
            created_at=created_at,
            refresh_token_sha256=None if refresh_token is None else hash_token(refresh_token),
            client=client,
        )

    def accepts(self, refresh_token: str) -> bool:
        """Say whether `refresh_token` is this session's; compared in constant time."""
        held = self.refresh_token_sha256 or ""
        given = hashlib.sha256(refresh_token.encode(errors="surrogatepass")).hexdigest()
        return hmac.compare_digest(held, given)


MIN_TOKEN_CHARS = 16


def hash_token(token: str) -> str:
    """Return the SHA-256 of a token in hex; refuse one so short that it could be guessed."""
    if not isinstance(token, str):
        raise InvalidInputError("refresh_token", type(token).__name__, "It must be a string.")
    if len(token) < MIN_TOKEN_CHARS:
        raise InvalidInputError(
            "refresh_token",
            f"{len(token)} characters",
            f"A token has {MIN_TOKEN_CHARS} random characters or more.",
        )
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


class UserData(_SensitiveModel):
    """What the platform wants to know of a user at every request."""

    id: str = Field(repr=False)
    email: str = Field(repr=False)
    display_name: str = Field(default="", repr=False)
    role: str = "user"


class LockGrant(NamedTuple):
    """The answer of `acquire_lock`."""

    lock_id: str
    """The owner's token: extend and release with it."""
    acquired: bool

    def __bool__(self) -> bool:
        """Whether it was acquired: ``if session.acquire_lock(…)`` means what it says."""
        return self.acquired


class RateLimit(_FrozenModel):
    """At most `limit` in any `window` seconds."""

    limit: int = Field(ge=1, le=100_000)
    window: float = Field(ge=0.001, le=366 * 86_400)

    @model_validator(mode="wrap")
    @classmethod
    def _raise_invalid_input(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(data)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            field = ".".join(str(part) for part in problem["loc"]) or "limits"
            raise InvalidInputError(field, problem["input"], f"{problem['msg']}.") from None


class RateState(_FrozenModel):
    """Where one limit stands after a check. Times in seconds."""

    limit: int
    window: float
    remaining: NonNegativeInt
    reset: float
    """Until the whole limit is free again, if nothing more is asked."""


class RateDecision(_FrozenModel):
    """Whether something may be done now, as the tightest of its limits sees it."""

    allowed: bool
    retry_after: float
    """Seconds until it would be allowed; 0 when it is."""
    states: tuple[RateState, ...]
    """One for each limit, in the order given; empty when the store did not answer."""

    def __bool__(self) -> bool:
        """Whether it is allowed: ``if session.rate_limit_check(…)`` means what it says."""
        return self.allowed

    @property
    def tightest(self) -> RateState | None:
        """The limit with the smallest share left."""
        return min(self.states, key=lambda state: state.remaining / state.limit, default=None)

    @property
    def remaining(self) -> int | None:
        """What is left of the tightest limit; None when the store did not answer."""
        return None if self.tightest is None else self.tightest.remaining

    @property
    def reset(self) -> float | None:
        """Seconds until the tightest limit is wholly free; None when the store did not answer."""
        return None if self.tightest is None else self.tightest.reset


class DownloadTotals(_FrozenModel):
    """All downloads of all workers together."""

    active: NonNegativeInt
    """Downloads with a sign of life within the life of a progress hash."""
    bytes_per_second: float
    """Bytes written to disk a second, over the last `seconds`."""
    seconds: float


class DownloadPage(_FrozenModel):
    """One page of the running downloads, in the order in which their jobs were made."""

    items: tuple[DownloadProgress, ...]
    next_after: str | None
    """Give this as `after` for the next page; None on the last."""


class UserInvalidation(_FrozenModel):
    """What an invalidation of one user removed."""

    sessions: NonNegativeInt
    profile: NonNegativeInt
    catalogs: NonNegativeInt
    downloads: NonNegativeInt


class MaintenanceReport(_FrozenModel):
    """What one round of maintenance did and saw."""

    stale: NonNegativeInt
    """Progress hashes that nobody had touched, removed with their index entries."""
    gone: NonNegativeInt
    """Index entries whose hash was gone."""
    stats: CacheStats


class BeatStatus(_FrozenModel):
    """The last tick of any beat, by the store's clock."""

    worker: str
    """The beat that ticked, ``host:pid``."""
    ticked_at: datetime
    age_seconds: float = Field(ge=0)

    @property
    def is_missing(self) -> bool:
        """Whether the last tick is so old that no beat can be running, or all of them hang."""
        return self.age_seconds > BEAT_MISSING_AFTER


class HealthReport(_FrozenModel):
    """One real round through the store: written, read back, deleted. Times are milliseconds."""

    ok: bool
    write_ms: float
    read_ms: float
    delete_ms: float
    beat_age: float | None = None
    """Seconds since beat's last tick; None when there was none within a day, or it cannot be read."""
    error: str | None = None


class CacheStats(_FrozenModel):
    """The store in figures, the same fields on Dragonfly, Redis and Valkey. Memory in bytes."""

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
    """None until something has been read."""
    evicted_keys: int
    expired_keys: int
    connected_clients: int
    uptime_seconds: int
    keyspace: dict[str, int]
    """Keys by database, ``{"db0": 12}``."""
    families: dict[str, int]
    """Our keys by family (the word after the namespace), among `scanned` keys."""
    scanned: int
    scanned_all: bool
    """Whether that was every key, so that `families` is the whole truth."""
