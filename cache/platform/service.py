"""Low-level cache operations: typed values with a TTL, `get_or_load`, counters, deletion by pattern."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar, Unpack, overload

from cache import arguments
from cache import ttl as ttls
from cache.arguments import Duration, milliseconds
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
    """Typed access to the store. Values are stored as JSON; pydantic validates them both ways.

    Keys include the namespace (see `KeyBuilder`). A TTL is a number of seconds or a timedelta. On an
    `AsyncStore` every method is a coroutine.

    While the store does not answer, reads are misses, and `set`, `mset` and `expire` are dropped
    (`counts` has their number). Deletions, counters and `set_nx` raise StoreUnavailableError, because
    their callers act on the result.
    """

    def __init__(self, store: S, values: Values) -> None:
        super().__init__(store)
        self.keys = values.keys
        self._values = values
        self._loader = Loader(values)

    def counts(self) -> CacheCounts:
        """Return this process's counts of reads and writes."""
        return self._values.counter.read()

    # ── values ───────────────────────────────────────────────────────────────────────────────────

    @overload
    def get(self: CacheService[SyncStore], key: str, model: type[T]) -> T | None: ...
    @overload
    def get(
        self: CacheService[AsyncStore], key: str, model: type[T]
    ) -> Coroutine[Any, Any, T | None]: ...
    def get(self, key: str, model: Any) -> Any:
        """Return the value of `key` as `model`, or None.

        A stored value that does not fit `model` is a miss; it is logged with its key and deleted. One
        of another schema version (`cache.platform.codec.schema_version`) is a miss and stays.
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
        """Return the values of those `keys` that exist, in one round trip."""
        return self.store.run(self._values.mget(keys, model))

    @overload
    def get_or_load(
        self: CacheService[SyncStore],
        key: str,
        model: type[T],
        loader: Callable[[], T | None],
        ttl: Duration,
        **choices: Unpack[LoadChoices],
    ) -> T | None: ...
    @overload
    def get_or_load(
        self: CacheService[AsyncStore],
        key: str,
        model: type[T],
        loader: Callable[[], T | Awaitable[T | None] | None],
        ttl: Duration,
        **choices: Unpack[LoadChoices],
    ) -> Coroutine[Any, Any, T | None]: ...
    def get_or_load(
        self,
        key: str,
        model: Any,
        loader: Callable[[], Any],
        ttl: Duration,
        **choices: Unpack[LoadChoices],
    ) -> Any:
        """Return the value of `key`; if it is missing, `loader` runs once for all callers.

        One loader runs at a time in all threads, tasks and processes. Its value is stored unless the
        key was deleted or set while it ran. Without a store, one loader runs at a time in each process.

        Args:
            loader: returns the value, or None if there is none. An exception is raised to every caller
                that waits in this process, and nothing is stored.
            ttl: how long the value is fresh.
            miss_ttl: how long a None is cached (30 s).
            stale_for: how long after `ttl` the old value may be served while one caller loads the new
                one, or the loader fails (0 s: all callers wait).
            early: factor for refreshing before expiry, so that no caller waits (1); 0 never does.
            wait: how long to wait for another caller's loader (5 s); then this caller's loader runs, and
                its value is not stored.
            load_timeout: how long to wait for a loader whose process has died (30 s).
            jitter: maximum share of the TTL, 0 to 1, by which it is randomly shortened (0).
        """
        options = LoadOptions.of(ttl, **choices)
        return self.store.run(self._loader.get_or_load(key, model, loader, options))

    @operation
    def set(
        self, key: str, value: Any, ttl: Duration, *, model: Any = None, jitter: float = 0.0
    ) -> Flow[bool]:
        """Store `value` (anything pydantic can serialise) for `ttl` seconds; return False if dropped.

        Args:
            model: the type it will be read as, if that is not its class: ``model=list[Film]``.
            jitter: maximum share of the TTL, 0 to 1, by which it is randomly shortened, so that values
                that were stored together do not expire together.

        Raises:
            InvalidInputError: the value is too large or does not fit `model`, or the TTL is invalid.
        """
        return self._values.set(key, value, ttl, model=model, jitter=jitter)

    @operation
    def mset(
        self, values: Mapping[str, Any], ttl: Duration, *, model: Any = None, jitter: float = 0.0
    ) -> Flow[bool]:
        """Store several values with one TTL in one round trip; return False if they were dropped."""
        return self._values.mset(values, ttl, model=model, jitter=jitter)

    @operation
    def set_nx(self, key: str, value: Any, ttl: Duration, *, model: Any = None) -> Flow[bool]:
        """Store `value` if `key` does not exist; return whether it was stored. Raises without a store.

        Not retried: after a StoreUnavailableError it may or may not be stored.
        """
        return self._values.set_nx(key, value, ttl, model=model)

    @operation
    def delete(self, *keys: str) -> Flow[int]:
        """Delete keys; return how many existed. Raises without a store."""
        return self._values.delete(*arguments.strings("key", keys))

    @operation
    def delete_by_pattern(self, pattern: str) -> Flow[int]:
        """Delete the keys of the namespace that match a glob; return how many.

        Raises without a store. It runs in small steps (SCAN, UNLINK) between which the server serves
        other clients. Keys that are created meanwhile may be missed.
        """
        return self._values.delete_by_pattern(pattern)

    # ── keys and counters ────────────────────────────────────────────────────────────────────────

    @operation
    def exists(self, key: str) -> Flow[bool]:
        """Return whether `key` exists; False without a store."""
        try:
            (found,) = yield Batch(("EXISTS", arguments.key(key)))
        except StoreUnavailableError:
            return False
        return bool(found)

    @operation
    def expire(self, key: str, ttl: Duration) -> Flow[bool]:
        """Give `key` a new TTL; return False if it does not exist, or without a store."""
        try:
            (done,) = yield Batch(("PEXPIRE", arguments.key(key), milliseconds(ttl)))
        except StoreUnavailableError:
            self._values.counter.add("dropped_writes")
            return False
        self._values.discard_local(key)
        return bool(done)

    @operation
    def ttl(self, key: str) -> Flow[float | None]:
        """Return the seconds until `key` expires; None if it does not exist or does not expire."""
        try:
            (left,) = yield Batch(("PTTL", arguments.key(key)))
        except StoreUnavailableError:
            return None
        return left / 1000 if left >= 0 else None

    @operation
    def increment(
        self, key: str, amount: int = 1, *, ttl: Duration | None = ttls.RATE_LIMIT
    ) -> Flow[int]:
        """Add to a counter and return its value; a counter that this call creates gets `ttl`.

        Raises without a store. Not retried: the amount may or may not have been added then.

        Args:
            ttl: the counter expires so long after its creation (1 minute); None: never.
        """
        arguments.key(key)
        arguments.integer("amount", amount, least=-(2**63))
        commands: list[Command] = []
        if ttl is not None:
            # Created with its TTL in the same transaction, so that it never stays without one.
            commands.append(("SET", key, 0, "NX", "PX", milliseconds(ttl)))
        commands.append(("INCRBY", key, amount))
        replies = yield Batch(*commands, atomic=True, once=True)
        self._values.discard_local(key)
        return int(replies[-1])
