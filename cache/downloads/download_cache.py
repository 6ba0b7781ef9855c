"""Live progress of downloads: one hash a job, an index of the active ones, an index of the unsaved.

The worker's updates carry (fence, sequence, increment), so a repeated one adds nothing and an older
claim changes nothing; see `lua/progress_update.lua`, which is the whole truth about that.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Any

from cache import arguments, ttl
from cache.downloads import indexes as download_index
from cache.downloads.cleanup import CleanupReport, clean_up
from cache.downloads.indexes import DownloadIndex
from cache.downloads.progress_hash import (
    UNKNOWN,
    ProgressUpdate,
    UpdateReply,
    read_hash,
    read_poll_reply,
    read_reply,
    set_arguments,
    update_arguments,
)
from cache.keys import KeyBuilder
from cache.log_once import LogOnce
from cache.models import DownloadPage, DownloadProgress, DownloadTotals, version
from cache.store import scripts
from cache.store.flow import Batch, Command, Flow
from cache.store.operation import Operations, S, operation
from domain.errors import InvalidInputError, StoreReplyError
from domain.job import FINISHED, RUNNING, JobStatus

#: Jobs that one round trip reads or writes at most.
BATCH = 500
#: Seconds over which the bytes of all downloads are averaged.
RATE_SECONDS = 5


class DownloadCache(Operations[S]):
    """Progress of downloads in the store. On an `AsyncStore` every method is a coroutine.

    Args:
        store: where it is kept.
        keys: the key builder.
        progress_ttl: life of a hash in seconds; every update renews it.
        unpersisted_ttl: life of a finished hash that the database does not have yet.

    Every method raises StoreUnavailableError when the store does not answer, reads too: this is no
    copy of something, so "there is none" would be untrue.
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
        self._unpersisted_ms = round(unpersisted_ttl * 1000)
        self._log_once = LogOnce()
        self._indexes = DownloadIndex(keys, user_ms=self._unpersisted_ms)

    # ── writing ─────────────────────────────────────────────────────────────────────────────────

    @operation
    def set_progress(self, progress: DownloadProgress) -> Flow[bool]:
        """Store one progress as a whole; False when a newer claim owns the job."""
        return (yield from self._set([progress])) == 1

    @operation
    def bulk_set_progress(self, progresses: Sequence[DownloadProgress]) -> Flow[int]:
        """Store several in two round trips; return how many were not refused as fenced."""
        return self._set(progresses)

    def _set(self, progresses: Sequence[DownloadProgress]) -> Flow[int]:
        progresses = [_storable(one) for one in arguments.items("progresses", progresses)]
        commands = [
            scripts.call(
                "progress_set", self._key(one.job_id), *set_arguments(one, self._ttl_ms(one.status))
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
        self, updates: Sequence[ProgressUpdate], polled: Sequence[tuple[str, int]] = ()
    ) -> Flow[list[UpdateReply]]:
        """Send updates of many downloads in one round trip; replies come in the same order.

        After them come replies for those that are `polled`, given as (job id, fence): they have
        nothing to tell, and want to hear what is asked of them.

        What they add to the totals, and downloads that end, cost a second one: only the store knows
        which updates were new and which were fenced. Safe to call again with the same updates when
        the answer did not come.
        """
        try:
            commands = self._update_commands(updates)
            hash_count = len(commands)
            commands += [("HMGET", self._key(job_id), "fence", "control") for job_id, _ in polled]
        except (AttributeError, TypeError, ValueError, OverflowError) as error:
            # Not checked one by one: a worker makes thousands of them a second.
            problem = f"They are ProgressUpdate and (job id, fence): {error}."
            raise InvalidInputError("updates", type(updates).__name__, problem) from None
        raw = yield from scripts.run_pipeline(["progress_update"], commands, keep_reply_errors=True)
        self._log_once.log_errors(raw)
        replies = [
            UNKNOWN if isinstance(one, StoreReplyError) else read_reply(u.fence, one)
            for u, one in zip(updates, raw, strict=False)
        ]
        poll_replies = [
            UNKNOWN if isinstance(one, StoreReplyError) else read_poll_reply(c[1], one)
            for c, one in zip(polled, raw[hash_count:], strict=True)
        ]
        answered = list(zip(updates, replies, strict=True))
        ended = [
            update.job_id
            for update, reply in answered
            # The first word of a claim cannot have listed the job as running.
            if update.status not in RUNNING and update.sequence > 1 and not reply.fenced
        ]
        written = sum(u.increment for u, reply in answered if reply.applied)
        yield from self._add_to_totals(written, *self._indexes.remove_active(ended))
        return [*replies, *poll_replies]

    def _update_commands(self, updates: Sequence[ProgressUpdate]) -> list[Command]:
        """Return the commands that tell these updates, first those of the hashes, in their order."""
        commands = [self._update(one) for one in updates]
        commands += self._indexes.add([(u.job_id, u.user_id, u.status) for u in updates])
        # The newest of a job comes last, and is the one that counts.
        rising = sorted(updates, key=lambda u: u.version)
        commands += self._indexes.mark_dirty(
            {u.job_id: u.version for u in rising if not u.persisted}
        )
        return commands

    @operation
    def increment_downloaded_bytes(
        self, job_id: str, increment: int, *, fence: int = 0, sequence: int | None = None
    ) -> Flow[int | None]:
        """Add bytes to a job whose hash exists; return the count, or None when nothing was added.

        Nothing is added when the hash has expired (no half-empty one is made), when a newer claim
        owns it, or when `sequence` has been applied already. Without a sequence the call is not safe
        to repeat: after a StoreUnavailableError the bytes may or may not have been added. The hash's
        life is renewed.
        """
        increment = arguments.integer("increment", increment)
        step = "" if sequence is None else arguments.integer("sequence", sequence)
        reply = yield from self._update_existing(job_id, fence, step, increment)
        if reply[0] != 1:
            return None
        yield from self._add_to_totals(increment)
        return int(reply[2])

    @operation
    def set_download_speed(self, job_id: str, mbps: float, *, fence: int = 0) -> Flow[bool]:
        """Set the speed (megabits a second) of a job whose hash exists; False when it does not."""
        mbps = arguments.number("mbps", mbps, most=1e12)
        reply = yield from self._update_existing(
            job_id, fence, "", 0, "download_speed_mbps", f"{mbps:.3f}"
        )
        return bool(reply[0] == 1)

    @operation
    def request_control(self, job_id: str, word: str, fence: int) -> Flow[None]:
        """Ask the claim `fence` of a running job for something; its next flush sees it."""
        yield from self._send_control(word, [(job_id, fence)])

    @operation
    def request_control_many(self, word: str, claims: Sequence[tuple[str, int]]) -> Flow[None]:
        """Ask several claims, given as (job id, fence), for something, in one round trip.

        The words are "pause", "cancel", and "leave" for a claim that SQL knows no more. In this order
        each replaces those before it, and none replaces one behind it.
        """
        yield from self._send_control(word, claims)

    def _send_control(self, word: str, claims: Sequence[tuple[str, int]]) -> Flow[None]:
        # A word that this version does not know may be one of a newer version's: claims pass it over.
        arguments.string("word", word)
        yield from scripts.run_pipeline(
            ["progress_control"],
            [
                scripts.call("progress_control", self._key(job_id), word, fence, self._progress_ms)
                for job_id, fence in _claims("claims", claims)
            ],
        )

    @operation
    def withdraw_control(self, claims: Sequence[tuple[str, int]]) -> Flow[None]:
        """Take a "pause" back from several claims, given as (job id, fence), unless it was heard.

        Nothing else is taken back: a "cancel" stays.
        """
        yield from scripts.run_pipeline(
            ["progress_unpause"],
            [
                scripts.call("progress_unpause", self._key(job_id), fence)
                for job_id, fence in _claims("claims", claims)
            ],
        )

    @operation
    def remove(self, *job_ids: str) -> Flow[int]:
        """Forget the progress of jobs; return how many hashes there were."""
        return self._remove(arguments.strings("job_ids", job_ids))

    def _remove(self, job_ids: Sequence[str]) -> Flow[int]:
        removed = 0
        for batch in _batches(job_ids):
            hashes = ("UNLINK", *(self._key(job_id) for job_id in batch))
            replies = yield Batch(hashes, *self._indexes.remove(batch))
            removed += replies[0]
        return removed

    @operation
    def invalidate_user_downloads(self, user_id: str) -> Flow[int]:
        """Forget the progress of all of a user's downloads; return how many hashes there were.

        A download that runs writes its progress anew at its next flush.
        """
        index = self._keys.user_downloads_key(user_id)
        (members,) = yield Batch(("ZRANGE", index, 0, -1))
        removed = yield from self._remove(download_index.job_ids(members))
        yield Batch(("UNLINK", index))
        return removed

    # ── reading ─────────────────────────────────────────────────────────────────────────────────

    @operation
    def get_progress(self, job_id: str) -> Flow[DownloadProgress | None]:
        """Return the live progress of one job, or None when the store has none."""
        return (yield from self._read([job_id])).get(job_id)

    @operation
    def get_many(self, job_ids: Sequence[str]) -> Flow[dict[str, DownloadProgress]]:
        """Return the live progress of several jobs; those without are left out."""
        return self._read(arguments.strings("job_ids", job_ids))

    def _read(self, job_ids: Sequence[str]) -> Flow[dict[str, DownloadProgress]]:
        found: dict[str, DownloadProgress] = {}
        for batch in _batches(job_ids):
            commands = [("HGETALL", self._key(job_id)) for job_id in batch]
            hashes = yield from scripts.run_pipeline([], commands, keep_reply_errors=True)
            self._log_once.log_errors(hashes)
            for job_id, raw in zip(batch, hashes, strict=True):
                if isinstance(raw, StoreReplyError):
                    continue
                progress = read_hash(job_id, dict(zip(raw[::2], raw[1::2], strict=True)))
                if progress is not None:
                    found[job_id] = progress
        return found

    @operation
    def get_active_downloads(self, limit: int = 1000) -> Flow[list[DownloadProgress]]:
        """Return the running downloads, the most recently updated first."""
        index = self._keys.active_downloads_key()
        (members,) = yield Batch(("ZREVRANGE", index, 0, _positive("limit", limit) - 1))
        return (yield from self._running(download_index.job_ids(members)))

    @operation
    def page_active_downloads(
        self, *, after: str | None = None, limit: int = 100
    ) -> Flow[DownloadPage]:
        """Return one page of the running downloads, in the order in which their jobs were made.

        A download that runs the whole time is on exactly one page, whatever begins and ends meanwhile.

        Args:
            after: the `next_after` of the page before; None for the first.
            limit: how many at most.
        """
        _positive("limit", limit)
        if after is not None:
            arguments.string("after", after)
        (members,) = yield Batch(("ZRANGE", self._keys.active_downloads_key(), 0, -1))
        job_ids = sorted(download_index.job_ids(members))
        start = 0 if after is None else bisect_right(job_ids, after)
        page = job_ids[start : start + limit]
        more = start + limit < len(job_ids)
        items = yield from self._running(page)
        return DownloadPage(items=tuple(items), next_after=page[-1] if more else None)

    @operation
    def get_user_downloads(self, user_id: str, limit: int = 100) -> Flow[list[DownloadProgress]]:
        """Return the live progress of a user's downloads, the most recently updated first."""
        index = self._keys.user_downloads_key(user_id)
        (members,) = yield Batch(("ZREVRANGE", index, 0, _positive("limit", limit) - 1))
        job_ids = download_index.job_ids(members)
        found = yield from self._read(job_ids)
        return [found[job_id] for job_id in job_ids if job_id in found]

    @operation
    def totals(self) -> Flow[DownloadTotals]:
        """Return how many downloads run, and how fast they are together.

        In one round trip that does not look at each of them.
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

    def _running(self, job_ids: Sequence[str]) -> Flow[list[DownloadProgress]]:
        found = yield from self._read(job_ids)
        running = (found[job_id] for job_id in job_ids if job_id in found)
        return [progress for progress in running if progress.status in RUNNING]

    # ── what the database still lacks ───────────────────────────────────────────────────────────

    @operation
    def dirty(self) -> Flow[list[tuple[str, int]]]:
        """Return the jobs with unsaved progress as (job id, version)."""
        (rows,) = yield Batch(("ZRANGE", self._keys.dirty_downloads_key(), 0, -1, "WITHSCORES"))
        pairs = zip(rows[::2], rows[1::2], strict=True)
        entries = ((download_index.job_id(member), float(score)) for member, score in pairs)
        return [
            (job_id, int(score))
            for job_id, score in entries
            if job_id is not None and math.isfinite(score)
        ]

    @operation
    def mark_persisted(
        self, saved: Iterable[tuple[str, int]], finished: Sequence[str] = ()
    ) -> Flow[None]:
        """Note what the database has now, as (job id, version); a newer progress stays unsaved.

        `finished` are jobs whose final state is saved: their hashes go back to the short life.
        """
        pairs: list[str | int] = [part for pair in _claims("saved", saved) for part in pair]
        commands: list[Command] = []
        if pairs:
            commands.append(scripts.call("index_remove", self._keys.dirty_downloads_key(), *pairs))
        ended = arguments.strings("finished", finished)
        commands += [("PEXPIRE", self._key(job_id), self._progress_ms) for job_id in ended]
        yield from scripts.run_pipeline(["index_remove"], commands)

    @operation
    def cleanup_stale_progress(self, older_than: float) -> Flow[CleanupReport]:
        """Remove progress untouched for `older_than` seconds, and index entries without a hash.

        A finished hash that the database does not have yet is kept: it may be the only witness.
        """
        return clean_up(self._keys, arguments.number("older_than", older_than))

    # ── how it is written ───────────────────────────────────────────────────────────────────────

    def _update(self, update: ProgressUpdate) -> Command:
        ttl_ms = self._progress_ms if update.persisted else self._ttl_ms(update.status)
        step = update_arguments(update, ttl_ms)
        return scripts.call("progress_update", self._key(update.job_id), *step)

    def _update_existing(
        self, job_id: str, fence: int, sequence: int | str, increment: int, *fields: str
    ) -> Flow[list[Any]]:
        """Update a hash only if it exists, and mark it unsaved."""
        arguments.integer("fence", fence)
        step = (fence, sequence, increment, "", "", self._progress_ms, *fields)
        reply: list[Any] = yield from scripts.run(
            "progress_update", self._key(job_id), *step, once=True
        )
        if reply[0] >= 0:
            yield from _send(
                self._indexes.mark_dirty({job_id: version(fence, int(reply[3]))}),
                self._indexes.renew(job_id),
            )
        return reply

    def _add_to_totals(self, written: int, *also: Command) -> Flow[None]:
        """Add bytes to what all downloads wrote in this second; send other commands along."""
        commands = list(also)
        if written:
            key = self._keys.download_rate_key()
            commands.append(scripts.call("rate_add", key, written, RATE_SECONDS + 1))
        yield from scripts.run_pipeline(["rate_add"], commands, once=bool(written))

    def _key(self, job_id: str) -> str:
        return self._keys.download_job_key(job_id)

    def _ttl_ms(self, status: JobStatus) -> int:
        return self._unpersisted_ms if status in FINISHED else self._progress_ms


def _send(*groups: Iterable[Command]) -> Flow[None]:
    """Send commands whose replies nobody needs, in one round trip; nothing when there are none."""
    commands = [command for group in groups for command in group]
    if commands:
        yield Batch(*commands)


def _positive(name: str, number: int) -> int:
    return arguments.integer(name, number, least=1)


def _storable(progress: Any) -> DownloadProgress:
    """Check a progress whose numbers the store can keep exactly."""
    found = arguments.instance("progress", progress, DownloadProgress)
    for name in ("fence", "sequence"):
        arguments.integer(name, getattr(found, name), most=arguments.LARGEST_EXACT_INTEGER)
    for name in ("bytes_downloaded", "bytes_durable"):
        arguments.integer(name, getattr(found, name))
    if found.bytes_total is not None:
        arguments.integer("bytes_total", found.bytes_total)
    return found


def _claims(field: str, claims: Any) -> list[tuple[str, int]]:
    """Check a list of (job id, number)."""
    return [
        (arguments.string("job_id", job_id), arguments.integer(field, number))
        for job_id, number in arguments.pairs(field, claims)
    ]


def _batches(items: Sequence[str]) -> Iterable[Sequence[str]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]
