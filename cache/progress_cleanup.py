"""Clears away live progress that nobody keeps alive any more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

from redis import Redis
from redis.client import Pipeline

from cache import scripts
from cache.connection import store_errors
from cache.keys import KeyBuilder
from domain.job import FINISHED

#: Jobs that one round trip looks at.
BATCH = 500

_Entry = tuple[bytes, float]


class CleanupReport(NamedTuple):
    """What a clean-up removed."""

    stale: int
    """Hashes, with their index entries, that nobody had touched."""
    gone: int
    """Index entries whose hash was gone."""


class ProgressCleanup:
    """One pass over the indexes of `DownloadCache`, in small steps."""

    def __init__(self, client: Redis, keys: KeyBuilder) -> None:
        self._client = client
        self._keys = keys

    def run(self, older_than: float) -> CleanupReport:
        """Remove progress untouched for `older_than` seconds, and index entries without a hash."""
        with store_errors():
            horizon = round((self._server_time() - older_than) * 1000)
            stale = self._remove_stale(horizon)
            gone = self._remove_without_hash(self._keys.active_downloads_key())
            gone += self._remove_without_hash(self._keys.dirty_downloads_key())
        return CleanupReport(stale, gone)

    def _remove_stale(self, horizon: int) -> int:
        active = self._keys.active_downloads_key()
        entries = cast(
            "list[_Entry]", self._client.zrangebyscore(active, "-inf", horizon, withscores=True)
        )
        return sum(self._remove_untouched(batch, horizon) for batch in _batches(entries))

    def _remove_untouched(self, entries: Sequence[_Entry], horizon: int) -> int:
        """Remove those hashes nobody has touched since; their index entries go as those without hash."""

        def fill(pipe: Pipeline) -> None:
            for member, _score in entries:
                key = self._keys.download_job_key(member.decode())
                scripts.add(pipe, "progress_remove", [key], [horizon, *sorted(FINISHED)])

        return sum(scripts.pipelined(self._client, ["progress_remove"], fill))

    def _remove_without_hash(self, index: str) -> int:
        removed = cursor = 0
        while True:
            cursor, entries = self._client.zscan(index, cursor, count=BATCH)
            removed += self._remove_missing(index, cast("list[_Entry]", entries))
            if cursor == 0:
                return removed

    def _remove_missing(self, index: str, entries: Sequence[_Entry]) -> int:
        if not entries:
            return 0
        with self._client.pipeline(transaction=False) as pipe:
            for member, _score in entries:
                pipe.exists(self._keys.download_job_key(member.decode()))
            there = pipe.execute()
        missing = [pair for pair, exists in zip(entries, there, strict=True) if not exists]
        args: list[str | int] = []
        for member, score in missing:
            args += [member.decode(), int(score)]
        return int(scripts.run(self._client, "index_remove", [index], args)) if args else 0

    def _server_time(self) -> float:
        seconds, microseconds = self._client.time()
        return seconds + microseconds / 1e6


def _batches(entries: Sequence[_Entry]) -> Iterable[Sequence[_Entry]]:
    for start in range(0, len(entries), BATCH):
        yield entries[start : start + BATCH]
