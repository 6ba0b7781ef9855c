"""One entry of the catalog: read, set, loaded and deleted, and found by the titles in it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial
from typing import Any, Generic, TypeVar, Unpack, overload

from cache import arguments
from cache.arguments import milliseconds
from cache.keys import KeyBuilder
from cache.platform import codec
from cache.platform.load_options import LoadChoices, LoadOptions
from cache.platform.loading import Loader
from cache.platform.values import Values
from cache.store import scripts
from cache.store.aio import AsyncStore
from cache.store.flow import Flow
from cache.store.operation import Operations, S, operation
from cache.store.sync import SyncStore
from domain.errors import InvalidInputError, StoreUnavailableError

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: TTL of the mark that an invalidation leaves: the longest time that a loader with titles may run.
INVALIDATION_MARK_TTL = 600.0
#: Added to the TTL of an entry in its titles' indexes: the entry itself is stored slightly later.
INDEX_MARGIN_MS = 60_000


class CatalogEntry(Operations[S], Generic[T, S]):
    """The cached value of one key, which may not exist."""

    def __init__(
        self, store: S, values: Values, loader: Loader, key: str, model: type[T], ttl: float
    ) -> None:
        super().__init__(store)
        self.key = key
        self.model = model
        self.ttl = ttl
        self._values = values
        self._loader = loader

    @overload
    def get(self: CatalogEntry[T, SyncStore]) -> T | None: ...
    @overload
    def get(self: CatalogEntry[T, AsyncStore]) -> Coroutine[Any, Any, T | None]: ...
    def get(self) -> Any:
        """Return the value, or None."""
        return self.store.run(self._values.get(self.key, self.model))

    @operation
    def set(self, value: Any, *, titles: Iterable[str] = (), jitter: float = 0.0) -> Flow[bool]:
        """Store the value; return False if it was dropped.

        Args:
            titles: ids of the titles in it: `invalidate_title` of any of them deletes the entry.
        """
        ttl_ms = milliseconds(self.ttl, jitter)
        raw = codec.encode(value, self.model)
        # The index first: an entry that readers can see must be found by an invalidation.
        commands = [*self._index_commands(titles, ttl_ms), ("SET", self.key, raw, "PX", ttl_ms)]
        try:
            yield from scripts.run_pipeline(["index_add"], commands)
        except StoreUnavailableError:
            self._values.counter.add("dropped_writes")
            return False
        finally:
            self._values.discard_local(self.key)
        return True

    @overload
    def get_or_load(
        self: CatalogEntry[T, SyncStore],
        loader: Callable[[], T | None],
        *,
        titles: Callable[[T], Iterable[str]] | None = None,
        **choices: Unpack[LoadChoices],
    ) -> T | None: ...
    @overload
    def get_or_load(
        self: CatalogEntry[T, AsyncStore],
        loader: Callable[[], T | Awaitable[T | None] | None],
        *,
        titles: Callable[[T], Iterable[str]] | None = None,
        **choices: Unpack[LoadChoices],
    ) -> Coroutine[Any, Any, T | None]: ...
    def get_or_load(
        self,
        loader: Callable[[], Any],
        *,
        titles: Callable[[T], Iterable[str]] | None = None,
        **choices: Unpack[LoadChoices],
    ) -> Any:
        """Return the value; one caller loads it if it is missing. See `CacheService.get_or_load`.

        Args:
            titles: returns the ids of the titles in a loaded value. If it raises, the error is logged,
                and the value is returned but not stored.

        Raises:
            InvalidInputError: with `titles`, `load_timeout` is longer than 10 minutes.
        """
        if titles is not None:
            arguments.function("titles", titles)
        listing = partial(self._add_to_title_indexes, titles) if titles else None
        options = LoadOptions.of(self.ttl, listing, **choices)
        if titles and options.load_timeout > INVALIDATION_MARK_TTL:
            problem = f"With titles, at most {INVALIDATION_MARK_TTL:g} seconds."
            raise InvalidInputError("load_timeout", options.load_timeout, problem)
        return self.store.run(self._loader.get_or_load(self.key, self.model, loader, options))

    @operation
    def delete(self) -> Flow[bool]:
        """Delete the value; return False if there was none. Raises without a store."""
        return (yield from self._values.delete(self.key)) > 0

    def _add_to_title_indexes(
        self, titles: Callable[[T], Iterable[str]], value: T, began_ms: int, ttl_ms: int
    ) -> Flow[bool]:
        """Add the entry to its titles' indexes; return False if one was invalidated during the load."""
        try:
            commands = self._index_commands(titles(value), ttl_ms, began_ms)
        except Exception as error:
            self._values.counter.add("dropped_writes")
            key = self._values.keys.redacted(self.key)
            logger.error("%s was not cached: reading its titles failed: %s", key, error)  # noqa: TRY400
            return False
        accepted = yield from scripts.run_pipeline(["index_add"], commands)
        return all(accepted)

    def _index_commands(self, titles: Iterable[str], ttl_ms: int, *began_ms: int) -> list[Any]:
        return [
            scripts.call(
                "index_add", self._title_key(title), self.key, ttl_ms + INDEX_MARGIN_MS, *began_ms
            )
            for title in dict.fromkeys(arguments.strings("titles", titles))
        ]

    def _title_key(self, title: str) -> str:
        keys: KeyBuilder = self._values.keys
        return keys.catalog_title_key(title)
