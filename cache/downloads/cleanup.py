"""Removes stale progress and index entries without a hash, in small steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cache.downloads import indexes as download_index
from cache.keys import KeyBuilder
from cache.store import scripts
from cache.store.flow import Argument, Batch, Flow
from domain.job import FINISHED

#: Maximum number of job ids in a report.
MAX_REPORTED_IDS = 1000

#: Job id, and its score in the index.
_Entry = tuple[str, int]


class CleanupReport(NamedTuple):
    """What a clean-up has removed."""

    stale: int
    """Stale hashes, with their index entries."""
    gone: int
    """Index entries without a hash."""
    job_ids: tuple[str, ...] = ()
    """The jobs of those entries, at most a thousand."""


def clean_up(keys: KeyBuilder, older_than: float) -> Flow[CleanupReport]:
    """Remove progress not updated for `older_than` seconds, and index entries without a hash."""
    (clock,) = yield Batch(("TIME",))
    now = int(clock[0]) + int(clock[1]) / 1e6
    stale = yield from _remove_stale(keys, round((now - older_than) * 1000))
    job_ids: dict[str, None] = {}
    gone = yield from _remove_without_hash(keys, keys.active_downloads_key(), job_ids)
    gone += yield from _remove_without_hash(keys, keys.dirty_downloads_key(), job_ids)
    return CleanupReport(stale, gone, tuple(job_ids))


def _remove_stale(keys: KeyBuilder, horizon_ms: int) -> Flow[int]:
    """Remove hashes last updated before `horizon_ms`, not yet their index entries."""
    (members,) = yield Batch(("ZRANGEBYSCORE", keys.active_downloads_key(), "-inf", horizon_ms))
    removed = 0
    for batch in download_index.batches(download_index.job_ids(members)):
        commands = [
            scripts.call(
                "progress_remove", keys.download_job_key(job_id), horizon_ms, *sorted(FINISHED)
            )
            for job_id in batch
        ]
        replies = yield from scripts.run_pipeline(
            ["progress_remove"], commands, keep_reply_errors=True
        )
        removed += sum(reply for reply in replies if isinstance(reply, int))
    return removed


def _remove_without_hash(keys: KeyBuilder, index: str, job_ids: dict[str, None]) -> Flow[int]:
    """Remove index entries without a hash; add their job ids to `job_ids`, up to its maximum."""
    removed, cursor = 0, b"0"
    while True:
        (step,) = yield Batch(("ZSCAN", index, cursor, "COUNT", download_index.BATCH))
        cursor, flat = step
        pairs = list(zip(flat[::2], flat[1::2], strict=True))
        entries = [
            entry for pair in pairs if (entry := download_index.scored_job_id(*pair)) is not None
        ]
        foreign = [
            member for member, score in pairs if download_index.scored_job_id(member, score) is None
        ]
        if foreign:
            (gone,) = yield Batch(("ZREM", index, *foreign))
            removed += gone
        # A ZSCAN step may return more than COUNT.
        for batch in download_index.batches(entries):
            missing = yield from _missing_hashes(keys, batch)
            if missing:
                arguments: list[Argument] = [part for entry in missing for part in entry]
                removed += int((yield from scripts.run("index_remove", index, *arguments)))
            job_ids.update(
                (job_id, None) for job_id, _ in missing[: MAX_REPORTED_IDS - len(job_ids)]
            )
        if cursor == b"0":
            return removed


def _missing_hashes(keys: KeyBuilder, entries: Sequence[_Entry]) -> Flow[list[_Entry]]:
    there = yield Batch(*(("EXISTS", keys.download_job_key(job_id)) for job_id, _ in entries))
    return [entry for entry, exists in zip(entries, there, strict=True) if not exists]
