"""Live progress of downloads: one hash a job, an index of the active ones, an index of the unsaved.

The worker's updates carry (fence, sequence, increment), so a repeated one adds nothing and an older
claim changes nothing; see `lua/progress_update.lua`, which is the whole truth about that.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from redis import Redis
from redis.client import Pipeline

from cache import scripts, ttl
from cache.connection import store_errors, without_retries
from cache.keys import KeyBuilder
from cache.models import DownloadProgress, version
from cache.progress_cleanup import CleanupReport, ProgressCleanup
from cache.progress_hash import (
    ProgressUpdate,
    UpdateReply,
    read_hash,
    read_reply,
    set_arguments,
    update_arguments,
)
from domain.job import FINISHED, RUNNING, JobStatus

#: Jobs that one round trip reads or writes at most.
BATCH = 500


class DownloadCache:
    """Progress of downloads in the store.

    Args:
        client: connection to the store.
        keys: the key builder.
        progress_ttl: life of a hash in seconds; every update renews it.
        unpersisted_ttl: life of a finished hash that the database does not have yet.

    Every method raises StoreUnavailableError when the store does not answer.
    """

    def __init__(
        self,
        client: Redis,
        keys: KeyBuilder,
        *,
        progress_ttl: float = ttl.DOWNLOAD,
        unpersisted_ttl: float = ttl.UNPERSISTED,
    ) -> None:
        self._client = client
        # redis-py must not repeat what counts.
        self._once = without_retries(client)
        self._keys = keys
        self._progress_ms = round(progress_ttl * 1000)
        self._unpersisted_ms = round(unpersisted_ttl * 1000)

    def close(self) -> None:
        """Close the connections of its own; the given client's owner closes that."""
        self._once.close()

    # ── writing ─────────────────────────────────────────────────────────────────────────────────

    def set_progress(self, progress: DownloadProgress) -> bool:
        """Store one progress as a whole; False when a newer claim owns the job."""
        return self.bulk_set_progress([progress]) == 1

    def bulk_set_progress(self, progresses: Sequence[DownloadProgress]) -> int:
        """Store several in two round trips; return how many were not refused as fenced."""
        if not progresses:
            return 0

        def fill(pipe: Pipeline) -> None:
            for one in progresses:
                args = set_arguments(one, self._life(one.status))
                scripts.add(pipe, "progress_set", [self._keys.download_job_key(one.job_id)], args)

        with store_errors():
            replies = scripts.pipelined(self._client, ["progress_set"], fill)
            pairs = zip(progresses, replies, strict=True)
            done = [(one, int(reply[1])) for one, reply in pairs if reply[0] == 1]
            with self._client.pipeline(transaction=False) as pipe:
                self._index(pipe, [(one.job_id, one.user_id, one.status) for one, _ in done])
                self._mark_unsaved(
                    pipe, {one.job_id: version(one.fence, sequence) for one, sequence in done}
                )
                self._unindex(pipe, [one.job_id for one, _ in done if one.status not in RUNNING])
                pipe.execute()
        return len(done)

    def apply(self, updates: Sequence[ProgressUpdate]) -> list[UpdateReply]:
        """Send updates of many downloads in one round trip; replies come in the same order.

        Those that end a download cost a second one: only the store knows whether they were fenced.
        Safe to call again with the same updates when the answer did not come.
        """
        if not updates:
            return []

        def fill(pipe: Pipeline) -> None:
            for update in updates:
                life = self._progress_ms if update.persisted else self._life(update.status)
                key = self._keys.download_job_key(update.job_id)
                scripts.add(pipe, "progress_update", [key], update_arguments(update, life))
            self._index(pipe, [(u.job_id, u.user_id, u.status) for u in updates])
            # The newest of a job comes last, and is the one that counts.
            rising = sorted(updates, key=lambda u: u.version)
            self._mark_unsaved(pipe, {u.job_id: u.version for u in rising if not u.persisted})

        with store_errors():
            raw = scripts.pipelined(self._client, ["progress_update"], fill)[: len(updates)]
            replies = [read_reply(u.fence, reply) for u, reply in zip(updates, raw, strict=True)]
            ended = [
                update.job_id
                for update, reply in zip(updates, replies, strict=True)
                # The first word of a claim cannot have listed the job as running.
                if update.status not in RUNNING and update.sequence > 1 and not reply.fenced
            ]
            if ended:
                self._unindex(self._client, ended)
        return replies

    def increment_downloaded_bytes(
        self, job_id: str, increment: int, *, fence: int = 0, sequence: int | None = None
    ) -> int | None:
        """Add bytes to a job whose hash exists; return the count, or None when nothing was added.

        Nothing is added when the hash has expired (no half-empty one is made), when a newer claim
        owns it, or when `sequence` has been applied already. Without a sequence the call is not safe
        to repeat: after a StoreUnavailableError the bytes may or may not have been added. The hash's
        life is renewed.
        """
        if increment < 0:
            raise ValueError(f"increment is a number of bytes, 0 or more, not {increment}")
        reply = self._touch(job_id, fence, "" if sequence is None else sequence, increment, [])
        return int(reply[2]) if reply[0] == 1 else None

    def set_download_speed(self, job_id: str, mbps: float, *, fence: int = 0) -> bool:
        """Set the speed (megabits a second) of a job whose hash exists; False when it does not."""
        if not 0 <= mbps < math.inf:
            raise ValueError(f"a speed is 0 or more megabits a second, not {mbps}")
        reply = self._touch(job_id, fence, "", 0, ["download_speed_mbps", f"{mbps:.3f}"])
        return bool(reply[0] == 1)

    def request_control(self, job_id: str, word: str, fence: int) -> None:
        """Ask the claim `fence` of a running job to "pause" or "cancel"; its next flush sees it."""
        with store_errors():
            scripts.run(
                self._client,
                "progress_control",
                [self._keys.download_job_key(job_id)],
                [f"{word}:{fence}", self._progress_ms],
            )

    def remove(self, *job_ids: str) -> int:
        """Forget the progress of jobs; return how many hashes there were."""
        if not job_ids:
            return 0
        with store_errors(), self._client.pipeline(transaction=False) as pipe:
            pipe.unlink(*(self._keys.download_job_key(job_id) for job_id in job_ids))
            pipe.zrem(self._keys.active_downloads_key(), *job_ids)
            pipe.zrem(self._keys.dirty_downloads_key(), *job_ids)
            return cast(int, pipe.execute()[0])

    def invalidate_user_downloads(self, user_id: str) -> int:
        """Forget the progress of all of a user's downloads; return how many hashes there were.

        A download that runs writes its progress anew at its next flush.
        """
        index = self._keys.user_downloads_key(user_id)
        with store_errors():
            job_ids = _texts(self._client.zrange(index, 0, -1))
            removed = sum(self.remove(*batch) for batch in _batches(job_ids))
            self._client.unlink(index)
        return removed

    # ── reading ─────────────────────────────────────────────────────────────────────────────────

    def get_progress(self, job_id: str) -> DownloadProgress | None:
        """Return the live progress of one job, or None when the store has none."""
        return self.get_many([job_id]).get(job_id)

    def get_many(self, job_ids: Sequence[str]) -> dict[str, DownloadProgress]:
        """Return the live progress of several jobs; those without are left out."""
        found: dict[str, DownloadProgress] = {}
        with store_errors():
            for batch in _batches(job_ids):
                with self._client.pipeline(transaction=False) as pipe:
                    for job_id in batch:
                        pipe.hgetall(self._keys.download_job_key(job_id))
                    hashes = pipe.execute()
                for job_id, raw in zip(batch, hashes, strict=True):
                    progress = read_hash(job_id, raw)
                    if progress is not None:
                        found[job_id] = progress
        return found

    def get_active_downloads(self, limit: int = 1000) -> list[DownloadProgress]:
        """Return the running downloads, the most recently updated first."""
        with store_errors():
            job_ids = _texts(
                self._client.zrevrange(self._keys.active_downloads_key(), 0, limit - 1)
            )
        found = self.get_many(job_ids)
        running = (found[job_id] for job_id in job_ids if job_id in found)
        return [progress for progress in running if progress.status in RUNNING]

    # ── what the database still lacks ───────────────────────────────────────────────────────────

    def dirty(self) -> list[tuple[str, int]]:
        """Return the jobs with unsaved progress as (job id, version)."""
        with store_errors():
            rows = cast(
                "list[tuple[bytes, float]]",
                self._client.zrange(self._keys.dirty_downloads_key(), 0, -1, withscores=True),
            )
        return [(member.decode(), int(score)) for member, score in rows]

    def mark_persisted(
        self, saved: Iterable[tuple[str, int]], finished: Sequence[str] = ()
    ) -> None:
        """Note what the database has now, as (job id, version); a newer progress stays unsaved.

        `finished` are jobs whose final state is saved: their hashes go back to the short life.
        """
        pairs: list[str | int] = [part for pair in saved for part in pair]

        def fill(pipe: Pipeline) -> None:
            if pairs:
                scripts.add(pipe, "index_remove", [self._keys.dirty_downloads_key()], pairs)
            for job_id in finished:
                pipe.pexpire(self._keys.download_job_key(job_id), self._progress_ms)

        with store_errors():
            scripts.pipelined(self._client, ["index_remove"], fill)

    def cleanup_stale_progress(self, older_than: float) -> CleanupReport:
        """Remove progress untouched for `older_than` seconds, and index entries without a hash.

        A finished hash that the database does not have yet is kept: it may be the only witness.
        """
        return ProgressCleanup(self._client, self._keys).run(older_than)

    # ── how it is written ───────────────────────────────────────────────────────────────────────

    def _touch(
        self, job_id: str, fence: int, sequence: int | str, increment: int, fields: list[str]
    ) -> list[Any]:
        """Update a hash only if it exists, and mark it unsaved."""
        key = self._keys.download_job_key(job_id)
        args = [fence, sequence, increment, "", "", self._progress_ms, *fields]
        with store_errors():
            reply = cast("list[Any]", scripts.run(self._once, "progress_update", [key], args))
            if reply[0] >= 0:
                with self._client.pipeline(transaction=False) as pipe:
                    self._mark_unsaved(pipe, {job_id: version(fence, int(reply[3]))})
                    # Only where it is listed: the status is not ours to know here.
                    pipe.zadd(self._keys.active_downloads_key(), {job_id: _now_ms()}, xx=True)
                    pipe.execute()
        return reply

    def _index(self, pipe: Pipeline, entries: Sequence[tuple[str, str | None, JobStatus]]) -> None:
        """Put jobs into the active and per-user indexes, one command an index."""
        now = _now_ms()
        running = {job_id: now for job_id, _, status in entries if status in RUNNING}
        if running:
            pipe.zadd(self._keys.active_downloads_key(), running)
        by_user: dict[str, list[str]] = {}
        for job_id, user_id, _ in entries:
            if user_id is not None:
                by_user.setdefault(user_id, []).append(job_id)
        for user_id, job_ids in by_user.items():
            index = self._keys.user_downloads_key(user_id)
            pipe.zadd(index, dict.fromkeys(job_ids, now))
            # Members shed here, or the index of a busy user would only ever grow.
            pipe.zremrangebyscore(index, "-inf", now - self._unpersisted_ms)
            pipe.pexpire(index, self._unpersisted_ms)

    def _unindex(self, client: Redis, job_ids: Sequence[str]) -> None:
        if job_ids:
            client.zrem(self._keys.active_downloads_key(), *job_ids)

    def _mark_unsaved(self, pipe: Pipeline, versions: Mapping[str, int]) -> None:
        if versions:
            pipe.zadd(self._keys.dirty_downloads_key(), dict(versions), gt=True)

    def _life(self, status: JobStatus) -> int:
        return self._unpersisted_ms if status in FINISHED else self._progress_ms


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _texts(raw: Any) -> list[str]:
    return [member.decode() for member in raw]


def _batches(items: Sequence[str]) -> Iterable[Sequence[str]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]
