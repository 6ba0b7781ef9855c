"""The progress hash: what one update of it is, and how it is written and read.

The scripts `lua/progress_update.lua` and `lua/progress_set.lua` take what this module makes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from cache.log_once import LogOnce
from cache.models import DownloadProgress, version
from domain.byte_counts import ByteCounts
from domain.job import JobStatus

#: Larger than any version that the database can hold.
_NO_VERSION = 2**63
_log_once = LogOnce()

#: Fields that most jobs lack.
_OPTIONAL = ("user_id", "reason", "error_code", "path", "sha256")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressUpdate:
    """One step of one download, safe to send again.

    `increment` is what was received since the step before it. The store uses `counts.downloaded` instead
    when it has no hash, or one of an older claim, and when `reset` says that the transfer restarted.
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
    """The database has this already: the hash gets the short life, and is not marked unsaved."""

    @property
    def version(self) -> int:
        """Fence and sequence as one rising number."""
        return version(self.fence, self.sequence)


class UpdateReply(NamedTuple):
    """What the store said to one update."""

    applied: bool
    """False for a repeated or fenced one."""
    fenced: bool
    """A newer claim owns the job: stop."""
    control: str | None
    """"cancel" or "pause" when that was asked of this very claim."""


def update_arguments(update: ProgressUpdate, ttl_ms: int) -> list[str | int]:
    """Return the arguments of `progress_update` for one update; the hash lives `ttl_ms` from now."""
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
    """Return the arguments of `progress_set` for one progress."""
    return [
        progress.fence,
        ttl_ms,
        progress.sequence,
        "bytes_downloaded",
        progress.bytes_downloaded,
        *_fields(progress, progress.download_speed_mbps),
    ]


def _fields(source: ProgressUpdate | DownloadProgress, speed_mbps: float) -> list[str | int]:
    """Return name, value, name, value …"""
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


def read_reply(fence: int, raw: list[Any]) -> UpdateReply:
    """Read what `progress_update` answered to the claim `fence`."""
    word, _, addressed_to = raw[1].decode(errors="replace").partition(":")
    control = word if word and addressed_to == str(fence) else None
    return UpdateReply(applied=raw[0] == 1, fenced=raw[0] == -1, control=control)


#: What is known of a job whose key holds no hash: nothing.
UNKNOWN = UpdateReply(applied=False, fenced=False, control=None)


def read_poll_reply(fence: int, raw: list[Any]) -> UpdateReply:
    """Read what ``HMGET fence control`` says to the claim `fence`, which has nothing to tell."""
    held, word = raw
    reply = read_reply(fence, [0, word or b""])
    return reply._replace(fenced=held is not None and held.isdigit() and int(held[:30]) > fence)


def read_hash(job_id: str, raw: Mapping[bytes, bytes]) -> DownloadProgress | None:
    """Read a hash; one without a status (only a control word) is no progress, nor is a damaged one."""
    if b"status" not in raw:
        return None
    try:
        fields: dict[str, Any] = {name.decode(): value.decode() for name, value in raw.items()}
        fields["bytes_total"] = fields.get("bytes_total") or None
        for name in ("updated_at", "last_byte_at"):
            if name in fields:
                fields[name] = datetime.fromtimestamp(int(fields[name]) / 1000, UTC)
        return _checked(DownloadProgress.model_validate({**fields, "job_id": job_id}))
    except (ValueError, OverflowError, OSError) as error:
        # One that cannot be read must not hide all the others.
        _log_once.warn(f"The progress of job {job_id} in the store cannot be read: {error}")
        return None


def _checked(progress: DownloadProgress) -> DownloadProgress:
    if progress.version >= _NO_VERSION:
        raise ValueError(f"its version {progress.version} is larger than any")
    return progress
