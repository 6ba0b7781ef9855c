"""Clears away live progress that nobody keeps alive any more, in small steps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

from cache.keys import KeyBuilder
from cache.store import scripts
from cache.store.plan import Argument, Batch, Plan
from domain.job import FINISHED

T = TypeVar("T")

#: Jobs that one round trip looks at.
BATCH = 500

#: Job id, and its score in the index.
_Entry = tuple[str, int]


class CleanupReport(NamedTuple):
    """What a clean-up removed."""

    stale: int
    """Hashes, with their index entries, that nobody had touched."""
    gone: int
    """Index entries whose hash was gone."""


def clean_up(keys: KeyBuilder, older_than: float) -> Plan[CleanupReport]:
    """Remove progress untouched for `older_than` seconds, and index entries without a hash."""
    (clock,) = yield Batch(("TIME",))
    now = int(clock[0]) + int(clock[1]) / 1e6
    stale = yield from _remove_stale(keys, round((now - older_than) * 1000))
    gone = yield from _remove_without_hash(keys, keys.active_downloads_key())
    gone += yield from _remove_without_hash(keys, keys.dirty_downloads_key())
    return CleanupReport(stale, gone)


def _remove_stale(keys: KeyBuilder, horizon_ms: int) -> Plan[int]:
    """Remove the hashes nobody has touched since; their index entries go as those without hash."""
    (members,) = yield Batch(("ZRANGEBYSCORE", keys.active_downloads_key(), "-inf", horizon_ms))
    removed = 0
    for batch in _batches([member.decode() for member in members]):
        commands = [
            scripts.call(
                "progress_remove", keys.download_job_key(job_id), horizon_ms, *sorted(FINISHED)
            )
            for job_id in batch
        ]
        removed += sum((yield from scripts.pipelined(["progress_remove"], commands)))
    return removed


def _remove_without_hash(keys: KeyBuilder, index: str) -> Plan[int]:
    removed, cursor = 0, b"0"
    while True:
        (step,) = yield Batch(("ZSCAN", index, cursor, "COUNT", BATCH))
        cursor, flat = step
        pairs = zip(flat[::2], flat[1::2], strict=True)
        entries = [(member.decode(), int(float(score))) for member, score in pairs]
        # One step may bring more than asked for.
        for batch in _batches(entries):
            removed += yield from _remove_missing(keys, index, batch)
        if cursor == b"0":
            return removed


def _remove_missing(keys: KeyBuilder, index: str, entries: Sequence[_Entry]) -> Plan[int]:
    there = yield Batch(*(("EXISTS", keys.download_job_key(job_id)) for job_id, _ in entries))
    arguments: list[Argument] = []
    for entry, exists in zip(entries, there, strict=True):
        if not exists:
            arguments += entry
    if not arguments:
        return 0
    return int((yield from scripts.run("index_remove", index, *arguments)))


def _batches(entries: Sequence[T]) -> Iterable[Sequence[T]]:
    for start in range(0, len(entries), BATCH):
        yield entries[start : start + BATCH]
