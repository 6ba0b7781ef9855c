"""Live progress of downloads: a hash for each job, and two indexes.

The index "active" has the running jobs, the index "dirty" those with progress that SQL does not have.

An update carries (fence, sequence, increment): a repeated update adds nothing, and an update of an older
claim changes nothing. `lua/progress_update.lua` decides this.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Any

from cache import arguments, ttl
from cache.arguments import Duration
from cache.downloads import checks
from cache.downloads import indexes as download_index
from cache.downloads.cleanup import CleanupReport, clean_up
from cache.downloads.controls import Controls
from cache.downloads.indexes import DownloadIndex
from cache.downloads.progress_hash import ProgressUpdate, UpdateReply, set_arguments
from cache.downloads.reads import ProgressReader
from cache.downloads.updates import RATE_SECONDS, UpdateSender
from cache.keys import KeyBuilder, possible_key
from cache.log_once import LogOnce
from cache.models import DownloadPage, DownloadProgress, DownloadTotals, version
from cache.store import scripts
from cache.store.flow import Batch, Command, Flow
from cache.store.operation import Operations, S, operation
from domain.job import RUNNING

#: The status of `progress_update` for a hash that does not exist.
_NO_HASH = -2


class DownloadCache(Operations[S]):
    """Progress of downloads in the store. On an `AsyncStore` every method is a coroutine.

    Args:
        store: the store that keeps it.
        keys: the key builder.
        progress_ttl: TTL of a hash in seconds; each update renews it.
        unpersisted_ttl: TTL of the hash of a finished job until SQL has its result.

    All methods, also reads, raise StoreUnavailableError if the store does not answer: live progress is
    stored nowhere else.
    """

    def __init__(
        self,
        store: S,
        keys: KeyBuilder,
        *,
        progress_ttl: float = ttl.DOWNLOAD,
        unpersisted_ttl: float = ttl.UNPERSISTED,
    ) -> None:
        super().__init__(store)
        self._keys = keys
        self._progress_ms = round(progress_ttl * 1000)
        unpersisted_ms = round(unpersisted_ttl * 1000)
        self._log_once = LogOnce()
        self._indexes = DownloadIndex(keys, user_ms=unpersisted_ms)
        self._reader = ProgressReader(keys, self._log_once)
        self._sender = UpdateSender(
            keys,
            self._indexes,
            self._log_once,
            progress_ms=self._progress_ms,
            unpersisted_ms=unpersisted_ms,
        )
        self._controls = Controls(keys, ttl_ms=self._progress_ms)

    # ── writing ───────────────────────────────────────────────────────────────────────────────────

    @operation
    def set_progress(self, progress: DownloadProgress) -> Flow[bool]:
        """Replace the progress of one job; return False if a newer claim owns the job."""
        return (yield from self._set([progress])) == 1

    @operation
    def bulk_set_progress(self, progresses: Sequence[DownloadProgress]) -> Flow[int]:
        """Replace the progress of several jobs in two round trips; return how many were not fenced."""
        return self._set(progresses)

    def _set(self, progresses: Sequence[DownloadProgress]) -> Flow[int]:
        given = arguments.items("progresses", progresses)
        progresses = [checks.storable(one, self._keys) for one in given]
        ttl_ms = self._sender.ttl_ms
        commands = [
            scripts.call(
                "progress_set", self._key(one.job_id), *set_arguments(one, ttl_ms(one.status))
            )
            for one in progresses
        ]
        replies = yield from scripts.run_pipeline(["progress_set"], commands)
        pairs = zip(progresses, replies, strict=True)
        done = [(one, int(reply[1])) for one, reply in pairs if reply[0] == 1]
        yield from _send(
            self._indexes.add([(one.job_id, one.user_id, one.status) for one, _ in done]),
            self._indexes.mark_dirty(
                {one.job_id: version(one.fence, sequence) for one, sequence in done}
            ),
            self._indexes.remove_active(
                [one.job_id for one, _ in done if one.status not in RUNNING]
            ),
        )
        return len(done)

    @operation
    def apply(
        self,
        updates: Sequence[ProgressUpdate],
        polled: Sequence[tuple[str, int]] = (),
        *,
        finished_bytes: int = 0,
        is_end: bool = False,
    ) -> Flow[list[UpdateReply]]:
        """Send updates of many downloads; return their replies, and then those of `polled`.

        Idempotent: after a lost reply, call it again with the same updates. It takes one round trip. A
        second one follows if bytes were added or downloads ended, since only the replies show which
        updates were applied.

        Args:
            polled: (job id, fence) of downloads without an update, to read their control requests.
            finished_bytes: further bytes for the rate of all downloads.
            is_end: these are the last updates of one download, whose lock is still held: there is one
                round trip. The rate lacks their bytes: pass them to the next call.
        """
        if is_end:
            return self._sender.finish(updates)
        return self._sender.apply(updates, polled, finished_bytes)

    @operation
    def increment_downloaded_bytes(
        self, job_id: str, increment: int, *, fence: int = 0, sequence: int | None = None
    ) -> Flow[int | None]:
        """Add bytes to a job's progress; return the new count, or None if nothing was added.

        Nothing is added if the hash does not exist, if a newer claim owns it, or if `sequence` has been
        applied before. Without `sequence` the call is not idempotent: after a StoreUnavailableError the
        bytes may or may not have been added. The hash's TTL is renewed.
        """
        increment = arguments.integer("increment", increment)
        step = "" if sequence is None else arguments.integer("sequence", sequence)
        reply = yield from self._update_existing(job_id, fence, step, increment)
        if reply[0] != 1:
            return None
        yield from self._sender.count_bytes(increment)
        return int(reply[2])

    @operation
    def set_download_speed(self, job_id: str, mbps: float, *, fence: int = 0) -> Flow[bool]:
        """Set a job's speed in megabits per second; return False if its hash does not exist."""
        mbps = arguments.number("mbps", mbps, most=1e12)
        reply = yield from self._update_existing(
            job_id, fence, "", 0, "download_speed_mbps", f"{mbps:.3f}"
        )
        return bool(reply[0] == 1)

    # ── control requests ──────────────────────────────────────────────────────────────────────────

    @operation
    def request_control(self, job_id: str, control: str, fence: int) -> Flow[None]:
        """Send a control request to the claim `fence` of a job; its worker's next flush reads it."""
        return self._controls.send(control, [(job_id, fence)])

    @operation
    def request_control_many(self, control: str, claims: Sequence[tuple[str, int]]) -> Flow[None]:
        """Send a control request to several claims, (job id, fence), in one round trip.

        "cancel" replaces "pause", and "leave" (SQL no longer has this claim) replaces both; never the
        reverse.
        """
        return self._controls.send(control, claims)

    @operation
    def withdraw_control(self, claims: Sequence[tuple[str, int]]) -> Flow[None]:
        """Withdraw the "pause" of several claims, (job id, fence), if no flush has read it yet.

        Other requests are not withdrawn: a "cancel" stays.
        """
        return self._controls.withdraw_pause(claims)

    # ── deleting ──────────────────────────────────────────────────────────────────────────────────

    @operation
    def remove(self, *job_ids: str) -> Flow[int]:
        """Delete the progress of jobs; return how many hashes existed."""
        return self._remove(job_ids)

    def _remove(self, job_ids: Iterable[Any]) -> Flow[int]:
        removed = 0
        for batch in download_index.batches(self._reader.possible(job_ids)):
            hashes = ("UNLINK", *(key for _, key in batch))
            replies = yield Batch(hashes, *self._indexes.remove([job_id for job_id, _ in batch]))
            removed += replies[0]
        return removed

    @operation
    def invalidate_user_downloads(self, user_id: str) -> Flow[int]:
        """Delete the progress of all of a user's downloads; return how many hashes existed.

        A running download writes its progress again at its next flush.
        """
        index = possible_key(self._keys.user_downloads_key, user_id)
        if index is None:
            return 0
        (members,) = yield Batch(("ZRANGE", index, 0, -1))
        removed = yield from self._remove(download_index.job_ids(members))
        yield Batch(("UNLINK", index))
        return removed

    # ── reading ───────────────────────────────────────────────────────────────────────────────────

    @operation
    def get_progress(self, job_id: str) -> Flow[DownloadProgress | None]:
        """Return the live progress of one job, or None."""
        return next(iter((yield from self._reader.read([job_id])).values()), None)

    @operation
    def get_many(self, job_ids: Sequence[str]) -> Flow[dict[str, DownloadProgress]]:
        """Return the live progress of those jobs that have one, by job id."""
        return self._reader.read(arguments.items("job_ids", job_ids))

    @operation
    def get_active_downloads(self, limit: int = 1000) -> Flow[list[DownloadProgress]]:
        """Return the running downloads, from the most recently updated."""
        index = self._keys.active_downloads_key()
        (members,) = yield Batch(("ZREVRANGE", index, 0, _positive("limit", limit) - 1))
        return (yield from self._reader.running(download_index.job_ids(members)))

    @operation
    def active_updates(self, limit: int = 1000) -> Flow[list[tuple[str, int]]]:
        """Return the running downloads and when each was updated (ms), from the most recently updated.

        One round trip, which reads no progress.
        """
        last = _positive("limit", limit) - 1
        index = self._keys.active_downloads_key()
        (rows,) = yield Batch(("ZREVRANGE", index, 0, last, "WITHSCORES"))
        entries = map(download_index.scored_job_id, rows[::2], rows[1::2])
        return [entry for entry in entries if entry is not None]

    @operation
    def page_active_downloads(
        self, *, after: str | None = None, limit: int = 100
    ) -> Flow[DownloadPage]:
        """Return one page of the running downloads, in the order of their job ids.

        A download that runs all the time is on exactly one page, even if others start or end meanwhile.

        Args:
            after: the `next_after` of the page before; None for the first page.
            limit: maximum number of downloads.
        """
        _positive("limit", limit)
        if after is not None:
            arguments.text("after", after)
        (members,) = yield Batch(("ZRANGE", self._keys.active_downloads_key(), 0, -1))
        job_ids = sorted(download_index.job_ids(members))
        start = 0 if after is None else bisect_right(job_ids, after)
        page = job_ids[start : start + limit]
        more = start + limit < len(job_ids)
        items = yield from self._reader.running(page)
        return DownloadPage(items=tuple(items), next_after=page[-1] if more else None)

    @operation
    def get_user_downloads(self, user_id: str, limit: int = 100) -> Flow[list[DownloadProgress]]:
        """Return the live progress of a user's downloads, from the most recently updated."""
        last, index = (
            _positive("limit", limit) - 1,
            possible_key(self._keys.user_downloads_key, user_id),
        )
        if index is None:
            return []
        (members,) = yield Batch(("ZREVRANGE", index, 0, last))
        job_ids = download_index.job_ids(members)
        found = yield from self._reader.read(job_ids)
        return [found[job_id] for job_id in job_ids if job_id in found]

    @operation
    def totals(self) -> Flow[DownloadTotals]:
        """Return the number of running downloads and their total rate.

        One round trip, whose cost does not depend on the number of downloads.
        """
        active, written = yield from scripts.run_pipeline(
            ["index_count", "rate_read"],
            [
                scripts.call("index_count", self._keys.active_downloads_key(), self._progress_ms),
                scripts.call("rate_read", self._keys.download_rate_key(), RATE_SECONDS),
            ],
        )
        return DownloadTotals(
            active=active, bytes_per_second=int(written) / RATE_SECONDS, seconds=RATE_SECONDS
        )

    # ── persistence and clean-up ──────────────────────────────────────────────────────────────────

    @operation
    def dirty(self) -> Flow[list[tuple[str, int]]]:
        """Return the jobs whose progress is not persisted, as (job id, version)."""
        (rows,) = yield Batch(("ZRANGE", self._keys.dirty_downloads_key(), 0, -1, "WITHSCORES"))
        entries = map(download_index.scored_job_id, rows[::2], rows[1::2])
        return [entry for entry in entries if entry is not None]

    @operation
    def mark_persisted(
        self, saved: Iterable[tuple[str, int]], finished: Sequence[str] = ()
    ) -> Flow[None]:
        """Remove the dirty marks of persisted progress, given as (job id, version).

        A job with a newer version stays dirty. `finished` are jobs whose final state is persisted: their
        hashes get the short TTL.
        """
        pairs: list[str | int] = [part for pair in checks.pairs("saved", saved) for part in pair]
        commands: list[Command] = []
        if pairs:
            commands.append(scripts.call("index_remove", self._keys.dirty_downloads_key(), *pairs))
        ended = arguments.strings("finished", finished)
        commands += [("PEXPIRE", self._key(job_id), self._progress_ms) for job_id in ended]
        yield from scripts.run_pipeline(["index_remove"], commands)

    @operation
    def cleanup_stale_progress(self, older_than: Duration) -> Flow[CleanupReport]:
        """Remove progress not updated for `older_than`, and index entries without a hash.

        A finished hash that is not persisted is kept: the result may be stored nowhere else.
        """
        return clean_up(self._keys, arguments.seconds("older_than", older_than))

    # ── commands ──────────────────────────────────────────────────────────────────────────────────

    def _update_existing(
        self, job_id: str, fence: int, sequence: int | str, increment: int, *fields: str
    ) -> Flow[list[Any]]:
        """Update a hash if it exists, and mark it dirty."""
        arguments.integer("fence", fence)
        step = (fence, sequence, increment, "", "", self._progress_ms, *fields)
        key = possible_key(self._keys.download_job_key, job_id)
        if key is None:
            return [_NO_HASH]
        reply: list[Any] = yield from scripts.run("progress_update", key, *step, once=True)
        if reply[0] >= 0:
            yield from _send(
                self._indexes.mark_dirty({job_id: version(fence, int(reply[3]))}),
                self._indexes.renew(job_id),
            )
        return reply

    def _key(self, job_id: str) -> str:
        return self._keys.download_job_key(job_id)


def _send(*groups: Iterable[Command]) -> Flow[None]:
    """Send commands in one round trip and ignore their replies."""
    commands = [command for group in groups for command in group]
    if commands:
        yield Batch(*commands)


def _positive(name: str, number: int) -> int:
    return arguments.integer(name, number, least=1)
