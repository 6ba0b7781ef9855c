"""Typed values in the store, as flows: what is put in and read out, and what that means without a store.

A store that does not answer makes a read a miss and drops what was to be put in; both are counted. What
takes something out (a delete) or decides something (a counter, set_nx) raises: its caller acts on it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from cache import arguments
from cache.arguments import milliseconds
from cache.keys import KeyBuilder
from cache.platform import codec
from cache.platform.client_side_cache import ClientSideCache, Fetched
from cache.platform.counts import Counter
from cache.store.flow import Batch, BlockingCall, Command, Flow
from domain.errors import StoreUnavailableError

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Keys that one SCAN step looks at: small enough never to hold up the server.
BATCH = 500
#: Keys that one UNLINK removes (below a millisecond of the server's time), and such steps a round trip.
UNLINKED = 1000
STEPS = 10


class Values:
    """Flows on typed values. Keys are given whole, TTLs in seconds.

    Args:
        keys: the key builder of the namespace.
        client_side: the cache in this process, if there is one.

    Attributes:
        counter: what has been read and written so far.
    """

    def __init__(self, keys: KeyBuilder, client_side: ClientSideCache | None = None) -> None:
        self.keys = keys
        self.client_side = client_side
        self.counter = Counter()

    # ── reading ─────────────────────────────────────────────────────────────────────────────────

    def get(self, key: str, model: type[T]) -> Flow[T | None]:
        """The value of `key`, or None."""
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
        # What a loader brought is kept by get_or_load, which knows how long it is fresh.
        is_set = raw is not None and value is not None and codec.kind_of(raw) == codec.VALUE
        if client_side is not None and fetched is not None and is_set:
            client_side.store(key, model, value, fetched)
        return value

    def get_local(self, key: str, model: type[T]) -> Flow[T | None]:
        """The value of `key` if this process has it in its memory. Raises without a store."""
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
        """The bytes at `key`, and the client-side cache's place for them. Raises without a store."""
        client_side = self.client_side
        if client_side is not None and client_side.covers(key):
            fetched = yield BlockingCall(lambda: client_side.fetch(key))
            if fetched is not None:
                return fetched.raw, fetched
        (raw,) = yield Batch(("GET", key))
        return raw, None

    def read(self, key: str, raw: bytes | None, model: type[T]) -> Flow[T | None]:
        """Take a stored value apart and count it; one that does not fit its model is deleted."""
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
        """Delete a value that cannot be read, so that nobody stumbles over it again."""
        name = getattr(model, "__name__", str(model))
        shown = self.keys.redacted(key)
        logger.warning("The value of %s does not fit %s and was deleted: %s", shown, name, error)
        self.counter.add("unreadable")
        try:
            yield from self.delete(key)
        except StoreUnavailableError:
            logger.warning("%s could not be deleted: the store does not answer", shown)

    def mget(self, keys: Sequence[str], model: type[T]) -> Flow[dict[str, T]]:
        """What is there of `keys`, in one round trip."""
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

    # ── putting in ──────────────────────────────────────────────────────────────────────────────

    def set(
        self, key: str, value: Any, ttl: float, *, model: Any = None, jitter: float = 0.0
    ) -> Flow[bool]:
        """Store a value; False when it was dropped."""
        arguments.key(key)
        raw = codec.encode(value, model)
        stored = yield from self.put([("SET", key, raw, "PX", milliseconds(ttl, jitter))])
        self.discard_local(key)
        return stored

    def mset(
        self, values: Mapping[str, Any], ttl: float, *, model: Any = None, jitter: float = 0.0
    ) -> Flow[bool]:
        """Store several values in one round trip, each with a jitter of its own."""
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

    def set_nx(self, key: str, value: Any, ttl: float, *, model: Any = None) -> Flow[bool]:
        """Store a value only where there is none; True when it was stored. Raises without a store."""
        arguments.key(key)
        raw = codec.encode(value, model)
        # Once: repeated after a lost answer, it would find its own first try in its way.
        (reply,) = yield Batch(("SET", key, raw, "NX", "PX", milliseconds(ttl)), once=True)
        self.discard_local(key)
        return reply is not None

    def put(self, commands: Sequence[Command]) -> Flow[bool]:
        """Send commands that store values; False when there was no store and they were dropped."""
        try:
            yield Batch(*commands)
        except StoreUnavailableError:
            self.counter.add("dropped_writes", amount=len(commands))
            return False
        return True

    # ── taking out ──────────────────────────────────────────────────────────────────────────────

    def delete(self, *keys: str | bytes) -> Flow[int]:
        """Delete keys; return how many there were. Raises without a store."""
        # In one go, and yet in steps between which the server serves others.
        parts = (keys[start : start + UNLINKED] for start in range(0, len(keys), UNLINKED))
        steps = [("UNLINK", *part) for part in parts]
        deleted = 0
        for first in range(0, len(steps), STEPS):
            deleted += sum((yield Batch(*steps[first : first + STEPS])))
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
        """Let go of what this process keeps in its memory of keys that it has changed."""
        if self.client_side is not None:
            self.client_side.discard(key if isinstance(key, str) else key.decode() for key in keys)
