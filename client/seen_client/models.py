"""What the service answers, and what it is asked for. Names are those of its OpenAPI document.

Times are aware datetimes, sizes are bytes. Values of a newer service that this client does not know are
kept as plain `str`; fields that it does not know are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Status(StrEnum):
    """The state of a download."""

    QUEUED = "queued"
    DOWNLOADING = "downloading"
    VERIFYING = "verifying"
    WAITING = "waiting"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Priority(StrEnum):
    """The queue that a download waits in."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


#: The states that a download does not leave by itself.
ENDED = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})


@dataclass(frozen=True, slots=True)
class Cookie:
    """A cookie for the host of a URL or of a mirror."""

    pair: str = field(repr=False)
    """``name=value``."""
    domain: str = ""
    with_subdomains: bool = False
    path: str = "/"
    secure: bool = False
    expires: float = 0.0
    """Seconds since the epoch; 0 for a cookie of a session."""


@dataclass(frozen=True, slots=True)
class DownloadRequest:
    """What is to be downloaded. Only the URL is needed; the service has defaults for the rest."""

    url: str
    mirrors: tuple[str, ...] = ()
    """Further URLs of the same file."""
    secret_url: bool = False
    """The URL and its mirrors are secrets."""
    directory: str = ""
    """A folder in the download folder of the service."""
    name: str | None = None
    checksum: str | None = None
    """``sha256:…`` and others: the file has to have it."""
    user_id: str | None = None
    """Another owner; only for admins."""
    overwrite: bool = False
    """Replace a file of this name; only for admins."""
    max_attempts: int | None = None
    max_bytes: int | None = None
    max_rate: int | None = None
    """Bytes a second."""
    connections: int | None = None
    decode: bool = False
    """Undo a Content-Encoding that was not requested."""
    ignore_origin_digests: bool = False
    priority: Priority | str = Priority.NORMAL
    webhook: str | None = field(default=None, repr=False)
    """Is called when the download has ended."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    cookies: str | None = field(default=None, repr=False)
    """The value of a Cookie header for the URL."""
    cookie_jar: tuple[Cookie, ...] = ()


@dataclass(frozen=True, slots=True)
class Download:
    """A download as it stands."""

    id: str
    status: Status | str
    waiting_for: str | None
    next_attempt_at: datetime | None
    url: str
    mirrors: tuple[str, ...]
    secret_url: bool
    host: str | None
    directory: str
    name: str | None
    checksum: str | None
    user_id: str | None
    overwrite: bool
    max_bytes: int | None
    max_rate: int | None
    connections: int | None
    decode: bool
    ignore_origin_digests: bool
    priority: Priority | str
    webhook: str | None
    hidden: tuple[str, ...]
    attempts: int
    max_attempts: int
    fence: int
    worker: str | None
    control: str | None
    reason: str | None
    """Why it waits or failed, as a sentence."""
    error_code: str | None
    """The same for programs."""
    bytes_downloaded: int
    bytes_durable: int
    bytes_total: int | None
    progress_percent: float | None
    speed_mbps: float
    eta_seconds: int | None
    path: str | None
    """Of the published file, on the service's machine."""
    sha256: str | None
    published_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime | None
    last_byte_at: datetime | None

    @property
    def has_ended(self) -> bool:
        """Whether it is completed, failed or cancelled."""
        return self.status in ENDED


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """What is wrong with one part of a request."""

    pointer: str
    detail: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Why something was not done (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    instance: str = ""
    errors: tuple[FieldProblem, ...] | None = None


@dataclass(frozen=True, slots=True)
class SubmitResult:
    """What became of one of several requests: a download, or the problem that refused it."""

    download: Download | None = None
    is_new: bool | None = None
    """False for a download that existed."""
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class SubmitResults:
    """What became of several requests, in their order."""

    results: tuple[SubmitResult, ...]
    accepted: int
    refused: int


@dataclass(frozen=True, slots=True)
class DownloadPage:
    """One page of a list."""

    downloads: tuple[Download, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class HistoryEvent:
    """One line of the history of a download."""

    at: datetime
    from_status: Status | str | None
    to_status: Status | str
    worker: str | None
    fence: int
    attempt: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class History:
    """The history of a download, the oldest event first."""

    events: tuple[HistoryEvent, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """Downloads by what they have; at least one of the fields."""

    state: Status | str | None = None
    user_id: str | None = None
    host: str | None = None


@dataclass(frozen=True, slots=True)
class RefusedDownload:
    """A download that an action did not change."""

    id: str
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class ActionResult:
    """What an action on many downloads has changed."""

    changed: int
    unchanged: int
    refused: tuple[RefusedDownload, ...]


@dataclass(frozen=True, slots=True)
class Totals:
    """How many downloads there are, and what is downloaded now."""

    jobs: Mapping[str, int]
    """By state."""
    at_least: tuple[str, ...]
    """The states of which there are more than `jobs` says."""
    active: int | None
    bytes_per_second: float | None


@dataclass(frozen=True, slots=True)
class TotalLimit:
    """The limit of all downloads together, in bytes a second."""

    limit: int | None
    is_default: bool
    used: int


@dataclass(frozen=True, slots=True)
class ConcurrencyLimit:
    """The limit of downloads at once in all workers; None for none but that of each worker."""

    limit: int | None
    is_default: bool
    running: int


@dataclass(frozen=True, slots=True)
class HostLimit:
    """The limit of one host."""

    host: str
    limit: int
    used: int
    transfers: int


@dataclass(frozen=True, slots=True)
class DownloadLimit:
    """The limit of one download."""

    job_id: str
    limit: int
    used: int


@dataclass(frozen=True, slots=True)
class Limits:
    """All limits, of rates in bytes a second, and what is used of them."""

    total: TotalLimit
    concurrent_downloads: ConcurrencyLimit
    hosts: tuple[HostLimit, ...]
    jobs: tuple[DownloadLimit, ...]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who has signed in, and what it may do."""

    user_id: str | None
    role: str
    scopes: tuple[str, ...]
    kind: str
    """key or session."""
    expires_at: datetime | None = None
    """Of a session that was just made or refreshed."""
    token: str | None = field(default=None, repr=False)
    """Of such a session; the client that signed in uses it already."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """A webhook as it is shown: scheme and host."""

    url: str | None


@dataclass(frozen=True, slots=True)
class WebhookSecret:
    """What signs deliveries."""

    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class DeliveryAttempt:
    """One attempt of a delivery."""

    at: datetime
    status: int | None
    """Of the receiver's response; None without one."""
    error: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Delivery:
    """The end of a download for one receiver."""

    id: int
    webhook_id: str
    job_id: str
    user_id: str | None
    target: str
    host: str
    event: str
    ended_at: datetime
    state: str
    next_attempt_at: datetime | None
    attempts: tuple[DeliveryAttempt, ...]


@dataclass(frozen=True, slots=True)
class Deliveries:
    """One page of deliveries."""

    deliveries: tuple[Delivery, ...]
    next_before: int | None
