"""The indexes of progress hashes: active jobs, each user's jobs, and dirty (not persisted) jobs."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from cache.keys import MAX_IDENTIFIER_BYTES, KeyBuilder
from cache.store.flow import Argument, Command
from domain.job import RUNNING, JobStatus

T = TypeVar("T")

#: Maximum number of jobs in one round trip.
BATCH = 500

Entry = tuple[str, str | None, JobStatus]
"""Job id, user id, status."""


class DownloadIndex:
    """Builds the commands that update the indexes. Each command has one key.

    Args:
        keys: the key builder.
        user_ms: TTL of a user's index in milliseconds, from the last download on.
    """

    def __init__(self, keys: KeyBuilder, *, user_ms: int) -> None:
        self._keys = keys
        self._user_ms = user_ms

    def add(self, entries: Sequence[Entry]) -> Iterator[Command]:
        """Add running jobs to the active index, and all jobs to their users' indexes."""
        now = _now_ms()
        running = [job_id for job_id, _, status in entries if status in RUNNING]
        if running:
            yield ("ZADD", self._keys.active_downloads_key(), *_scored(running, now))
        by_user: dict[str, list[str]] = {}
        for job_id, user_id, _ in entries:
            if user_id is not None:
                by_user.setdefault(user_id, []).append(job_id)
        for user_id, job_ids in by_user.items():
            index = self._keys.user_downloads_key(user_id)
            yield ("ZADD", index, *_scored(job_ids, now))
            # Old members are removed here; otherwise the index of an active user would only grow.
            yield ("ZREMRANGEBYSCORE", index, "-inf", now - self._user_ms)
            yield ("PEXPIRE", index, self._user_ms)

    def renew(self, job_id: str) -> Iterator[Command]:
        """Renew a job's entry in the active index, if it has one."""
        yield ("ZADD", self._keys.active_downloads_key(), "XX", _now_ms(), job_id)

    def remove_active(self, job_ids: Sequence[str]) -> Iterator[Command]:
        """Remove jobs from the active index."""
        if job_ids:
            yield ("ZREM", self._keys.active_downloads_key(), *job_ids)

    def mark_dirty(self, versions: Mapping[str, int]) -> Iterator[Command]:
        """Mark progress versions as not persisted, by job."""
        if versions:
            pairs = [part for job_id, version in versions.items() for part in (version, job_id)]
            yield ("ZADD", self._keys.dirty_downloads_key(), "GT", *pairs)

    def remove(self, job_ids: Sequence[str]) -> Iterator[Command]:
        """Remove jobs from the active and the dirty index."""
        yield ("ZREM", self._keys.active_downloads_key(), *job_ids)
        yield ("ZREM", self._keys.dirty_downloads_key(), *job_ids)


def batches(entries: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield slices of at most `BATCH` entries."""
    for start in range(0, len(entries), BATCH):
        yield entries[start : start + BATCH]


def job_ids(members: Iterable[bytes]) -> list[str]:
    """Return the members that are valid job ids; `cleanup_stale_progress` removes the others."""
    found = (job_id(member) for member in members)
    return [one for one in found if one is not None]


def job_id(member: bytes) -> str | None:
    """Return a member of an index as a job id, or None if it is not valid."""
    try:
        return member.decode() if 0 < len(member) <= MAX_IDENTIFIER_BYTES else None
    except UnicodeDecodeError:
        return None


def scored_job_id(member: bytes, score: bytes) -> tuple[str, int] | None:
    """Return an index entry as (job id, score), or None if it is not valid."""
    found, number = job_id(member), float(score)
    return (found, int(number)) if found is not None and math.isfinite(number) else None


def _scored(job_ids: Iterable[str], score: int) -> Iterator[Argument]:
    for job_id in job_ids:
        yield score
        yield job_id


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
