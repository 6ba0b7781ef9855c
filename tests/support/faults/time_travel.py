"""Moves time forward without waiting: in the store, in SQL, and on the clock of leases.

Timestamps are moved into the past and TTLs are shortened, as if the time had gone by.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
import redis
from sqlalchemy import select, update

from cache.clock import lease_clock
from database.models import jobs
from tests.support.stores.server import StoreServer
from worker.broker.queues import DOWNLOAD_QUEUES
from worker.broker.task_messages import SENT_AT
from worker.runtime import Runtime

#: Moments in `jobs` that something is decided by.
_MOMENTS = ("updated_at", "published_at", "message_consumed_at", "next_attempt_at")
#: The databases of the store in which the service keeps anything: the cache, and the broker.
_DATABASES = (0, 1)


@dataclass(frozen=True)
class Snapshot:
    """What the store held at one moment: by database, key and value with its TTL in milliseconds."""

    passed: float
    values: dict[int, dict[bytes, tuple[bytes, int]]]


class TimeTravel:
    """The time of one runtime with a store of its own.

    Attributes:
        passed: seconds skipped so far.
    """

    def __init__(self, runtime: Runtime, store: StoreServer) -> None:
        self.passed = 0.0
        self._runtime = runtime
        self._clients = {db: store.client(db=db) for db in _DATABASES}

    def lease_clock(self) -> float:
        """The clock that leases run by."""
        return lease_clock() + self.passed

    def advance(self, seconds: float) -> None:
        """Skip so many seconds, in all three places at once."""
        self.passed += seconds
        self._age_rows(seconds)
        self._age_keys(seconds)
        self._age_messages(seconds)
        # How long the store has been seen to lose nothing: it has been watched all the while.
        self._runtime.cache.data_loss._since -= seconds

    def close(self) -> None:
        """Close the connections to the store."""
        for client in self._clients.values():
            client.close()

    # ── the store's data, lost and old ──────────────────────────────────────────────────────────

    def empty_store(self) -> None:
        """Lose everything in the store."""
        self._clients[0].flushall()

    def snapshot(self) -> Snapshot:
        """Return what the store holds."""
        values: dict[int, dict[bytes, tuple[bytes, int]]] = {}
        for db, client in self._clients.items():
            keys: list[bytes] = list(client.scan_iter(count=1000))
            pipeline = client.pipeline(transaction=False)
            for key in keys:
                pipeline.dump(key)
                pipeline.pttl(key)
            replies = pipeline.execute()
            pairs = zip(replies[::2], replies[1::2], strict=True)
            values[db] = dict(zip(keys, pairs, strict=True))
        return Snapshot(self.passed, values)

    def roll_back(self, snapshot: Snapshot) -> None:
        """Restore what the store held then, without what has expired since.

        Its mark of continuity is left out: a server that comes back from a snapshot has another run id,
        and this one has none other to show.
        """
        self.empty_store()
        mark = self._runtime.cache.keys.data_loss_marker_key().encode()
        for db, client in self._clients.items():
            pipeline = client.pipeline(transaction=False)
            for key, (value, ttl) in snapshot.values[db].items():
                if key != mark:
                    pipeline.restore(key, max(0, ttl), value)
            pipeline.execute()
        self._age_keys(self.passed - snapshot.passed)
        self._age_messages(self.passed - snapshot.passed)

    # ── ageing ──────────────────────────────────────────────────────────────────────────────────

    def _age_rows(self, seconds: float) -> None:
        by = timedelta(seconds=seconds)
        columns = [jobs.c[name] for name in _MOMENTS]
        with self._runtime.database.write() as connection:
            for job_id, *moments in connection.execute(select(jobs.c.id, *columns)).all():
                older = {
                    column.name: moment - by
                    for column, moment in zip(columns, moments, strict=True)
                    if moment is not None
                }
                connection.execute(update(jobs).where(jobs.c.id == job_id).values(older))

    def _age_keys(self, seconds: float) -> None:
        by = round(seconds * 1000)
        if not by:
            return
        client, keys = self._clients[0], self._runtime.cache.keys
        prefix = keys.download_job_key("x").encode()[:-1]
        found: list[bytes] = list(client.scan_iter(count=1000))
        pipeline = client.pipeline(transaction=False)
        for key in found:
            pipeline.pttl(key)
        ttls = dict(zip(found, pipeline.execute(), strict=True))
        for key, ttl in ttls.items():
            if ttl != -1:
                pipeline.pexpire(key, ttl - by)  # one that has run out deletes it
            if key.startswith(prefix) and ttl > by:
                _age_hash(client, pipeline, key, by)
        active = keys.active_downloads_key()
        for member, _ in client.zscan_iter(active):
            pipeline.zincrby(active, -by, member)
        pipeline.execute()

    def _age_messages(self, seconds: float) -> None:
        by, client = timedelta(seconds=seconds), self._clients[1]
        for queue in DOWNLOAD_QUEUES:
            for place, raw in enumerate(client.lrange(queue, 0, -1)):
                client.lset(queue, place, _older(raw, by))


def _older(raw: bytes | str, by: timedelta) -> str:
    message = json.loads(raw)
    sent_at = datetime.fromisoformat(message["headers"][SENT_AT])
    message["headers"][SENT_AT] = (sent_at - by).isoformat()
    return json.dumps(message)


def _age_hash(client: redis.Redis, pipeline: Any, key: bytes, by: int) -> None:
    names = ("updated_at", "last_byte_at")
    for name, moment in zip(names, client.hmget(key, names), strict=True):
        if moment is not None:
            pipeline.hset(key, name, int(moment) - by)


@contextmanager
def time_travel(runtime: Runtime, store: StoreServer) -> Iterator[TimeTravel]:
    """Replace the clock of leases by one that a test advances."""
    time = TimeTravel(runtime, store)
    with pytest.MonkeyPatch.context() as patch:
        for module in ("worker.leases.lease", "cache.coordination.renewal"):
            patch.setattr(f"{module}.lease_clock", time.lease_clock)
        yield time
    time.close()
