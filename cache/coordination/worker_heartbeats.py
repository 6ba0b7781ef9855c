"""Which workers run: each writes a heartbeat; `seen worker --check` and `seen doctor` read them."""

from __future__ import annotations

import json
from collections.abc import Iterable

from cache import arguments, ttl
from cache.keys import KeyBuilder
from cache.models import WorkerHeartbeat
from cache.store.flow import Batch, Flow
from cache.store.operation import Operations, S, operation

#: Heartbeats that are read at once.
_LIMIT = 10_000


class WorkerHeartbeats(Operations[S]):
    """One sorted set of workers by the time of their last heartbeat, on the store's clock.

    On an `AsyncStore` every method is a coroutine. Every method raises StoreUnavailableError when the
    store does not answer.
    """

    def __init__(self, store: S, keys: KeyBuilder) -> None:
        super().__init__(store)
        self._keys = keys

    @operation
    def record(self, worker: WorkerHeartbeat) -> Flow[None]:
        """Record that a worker runs, and remove those that have not for long."""
        key = self._keys.workers_key()
        now = yield from _now_ms()
        yield Batch(
            ("ZADD", key, now, _member(worker)),
            ("ZREMRANGEBYSCORE", key, "-inf", now - 1000 * ttl.WORKERS),
            ("EXPIRE", key, ttl.WORKERS),
        )

    @operation
    def remove(self, worker: WorkerHeartbeat) -> Flow[None]:
        """Remove a worker that ends."""
        yield Batch(("ZREM", self._keys.workers_key(), _member(worker)))

    @operation
    def running(self, within: float = ttl.WORKER_HEARTBEAT) -> Flow[list[WorkerHeartbeat]]:
        """Return the workers whose last heartbeat is at most `within` seconds old, by name."""
        since = (yield from _now_ms()) - round(1000 * arguments.seconds("within", within))
        key = self._keys.workers_key()
        (raw,) = yield Batch(("ZRANGEBYSCORE", key, since, "+inf", "LIMIT", 0, _LIMIT))
        return sorted(_newest(raw), key=lambda one: (one.name, one.process))


def _now_ms() -> Flow[int]:
    ((seconds, microseconds),) = yield Batch(("TIME",))
    return int(seconds) * 1000 + int(microseconds) // 1000


def _member(worker: WorkerHeartbeat) -> str:
    return json.dumps([worker.name, worker.process, *worker.queues])


def _newest(raw: Iterable[bytes]) -> list[WorkerHeartbeat]:
    """Return the last member of each process; one that this service did not write is left out."""
    found: dict[tuple[str, str], WorkerHeartbeat] = {}
    for member in raw:
        try:
            name, process, *queues = map(str, json.loads(member))
        except (ValueError, TypeError, RecursionError):
            continue
        found[name, process] = WorkerHeartbeat(name=name, process=process, queues=tuple(queues))
    return list(found.values())
