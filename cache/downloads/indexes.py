"""The indexes beside the progress hashes: what runs, whose it is, what is unsaved."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

from cache.keys import MAX_IDENTIFIER_BYTES, KeyBuilder
from cache.store.flow import Argument, Command
from domain.job import RUNNING, JobStatus

Entry = tuple[str, str | None, JobStatus]
"""Job id, user id, status."""


class DownloadIndex:
    """Builds commands; each touches one key.

    Args:
        keys: the key builder.
        user_ms: life in milliseconds of a user's index, from the last download on.
    """

    def __init__(self, keys: KeyBuilder, *, user_ms: int) -> None:
        self._keys = keys
        self._user_ms = user_ms

    def add(self, entries: Sequence[Entry]) -> Iterator[Command]:
        """Put running jobs into the active index, and all of them into their users'."""
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
            # Members shed here, or the index of a busy user would only ever grow.
            yield ("ZREMRANGEBYSCORE", index, "-inf", now - self._user_ms)
            yield ("PEXPIRE", index, self._user_ms)

    def renew(self, job_id: str) -> Iterator[Command]:
        """Note a sign of life of a job, only where it is listed as running."""
        yield ("ZADD", self._keys.active_downloads_key(), "XX", _now_ms(), job_id)

    def remove_active(self, job_ids: Sequence[str]) -> Iterator[Command]:
        """Take jobs out of the active index."""
        if job_ids:
            yield ("ZREM", self._keys.active_downloads_key(), *job_ids)

    def mark_dirty(self, versions: Mapping[str, int]) -> Iterator[Command]:
        """Note that the database lacks these versions."""
        if versions:
            pairs = [part for job_id, version in versions.items() for part in (version, job_id)]
            yield ("ZADD", self._keys.dirty_downloads_key(), "GT", *pairs)

    def remove(self, job_ids: Sequence[str]) -> Iterator[Command]:
        """Take jobs out of the active and the unsaved index."""
        yield ("ZREM", self._keys.active_downloads_key(), *job_ids)
        yield ("ZREM", self._keys.dirty_downloads_key(), *job_ids)


def job_ids(members: Iterable[bytes]) -> list[str]:
    """Return the members of an index that can be job ids; `cleanup_stale_progress` removes the rest."""
    found = (job_id(member) for member in members)
    return [one for one in found if one is not None]


def job_id(member: bytes) -> str | None:
    """Return a member of an index, or None when no program of ours can have written it."""
    try:
        return member.decode() if 0 < len(member) <= MAX_IDENTIFIER_BYTES else None
    except UnicodeDecodeError:
        return None


def _scored(job_ids: Iterable[str], score: int) -> Iterator[Argument]:
    for job_id in job_ids:
        yield score
        yield job_id


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
