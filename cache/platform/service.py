"""The low level of the cache: typed values with a TTL, loaded once, counters, patterns without KEYS."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar, Unpack, overload

from cache import arguments
from cache.arguments import milliseconds
from cache.platform.counts import CacheCounts
from cache.platform.load_options import LoadChoices, LoadOptions
from cache.platform.loading import Loader
from cache.platform.values import Values
from cache.store.aio import AsyncStore
from cache.store.flow import Batch, Command, Flow
from cache.store.operation import Operations, S, operation
from cache.store.sync import SyncStore
from domain.errors import StoreUnavailableError

T = TypeVar("T")


class CacheService(Operations[S]):
    """Typed access to the store. Values travel as JSON, checked by pydantic in both directions.

    Keys are given whole (`KeyBuilder` makes them), TTLs in seconds. On an `AsyncStore` every method is a
    coroutine.

    When the store does not answer, reads are misses and `set`, `mset`, `expire` drop what they were
    given (`counts` tells how often); deletions, counters and `set_nx` raise StoreUnavailableError,
    since their callers act on what they say.
    """

    def __init__(self, store: S, values: Values) -> None:
        super().__init__(store)
        self.keys = values.keys
        self._values = values
        self._loader = Loader(values)

    def counts(self) -> CacheCounts:
        """Return what this process has read and written so far."""
        return self._values.counter.read()

    # ── values ──────────────────────────────────────────────────────────────────────────────────

    @overload
    def get(self: CacheService[SyncStore], key: str, model: type[T]) -> T | None: ...
    @overload
    def get(
        self: CacheService[AsyncStore], key: str, model: type[T]
    ) -> Coroutine[Any, Any, T | None]: ...
    def get(self, key: str, model: Any) -> Any:
        """Return the value of `key` as `model`, or None when there is none.

        A stored value that does not fit `model` is logged with its key, deleted and counts as a miss;
        one of another schema version (`cache.platform.codec.schema_version`) is a miss and stays.
        """
        return self.store.run(self._values.get(key, model))

    @overload
    def mget(
        self: CacheService[SyncStore], keys: Sequence[str], model: type[T]
    ) -> dict[str, T]: ...
    @overload
    def mget(
        self: CacheService[AsyncStore], keys: Sequence[str], model: type[T]
    ) -> Coroutine[Any, Any, dict[str, T]]: ...
    def mget(self, keys: Sequence[str], model: Any) -> Any:
        """Return what is there of `keys`, in one round trip; missing keys are left out."""
        return self.store.run(self._values.mget(keys, model))

    @overload
    def get_or_load(
        self: CacheService[SyncStore],
        key: str,
        model: type[T],
        loader: Callable[[], T | None],
        ttl: float,
        **choices: Unpack[LoadChoices],
    ) -> T | None: ...
    @overload
    def get_or_load(
        self: CacheService[AsyncStore],
        key: str,
        model: type[T],
        loader: Callable[[], T | Awaitable[T | None] | None],
        ttl: float,
        **choices: Unpack[LoadChoices],
    ) -> Coroutine[Any, Any, T | None]: ...
    def get_or_load(
        self,
        key: str,
        model: Any,
        loader: Callable[[], Any],
        ttl: float,
        **choices: Unpack[LoadChoices],
    ) -> Any:
        """Return the value of `key`; where it is missing, `loader` runs once for all who want it.

        Across all threads, tasks and processes one loader runs at a time. What it brings is stored
        unless the key was deleted or set while it ran. Without a store it still runs once a process
        at a time.

        Args:
            loader: returns the value, or None for "there is none". What it raises reaches everybody who
                waited in this process, and nothing is stored.
            ttl: how long the value is fresh.
            miss_ttl: how long a None is remembered (30 s).
            stale_for: how long after `ttl` the old value may still be served while one caller loads it
                anew, or cannot; 0, the default, makes everybody wait.
            early: eagerness to load before the end, so that nobody waits at it (1); 0 never does.
            wait: how long to wait for somebody else's loader (5 s) before running one's own, unstored; 0
                does not wait at all.
            load_timeout: how long others wait for a loader whose process has died (30 s).
            jitter: share of the TTL, 0 to 1, by which it is shortened at random (0).
        """
        options = LoadOptions(ttl=ttl, **choices)
        return self.store.run(self._loader.get_or_load(key, model, loader, options))

    @operation
    def set(
        self, key: str, value: Any, ttl: float, *, model: Any = None, jitter: float = 0.0
    ) -> Flow[bool]:
        """Store `value` (anything pydantic can serialise) for `ttl` seconds; False when it was dropped.

        Args:
            model: what it will be read as, where its class does not tell: ``model=list[Film]``.
            jitter: share of the TTL, 0 to 1, by which it is shortened at random, so that what was stored
                together does not expire together.

        Raises:
            InvalidInputError: it is too large, does not fit `model`, or the TTL is not above 0.
        """
        return self._values.set(key, value, ttl, model=model, jitter=jitter)

    @operation
    def mset(
        self, values: Mapping[str, Any], ttl: float, *, model: Any = None, jitter: float = 0.0
    ) -> Flow[bool]:
        """Store several values with one TTL in one round trip; False when they were dropped."""
        return self._values.mset(values, ttl, model=model, jitter=jitter)

    @operation
    def set_nx(self, key: str, value: Any, ttl: float, *, model: Any = None) -> Flow[bool]:
        """Store `value` only if `key` does not exist; True when it was stored. Raises without a store.

        Tried once: after a StoreUnavailableError it may or may not be there.
        """
        return self._values.set_nx(key, value, ttl, model=model)

    @operation
    def delete(self, *keys: str) -> Flow[int]:
        """Delete keys; return how many there were. Raises without a store."""
        return self._values.delete(*arguments.strings("key", keys))

    @operation
    def delete_by_pattern(self, pattern: str) -> Flow[int]:
        """Delete the keys that match a glob inside our namespace; return how many.

        Raises without a store. Runs in small steps (SCAN, UNLINK), so that a large store stays
        responsive; keys that appear meanwhile may be missed.
        """
        return self._values.delete_by_pattern(pattern)

    # ── keys and counters ───────────────────────────────────────────────────────────────────────

    @operation
    def exists(self, key: str) -> Flow[bool]:
        """Say whether `key` exists."""
        try:
            (found,) = yield Batch(("EXISTS", arguments.key(key)))
        except StoreUnavailableError:
            return False
        return bool(found)

    @operation
    def expire(self, key: str, ttl: float) -> Flow[bool]:
        """Give `key` a new TTL; False when it does not exist, or without a store."""
        try:
            (done,) = yield Batch(("PEXPIRE", arguments.key(key), milliseconds(ttl)))
        except StoreUnavailableError:
            self._values.counter.add("dropped_writes")
            return False
        self._values.discard_local(key)
        return bool(done)

    @operation
    def ttl(self, key: str) -> Flow[float | None]:
        """Return the seconds `key` has left, or None when it does not exist or never expires."""
        try:
            (left,) = yield Batch(("PTTL", arguments.key(key)))
        except StoreUnavailableError:
            return None
        return left / 1000 if left >= 0 else None

    @operation
    def increment(self, key: str, amount: int = 1, *, ttl: float | None = None) -> Flow[int]:
        """Add to a counter and return it. `ttl` is given to a counter that this call creates.

        Raises without a store, and is tried once: the amount may or may not have been added then.
        """
        arguments.key(key)
        arguments.integer("amount", amount, least=-(2**63))
        commands: list[Command] = []
        if ttl is not None:
            # Created with its life, so that no counter is ever left without one.
            commands.append(("SET", key, 0, "NX", "PX", milliseconds(ttl)))
        commands.append(("INCRBY", key, amount))
        replies = yield Batch(*commands, atomic=True, once=True)
        self._values.discard_local(key)
        return int(replies[-1])
