"""A job and its events as JSON, for `--json` and for an HTTP API."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from operator import attrgetter
from types import NoneType
from typing import cast

from typing_extensions import TypedDict

from domain.job import JobEvent
from domain.urls import display_url
from tasks.api.job_view import JobView

_FROM_ROW = (
    *(
        "id",
        "host",
        "directory",
        "name",
        "checksum",
        "user_id",
        "overwrite",
        "max_bytes",
        "max_rate",
    ),
    *("connections", "decode", "ignore_origin_digests", "priority", "attempts", "max_attempts"),
    "secret_url",
    *("fence", "worker", "control", "next_attempt_at", "published_at", "created_at"),
    *("started_at", "finished_at"),
)
_FROM_PROGRESS = (
    *("status", "reason", "error_code", "bytes_downloaded", "bytes_durable", "bytes_total"),
    *("progress_percent", "eta_seconds", "path", "sha256", "updated_at", "last_byte_at"),
)
_of_row, _of_progress = attrgetter(*_FROM_ROW), attrgetter(*_FROM_PROGRESS)
#: What JSON has by itself.
_PLAIN = frozenset({NoneType, str, bool, int, float, list})


class JobDict(TypedDict):
    """A job as JSON. Times are ISO 8601 in UTC, sizes are bytes, speed is 10^6 bits a second.

    Values that are unknown, or were not given, are null.
    """

    id: str
    status: str
    """queued, downloading, verifying, waiting, paused, completed, failed or cancelled."""
    waiting_for: str | None
    """For a waiting job one of `WaitingFor`, such as ``retry`` or ``host_slot``."""
    next_attempt_at: str | None
    url: str
    """As requested, the host normalized. Of a secret URL only scheme and host: ``https://example.org/…``."""
    mirrors: list[str]
    """As `url`."""
    secret_url: bool
    host: str | None
    directory: str
    name: str | None
    checksum: str | None
    user_id: str | None
    """The owner."""
    overwrite: bool
    max_bytes: int | None
    max_rate: int | None
    """Bytes a second."""
    connections: int | None
    decode: bool
    ignore_origin_digests: bool
    priority: str
    webhook: str | None
    """Scheme and host of the URL that is called when the job ends."""
    hidden: list[str]
    """The names of headers, and of the parts of a login, that are stored and not shown."""
    attempts: int
    max_attempts: int
    fence: int
    worker: str | None
    control: str | None
    """The pending control request, ``pause`` or ``cancel``."""
    reason: str | None
    """Why it waits or failed, as a sentence."""
    error_code: str | None
    """The same for programs, such as ``http_404``."""
    bytes_downloaded: int
    bytes_durable: int
    bytes_total: int | None
    progress_percent: float | None
    speed_mbps: float
    eta_seconds: int | None
    path: str | None
    """Of the published file."""
    sha256: str | None
    """Of the published file."""
    published_at: str | None
    """When its message was last sent to the broker."""
    created_at: str
    started_at: str | None
    finished_at: str | None
    updated_at: str | None
    last_byte_at: str | None


class EventDict(TypedDict):
    """One event of a job's history as JSON; `at` is ISO 8601."""

    at: str
    from_status: str | None
    """Null for the first event. The same as `to_status` where the event is only a note."""
    to_status: str
    worker: str | None
    fence: int
    attempt: int
    reason: str | None


def job_as_json(view: JobView) -> JobDict:
    """Return a job as a dict that `json.dumps` takes."""
    job, progress = view.job, view.progress
    values: dict[str, object] = {
        **dict(zip(_FROM_ROW, _of_row(job), strict=True)),
        **dict(zip(_FROM_PROGRESS, _of_progress(progress), strict=True)),
        "url": view.url,
        "mirrors": view.mirrors,
        "webhook": None if job.webhook is None else display_url(job.webhook, secret=True),
        "hidden": list(job.secret_names),
        "waiting_for": view.waiting_for,
        "speed_mbps": progress.download_speed_mbps,
    }
    ordered = {
        name: value if type(value := values[name]) in _PLAIN else _plain(value)
        for name in JobDict.__annotations__
    }
    return cast(JobDict, ordered)


def event_as_json(event: JobEvent) -> EventDict:
    """Return an event as a dict that `json.dumps` takes."""
    values = {name: _plain(getattr(event, name)) for name in EventDict.__annotations__}
    return cast(EventDict, values)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    return value.value if isinstance(value, Enum) else value
