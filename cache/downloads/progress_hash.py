"""The progress hash: its updates, and the conversion to and from the fields of the hash.

The arguments are those of the scripts `lua/progress_update.lua` and `lua/progress_set.lua`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from cache.log_once import LogOnce
from cache.models import DownloadProgress, version
from cache.records import STORED
from domain.byte_counts import ByteCounts
from domain.errors import StoreReplyError
from domain.job import JobStatus

#: The database stores versions as signed 64-bit integers.
_VERSION_LIMIT = 2**63
_log_once = LogOnce()

#: Fields that most jobs lack.
_OPTIONAL = ("user_id", "reason", "error_code", "path", "sha256")
#: Of these, what an update may empty again: a running download's trouble has ended.
_MAY_BE_EMPTIED = ("reason", "error_code")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressUpdate:
    """One update of one download's progress. It is idempotent: see `lua/progress_update.lua`.

    `increment` is the number of bytes since the update before. `counts.downloaded` is the total after
    it: it is used if the hash does not exist or belongs to an older claim, or if `reset` is set because
    the transfer started over.
    """

    job_id: str
    fence: int
    sequence: int
    status: JobStatus
    increment: int
    counts: ByteCounts
    speed: float
    """Bytes per second; the hash has megabits."""
    user_id: str | None = None
    reason: str | None = None
    error_code: str | None = None
    path: str | None = None
    sha256: str | None = None
    reset: bool = False
    persisted: bool = False
    """The database has this state: the hash gets the short TTL and is not marked dirty."""

    @property
    def version(self) -> int:
        """Fence and sequence as one increasing number."""
        return version(self.fence, self.sequence)


class UpdateReply(NamedTuple):
    """The store's reply to one update."""

    applied: bool
    """False if it was repeated or fenced."""
    fenced: bool
    """A newer claim owns the job: the worker must stop."""
    control: str | None
    """A control request for this claim: "pause", "cancel" or "leave"."""


def update_arguments(update: ProgressUpdate, ttl_ms: int) -> list[str | int]:
    """Return the arguments of `progress_update` for one update."""
    return [
        update.fence,
        update.sequence,
        update.increment,
        update.counts.downloaded,
        "1" if update.reset else "",
        ttl_ms,
        *_fields(update, update.speed * 8 / 1e6),
    ]


def set_arguments(progress: DownloadProgress, ttl_ms: int) -> list[str | int]:
    """Return the arguments of `progress_set` for a whole progress."""
    return [
        progress.fence,
        ttl_ms,
        progress.sequence,
        "bytes_downloaded",
        progress.bytes_downloaded,
        *_fields(progress, progress.download_speed_mbps),
    ]


def _fields(source: ProgressUpdate | DownloadProgress, speed_mbps: float) -> list[str | int]:
    """Return alternating field names and values."""
    fields: list[str | int] = [
        "status",
        source.status.value,
        "bytes_durable",
        source.counts.durable,
        "bytes_total",
        "" if source.counts.total is None else source.counts.total,
        "download_speed_mbps",
        f"{speed_mbps:.3f}",
    ]
    for name in _OPTIONAL:
        value = getattr(source, name)
        if value is not None:
            fields += [name, value]
    return fields


#: The reply for a key that holds another type than a hash.
_UNKNOWN = UpdateReply(applied=False, fenced=False, control=None)


def read_reply(fence: int, raw: list[Any] | StoreReplyError) -> UpdateReply:
    """Return the reply of `progress_update` to the claim `fence`."""
    if isinstance(raw, StoreReplyError):
        return _UNKNOWN
    control = _control_for(fence, raw[1])
    return UpdateReply(applied=raw[0] == 1, fenced=raw[0] == -1, control=control)


def read_poll_reply(fence: int, raw: list[Any] | StoreReplyError) -> UpdateReply:
    """Return the reply of ``HMGET fence control`` to the claim `fence`: a poll without an update."""
    if isinstance(raw, StoreReplyError):
        return _UNKNOWN
    held, control = raw
    is_fenced = held is not None and held.isdigit() and int(held[:30]) > fence
    return UpdateReply(applied=False, fenced=is_fenced, control=_control_for(fence, control or b""))


def _control_for(fence: int, field: bytes) -> str | None:
    """Return the control request in a hash's field ``<request>:<fence>``, if it is for `fence`."""
    request, _, requested_fence = field.decode(errors="replace").partition(":")
    return request if request and requested_fence == str(fence) else None


def read_hash(job_id: str, raw: Mapping[bytes, bytes]) -> DownloadProgress | None:
    """Return the progress in a hash; None without a status (only a control request), or if damaged."""
    if b"status" not in raw:
        return None
    try:
        fields: dict[str, Any] = {name.decode(): value.decode() for name, value in raw.items()}
        fields["bytes_total"] = fields.get("bytes_total") or None
        for name in _MAY_BE_EMPTIED:
            if fields.get(name) == "":
                del fields[name]
        for name in ("updated_at", "last_byte_at"):
            if name in fields:
                fields[name] = datetime.fromtimestamp(int(fields[name]) / 1000, UTC)
        fields["job_id"] = job_id
        return _checked(DownloadProgress.model_validate(fields, context=STORED))
    except (ValueError, OverflowError, OSError) as error:
        # A damaged hash must not hide the others.
        _log_once.warn(f"The progress of job {job_id} in the store cannot be read: {error}")
        return None


def _checked(progress: DownloadProgress) -> DownloadProgress:
    if progress.version >= _VERSION_LIMIT:
        raise ValueError(f"its version {progress.version} is too large")
    return progress
