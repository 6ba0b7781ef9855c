"""Sends the updates of running downloads: their hashes, their entries in the indexes, the total rate."""

from __future__ import annotations

from collections.abc import Sequence

from cache.downloads.indexes import DownloadIndex
from cache.downloads.progress_hash import (
    ProgressUpdate,
    UpdateReply,
    read_poll_reply,
    read_reply,
    update_arguments,
)
from cache.keys import KeyBuilder
from cache.log_once import LogOnce
from cache.store import scripts
from cache.store.flow import Command, Flow
from domain.errors import InvalidInputError
from domain.job import FINISHED, RUNNING, JobStatus

#: Seconds over which the bytes of all downloads are averaged.
RATE_SECONDS = 5


class UpdateSender:
    """Flows that send updates.

    Args:
        keys: the key builder.
        indexes: builds the commands of the indexes.
        log_once: for hashes that cannot be updated.
        progress_ms: TTL of a hash in milliseconds.
        unpersisted_ms: TTL of the hash of a finished job until SQL has its result.
    """

    def __init__(
        self,
        keys: KeyBuilder,
        indexes: DownloadIndex,
        log_once: LogOnce,
        *,
        progress_ms: int,
        unpersisted_ms: int,
    ) -> None:
        self._keys, self._indexes, self._log_once = keys, indexes, log_once
        self._progress_ms, self._unpersisted_ms = progress_ms, unpersisted_ms

    def apply(
        self,
        updates: Sequence[ProgressUpdate],
        polled: Sequence[tuple[str, int]],
        finished_bytes: int,
    ) -> Flow[list[UpdateReply]]:
        """See `DownloadCache.apply`."""
        try:
            commands = self._commands(updates)
            hash_count = len(commands)
            commands += [("HMGET", self._key(job_id), "fence", "control") for job_id, _ in polled]
        except (AttributeError, TypeError, ValueError, OverflowError) as error:
            # Not checked one by one: a worker sends thousands in a second.
            problem = f"It must be a list of ProgressUpdate and of (job id, fence): {error}."
            raise InvalidInputError("updates", type(updates).__name__, problem) from None
        raw = yield from scripts.run_pipeline(["progress_update"], commands, keep_reply_errors=True)
        self._log_once.log_errors(raw)
        replies = [read_reply(u.fence, one) for u, one in zip(updates, raw, strict=False)]
        polls = zip(polled, raw[hash_count:], strict=True)
        poll_replies = [read_poll_reply(fence, one) for (_, fence), one in polls]
        ended = [
            update.job_id
            for update, reply in zip(updates, replies, strict=True)
            # A claim enters the active index with its first update; one that ends with it is not there.
            if update.status not in RUNNING and update.sequence > 1 and not reply.fenced
        ]
        written = finished_bytes + applied_bytes(updates, replies)
        yield from self.count_bytes(written, *self._indexes.remove_active(ended))
        return [*replies, *poll_replies]

    def finish(self, updates: Sequence[ProgressUpdate]) -> Flow[list[UpdateReply]]:
        """Send the last updates of one download in one round trip."""
        last = updates[-1]
        commands = self._commands(updates)
        if last.sequence > 1:  # it may be in the active index
            commands += self._indexes.remove_active([last.job_id])
        raw = yield from scripts.run_pipeline(["progress_update"], commands, keep_reply_errors=True)
        self._log_once.log_errors(raw)
        return [read_reply(u.fence, one) for u, one in zip(updates, raw, strict=False)]

    def count_bytes(self, written: int, *also: Command) -> Flow[None]:
        """Add bytes to the total of this second, in one round trip with other commands."""
        commands = list(also)
        if written:
            key = self._keys.download_rate_key()
            commands.append(scripts.call("rate_add", key, written, RATE_SECONDS + 1))
        yield from scripts.run_pipeline(["rate_add"], commands, once=bool(written))

    def ttl_ms(self, status: JobStatus) -> int:
        """Return the TTL of a hash with progress that SQL may lack."""
        return self._unpersisted_ms if status in FINISHED else self._progress_ms

    def _commands(self, updates: Sequence[ProgressUpdate]) -> list[Command]:
        """Return the commands of these updates; those of the hashes come first, in the same order."""
        commands = [self._update(one) for one in updates]
        commands += self._indexes.add([(u.job_id, u.user_id, u.status) for u in updates])
        versions: dict[str, int] = {}
        for one in updates:
            if not one.persisted:
                versions[one.job_id] = max(one.version, versions.get(one.job_id, 0))
        commands += self._indexes.mark_dirty(versions)
        return commands

    def _update(self, update: ProgressUpdate) -> Command:
        ttl_ms = self._progress_ms if update.persisted else self.ttl_ms(update.status)
        step = update_arguments(update, ttl_ms)
        return scripts.call("progress_update", self._key(update.job_id), *step)

    def _key(self, job_id: str) -> str:
        return self._keys.download_job_key(job_id)


def applied_bytes(updates: Sequence[ProgressUpdate], replies: Sequence[UpdateReply]) -> int:
    """Return how many bytes updates have added."""
    return sum(u.increment for u, reply in zip(updates, replies, strict=True) if reply.applied)
