"""Reading, storing and deleting typed values, as flows.

Without a store a read is a miss, and a write is dropped; both are counted. Deletions, counters and
`set_nx` raise StoreUnavailableError, because their callers act on the result.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from cache import arguments
from cache.arguments import Duration, milliseconds
from cache.keys import KeyBuilder
from cache.platform import codec
from cache.platform.client_side_cache import ClientSideCache, Fetched
from cache.platform.counts import Counter
from cache.store.flow import Batch, BlockingCall, Command, Flow
from domain.errors import StoreUnavailableError

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Keys in one SCAN step: few enough not to block the server for others.
BATCH = 500
#: Keys in one UNLINK (below a millisecond of the server's time), and UNLINKs in one round trip.
UNLINK_BATCH = 1000
UNLINKS_PER_ROUND_TRIP = 10


class Values:
    """Flows on typed values. Keys include the namespace.

    Args:
        keys: the key builder of the namespace.
        client_side: the client-side cache, if there is one.

    Attributes:
        counter: counts of hits, misses and writes.
    """

    def __init__(self, keys: KeyBuilder, client_side: ClientSideCache | None = None) -> None:
        self.keys = keys
        self.client_side = client_side
        self.counter = Counter()

    # ── reading ──────────────────────────────────────────────────────────────────────────────────

    def get(self, key: str, model: type[T]) -> Flow[T | None]:
        """Return the value of `key`, or None."""
        client_side = self.client_side
        codec.check_model(model)
        arguments.key(key)
        try:
            found = yield from self.get_local(key, model)
            if found is not None:
                return found
            raw, fetched = yield from self.fetch(key)
        except StoreUnavailableError:
            self.counter.add("misses", "unavailable_reads")
            return None
        value = yield from self.read(key, raw, model)
        # A loaded value is kept by get_or_load, which knows how long it is fresh.
        is_set = raw is not None and value is not None and codec.kind_of(raw) == codec.VALUE
        if client_side is not None and fetched is not None and is_set:
            client_side.store(key, model, value, fetched)
        return value

    def get_possible(self, key: str | None, model: type[T]) -> Flow[T | None]:
        """Return the value of a `possible_key`, or None."""
        if key is not None:
            return (yield from self.get(key, model))
        codec.check_model(model)
        self.counter.add("misses")
        return None

    def get_local(self, key: str, model: type[T]) -> Flow[T | None]:
        """Return the value of `key` from the client-side cache, or None. Raises without a store."""
        client_side = self.client_side
        if client_side is None:
            return None
        found = client_side.lookup(key, model)
        if found is None and client_side.covers(key) and client_side.needs_ping():
            yield BlockingCall(client_side.ping)
            found = client_side.lookup(key, model)
        if found is not None:
            self.counter.add("hits", "client_side_hits")
        return found

    def fetch(self, key: str) -> Flow[tuple[bytes | None, Fetched | None]]:
        """Return the bytes of `key`, and their reserved client-side entry. Raises without a store."""
        client_side = self.client_side
        if client_side is not None and client_side.covers(key):
            fetched = yield BlockingCall(lambda: client_side.fetch(key))
            if fetched is not None:
                return fetched.raw, fetched
        (raw,) = yield Batch(("GET", key))
        return raw, None

    def read(self, key: str, raw: bytes | None, model: type[T]) -> Flow[T | None]:
        """Decode a stored value and count the read; delete a value that does not fit its model."""
        value = None
        if raw is not None:
            try:
                value = codec.decode(raw, model)
            except codec.UnreadableValueError as error:
                yield from self.discard(key, model, error)
            else:
                if value is None and codec.kind_of(raw) in (codec.VALUE, codec.LOADED):
                    self.counter.add("old_versions")
        self.counter.add("misses" if value is None else "hits")
        return value

    def discard(self, key: str, model: Any, error: Exception) -> Flow[None]:
        """Delete a value that cannot be decoded, and log that."""
        name = getattr(model, "__name__", str(model))
        redacted = self.keys.redacted(key)
        logger.warning("The value of %s does not fit %s and was deleted: %s", redacted, name, error)
        self.counter.add("unreadable")
        try:
            yield from self.delete(key)
        except StoreUnavailableError:
            logger.warning("%s could not be deleted: the store does not answer", redacted)

    def mget(self, keys: Sequence[str], model: type[T]) -> Flow[dict[str, T]]:
        """Return the values of those `keys` that exist, in one round trip."""
        keys = arguments.strings("keys", keys)
        codec.check_model(model)
        if not keys:
            return {}
        try:
            (raws,) = yield Batch(("MGET", *keys))
        except StoreUnavailableError:
            self.counter.add("misses", "unavailable_reads", amount=len(keys))
            return {}
        found: dict[str, T] = {}
        for key, raw in zip(keys, raws, strict=True):
            if raw is not None:
                value = yield from self.read(key, raw, model)
                if value is not None:
                    found[key] = value
        self.counter.add("misses", amount=raws.count(None))
        return found

    # ── storing ──────────────────────────────────────────────────────────────────────────────────

    def set(
        self, key: str, value: Any, ttl: Duration, *, model: Any = None, jitter: float = 0.0
    ) -> Flow[bool]:
        """Store a value; return False if it was dropped."""
        arguments.key(key)
        raw = codec.encode(value, model)
        stored = yield from self.put([("SET", key, raw, "PX", milliseconds(ttl, jitter))])
        self.discard_local(key)
        return stored

    def mset(
        self, values: Mapping[str, Any], ttl: Duration, *, model: Any = None, jitter: float = 0.0
    ) -> Flow[bool]:
        """Store several values in one round trip, each with its own jitter."""
        milliseconds(ttl, jitter)
        commands: list[Command] = [
            ("SET", key, codec.encode(value, model), "PX", milliseconds(ttl, jitter))
            for key, value in arguments.mapping("values", values).items()
            if arguments.key(key)
        ]
        if not commands:
            return True
        stored = yield from self.put(commands)
        self.discard_local(*values)
        return stored

    def set_nx(self, key: str, value: Any, ttl: Duration, *, model: Any = None) -> Flow[bool]:
        """Store a value if the key does not exist; return whether it did. Raises without a store."""
        arguments.key(key)
        raw = codec.encode(value, model)
        # Not retried: after a lost reply the retry would find the value of the first attempt.
        (reply,) = yield Batch(("SET", key, raw, "NX", "PX", milliseconds(ttl)), once=True)
        self.discard_local(key)
        return reply is not None

    def put(self, commands: Sequence[Command]) -> Flow[bool]:
        """Send commands that store values; return False if they were dropped for lack of a store."""
        try:
            yield Batch(*commands)
        except StoreUnavailableError:
            self.counter.add("dropped_writes", amount=len(commands))
            return False
        return True

    # ── deleting ─────────────────────────────────────────────────────────────────────────────────

    def delete(self, *keys: str | bytes) -> Flow[int]:
        """Delete keys; return how many existed. Raises without a store."""
        # In steps, between which the server serves other clients.
        starts = range(0, len(keys), UNLINK_BATCH)
        commands = [("UNLINK", *keys[start : start + UNLINK_BATCH]) for start in starts]
        deleted = 0
        for first in range(0, len(commands), UNLINKS_PER_ROUND_TRIP):
            deleted += sum((yield Batch(*commands[first : first + UNLINKS_PER_ROUND_TRIP])))
        self.discard_local(*keys)
        return deleted

    def delete_by_pattern(self, pattern: str) -> Flow[int]:
        """Delete the keys that match a glob inside the namespace. Raises without a store."""
        self.keys.pattern(pattern)
        deleted, cursor = 0, b"0"
        while True:
            (step,) = yield Batch(("SCAN", cursor, "MATCH", pattern, "COUNT", BATCH))
            cursor, found = step
            if found:
                deleted += yield from self.delete(*found)
            if cursor == b"0":
                return deleted

    def discard_local(self, *keys: str | bytes) -> None:
        """Remove keys that this process has changed from the client-side cache."""
        if self.client_side is not None:
            self.client_side.discard(key if isinstance(key, str) else key.decode() for key in keys)
