"""Clears away live progress that nobody keeps alive any more, in small steps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

from cache.downloads import indexes as download_index
from cache.keys import KeyBuilder
from cache.store import scripts
from cache.store.flow import Argument, Batch, Flow
from domain.job import FINISHED

T = TypeVar("T")

#: Jobs that one round trip looks at.
BATCH = 500
#: Jobs that a report names at most.
MOST_NAMED = 1000

#: Job id, and its score in the index.
_Entry = tuple[str, int]


class CleanupReport(NamedTuple):
    """What a clean-up removed."""

    stale: int
    """Hashes, with their index entries, that nobody had touched."""
    gone: int
    """Index entries whose hash was gone."""
    job_ids: tuple[str, ...] = ()
    """The jobs of these entries, the first thousand."""


def clean_up(keys: KeyBuilder, older_than: float) -> Flow[CleanupReport]:
    """Remove progress untouched for `older_than` seconds, and index entries without a hash."""
    (clock,) = yield Batch(("TIME",))
    now = int(clock[0]) + int(clock[1]) / 1e6
    stale = yield from _remove_stale(keys, round((now - older_than) * 1000))
    job_ids: dict[str, None] = {}
    gone = yield from _remove_without_hash(keys, keys.active_downloads_key(), job_ids)
    gone += yield from _remove_without_hash(keys, keys.dirty_downloads_key(), job_ids)
    return CleanupReport(stale, gone, tuple(job_ids))


def _remove_stale(keys: KeyBuilder, horizon_ms: int) -> Flow[int]:
    """Remove the hashes nobody has touched since; their index entries go as those without hash."""
    (members,) = yield Batch(("ZRANGEBYSCORE", keys.active_downloads_key(), "-inf", horizon_ms))
    removed = 0
    for batch in _batches(download_index.job_ids(members)):
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
    """Remove the entries without a hash, and add their jobs to `job_ids` as long as it has room."""
    removed, cursor = 0, b"0"
    while True:
        (step,) = yield Batch(("ZSCAN", index, cursor, "COUNT", BATCH))
        cursor, flat = step
        pairs = list(zip(flat[::2], flat[1::2], strict=True))
        entries = [entry for pair in pairs if (entry := _entry(*pair)) is not None]
        foreign = [member for member, score in pairs if _entry(member, score) is None]
        if foreign:
            (gone,) = yield Batch(("ZREM", index, *foreign))
            removed += gone
        # One step may bring more than asked for.
        for batch in _batches(entries):
            missing = yield from _missing_hashes(keys, batch)
            if missing:
                arguments: list[Argument] = [part for entry in missing for part in entry]
                removed += int((yield from scripts.run("index_remove", index, *arguments)))
            job_ids.update((job_id, None) for job_id, _ in missing[: MOST_NAMED - len(job_ids)])
        if cursor == b"0":
            return removed


def _entry(member: bytes, score: bytes) -> _Entry | None:
    """Return a member of an index as this service writes them, or None when another program wrote it."""
    job_id, number = download_index.job_id(member), float(score)
    return (job_id, int(number)) if job_id is not None and math.isfinite(number) else None


def _missing_hashes(keys: KeyBuilder, entries: Sequence[_Entry]) -> Flow[list[_Entry]]:
    there = yield Batch(*(("EXISTS", keys.download_job_key(job_id)) for job_id, _ in entries))
    return [entry for entry, exists in zip(entries, there, strict=True) if not exists]


def _batches(entries: Sequence[T]) -> Iterable[Sequence[T]]:
    for start in range(0, len(entries), BATCH):
        yield entries[start : start + BATCH]
