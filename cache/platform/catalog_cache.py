"""Catalog entries: dashboard, discover, search, watch later, continue watching, recommendations.

Each has three methods. Use the handle wherever the value can be computed: one caller loads it, the
others wait. Use `get_` and `set_` where reading and storing are apart.

    catalog.dashboard("user-456", Dashboard).get_or_load(build_dashboard)

    found = catalog.get_dashboard("user-456", Dashboard)  # Dashboard | None
    catalog.set_dashboard("user-456", dashboard)
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypedDict, TypeVar, Unpack, overload

from cache import ttl
from cache.arguments import milliseconds
from cache.keys import possible_key
from cache.platform import codec
from cache.platform.catalog_entry import INVALIDATION_MARK_TTL, CatalogEntry
from cache.platform.loading import Loader
from cache.platform.values import Values
from cache.store import scripts
from cache.store.aio import AsyncStore
from cache.store.flow import Flow
from cache.store.operation import Operations, S, operation
from cache.store.sync import SyncStore
from domain.errors import InvalidInputError

T = TypeVar("T")


class SetChoices(TypedDict, total=False):
    """The optional arguments of the `set_` methods."""

    model: Any
    """The type it will be read as, if that is not its class: ``model=list[Film]``."""
    titles: Iterable[str]
    """Ids of the titles in it: `invalidate_title` of any of them deletes the entry."""
    jitter: float
    """Maximum share of the TTL, 0 to 1, by which it is randomly shortened (0)."""


class CatalogCache(Operations[S]):
    """Cached pages of the catalog.

    A `get_` method returns the value or None, also for an id that no key can have; its `set_` method
    refuses such an id, and returns False if the value was dropped.

    Invalidation by user deletes the user's four keys; invalidation by title deletes every entry that was
    stored with that title. Neither scans the keys. Both raise StoreUnavailableError without a store.
    """

    def __init__(self, store: S, values: Values) -> None:
        super().__init__(store)
        self._values = values
        self._keys = values.keys
        self._loader = Loader(values)

    # ── a user's dashboard ────────────────────────────────────────────────────────────────────────

    def dashboard(self, user_id: str, model: type[T]) -> CatalogEntry[T, S]:
        """A user's dashboard; 5 minutes."""
        return self._entry(self._keys.catalog_dashboard_key(user_id), model, ttl.CATALOG)

    @overload
    def get_dashboard(self: CatalogCache[SyncStore], user_id: str, model: type[T]) -> T | None: ...
    @overload
    def get_dashboard(
        self: CatalogCache[AsyncStore], user_id: str, model: type[T]
    ) -> Coroutine[Any, Any, T | None]: ...
    def get_dashboard(self, user_id: str, model: Any) -> Any:
        """Return a user's dashboard, or None."""
        return self._get(model, self._keys.catalog_dashboard_key, user_id)

    @operation
    def set_dashboard(self, user_id: str, value: Any, **choices: Unpack[SetChoices]) -> Flow[bool]:
        """Store a user's dashboard for 5 minutes; see `SetChoices`."""
        return self._set(self._keys.catalog_dashboard_key(user_id), ttl.CATALOG, value, choices)

    # ── one page of the discover sections ─────────────────────────────────────────────────────────

    def discover(self, genre: str, kind: str, page: int, model: type[T]) -> CatalogEntry[T, S]:
        """One page of the discover sections, counted from 1; genre and kind may be empty; 5 minutes."""
        return self._entry(self._keys.catalog_discover_key(genre, kind, page), model, ttl.CATALOG)

    @overload
    def get_discover(
        self: CatalogCache[SyncStore], genre: str, kind: str, page: int, model: type[T]
    ) -> T | None: ...
    @overload
    def get_discover(
        self: CatalogCache[AsyncStore], genre: str, kind: str, page: int, model: type[T]
    ) -> Coroutine[Any, Any, T | None]: ...
    def get_discover(self, genre: str, kind: str, page: int, model: Any) -> Any:
        """Return one page of the discover sections, or None."""
        return self._get(model, self._keys.catalog_discover_key, genre, kind, page)

    @operation
    def set_discover(
        self, genre: str, kind: str, page: int, value: Any, **choices: Unpack[SetChoices]
    ) -> Flow[bool]:
        """Store one page of the discover sections for 5 minutes; see `SetChoices`."""
        return self._set(
            self._keys.catalog_discover_key(genre, kind, page), ttl.CATALOG, value, choices
        )

    # ── the results of a search ───────────────────────────────────────────────────────────────────

    def search(self, query: str, genre: str, kind: str, model: type[T]) -> CatalogEntry[T, S]:
        """The results of a search; the query is normalised (`normalize_query`); 10 minutes."""
        return self._entry(self._search_key(query, genre, kind), model, ttl.SEARCH)

    @overload
    def get_search(
        self: CatalogCache[SyncStore], query: str, genre: str, kind: str, model: type[T]
    ) -> T | None: ...
    @overload
    def get_search(
        self: CatalogCache[AsyncStore], query: str, genre: str, kind: str, model: type[T]
    ) -> Coroutine[Any, Any, T | None]: ...
    def get_search(self, query: str, genre: str, kind: str, model: Any) -> Any:
        """Return the results of a search, or None."""
        return self._get(model, self._search_key, query, genre, kind)

    @operation
    def set_search(
        self, query: str, genre: str, kind: str, value: Any, **choices: Unpack[SetChoices]
    ) -> Flow[bool]:
        """Store the results of a search for 10 minutes; see `SetChoices`."""
        return self._set(self._search_key(query, genre, kind), ttl.SEARCH, value, choices)

    # ── a user's watch-later list ─────────────────────────────────────────────────────────────────

    def watch_later(self, user_id: str, model: type[T]) -> CatalogEntry[T, S]:
        """A user's watch-later list; 5 minutes."""
        return self._entry(self._keys.catalog_watch_later_key(user_id), model, ttl.CATALOG)

    @overload
    def get_watch_later(
        self: CatalogCache[SyncStore], user_id: str, model: type[T]
    ) -> T | None: ...
    @overload
    def get_watch_later(
        self: CatalogCache[AsyncStore], user_id: str, model: type[T]
    ) -> Coroutine[Any, Any, T | None]: ...
    def get_watch_later(self, user_id: str, model: Any) -> Any:
        """Return a user's watch-later list, or None."""
        return self._get(model, self._keys.catalog_watch_later_key, user_id)

    @operation
    def set_watch_later(
        self, user_id: str, value: Any, **choices: Unpack[SetChoices]
    ) -> Flow[bool]:
        """Store a user's watch-later list for 5 minutes; see `SetChoices`."""
        return self._set(self._keys.catalog_watch_later_key(user_id), ttl.CATALOG, value, choices)

    # ── a user's continue-watching list ───────────────────────────────────────────────────────────

    def continue_watching(self, user_id: str, model: type[T]) -> CatalogEntry[T, S]:
        """A user's continue-watching list; 5 minutes."""
        return self._entry(self._keys.catalog_continue_watching_key(user_id), model, ttl.CATALOG)

    @overload
    def get_continue_watching(
        self: CatalogCache[SyncStore], user_id: str, model: type[T]
    ) -> T | None: ...
    @overload
    def get_continue_watching(
        self: CatalogCache[AsyncStore], user_id: str, model: type[T]
    ) -> Coroutine[Any, Any, T | None]: ...
    def get_continue_watching(self, user_id: str, model: Any) -> Any:
        """Return a user's continue-watching list, or None."""
        return self._get(model, self._keys.catalog_continue_watching_key, user_id)

    @operation
    def set_continue_watching(
        self, user_id: str, value: Any, **choices: Unpack[SetChoices]
    ) -> Flow[bool]:
        """Store a user's continue-watching list for 5 minutes; see `SetChoices`."""
        return self._set(
            self._keys.catalog_continue_watching_key(user_id), ttl.CATALOG, value, choices
        )

    # ── a user's recommendations ──────────────────────────────────────────────────────────────────

    def recommendations(self, user_id: str, model: type[T]) -> CatalogEntry[T, S]:
        """A user's recommendations; 1 hour."""
        return self._entry(self._keys.recommendation_key(user_id), model, ttl.RECOMMENDATION)

    @overload
    def get_recommendations(
        self: CatalogCache[SyncStore], user_id: str, model: type[T]
    ) -> T | None: ...
    @overload
    def get_recommendations(
        self: CatalogCache[AsyncStore], user_id: str, model: type[T]
    ) -> Coroutine[Any, Any, T | None]: ...
    def get_recommendations(self, user_id: str, model: Any) -> Any:
        """Return a user's recommendations, or None."""
        return self._get(model, self._keys.recommendation_key, user_id)

    @operation
    def set_recommendations(
        self, user_id: str, value: Any, **choices: Unpack[SetChoices]
    ) -> Flow[bool]:
        """Store a user's recommendations for 1 hour; see `SetChoices`."""
        return self._set(self._keys.recommendation_key(user_id), ttl.RECOMMENDATION, value, choices)

    # ── invalidation ──────────────────────────────────────────────────────────────────────────────

    @operation
    def invalidate_user_catalog(self, user_id: str) -> Flow[int]:
        """Delete a user's dashboard, lists and recommendations; return how many existed."""
        if possible_key(self._keys.user_key, user_id) is None:
            return 0
        return (
            yield from self._values.delete(
                self._keys.catalog_dashboard_key(user_id),
                self._keys.catalog_watch_later_key(user_id),
                self._keys.catalog_continue_watching_key(user_id),
                self._keys.recommendation_key(user_id),
            )
        )

    @operation
    def invalidate_title(self, title_id: str) -> Flow[int]:
        """Delete every entry in which a title appears; return how many existed.

        An entry with this title that is being loaded is not stored: its loader may have read old data.
        """
        index = possible_key(self._keys.catalog_title_key, title_id)
        if index is None:
            return 0
        mark = scripts.call("index_mark", index, milliseconds(INVALIDATION_MARK_TTL))
        # Read after the mark is set: from then on the index refuses entries that were loaded before.
        members = ("ZRANGE", index, 1, -1)  # all but the mark itself
        _, listed = yield from scripts.run_pipeline(["index_mark"], [mark, members])
        return (yield from self._values.delete(*listed))

    # ── helpers ──────────────────────────────────────────────────────────────────────────────────

    def _search_key(self, query: str, genre: str, kind: str) -> str:
        return self._keys.catalog_search_key(normalize_query(query), genre, kind)

    def _entry(self, key: str, model: type[T], ttl: float) -> CatalogEntry[T, S]:
        codec.check_model(model)
        return CatalogEntry(self.store, self._values, self._loader, key, model, ttl)

    def _get(self, model: Any, build: Callable[..., str], *identifiers: Any) -> Any:
        return self.store.run(self._values.get_possible(possible_key(build, *identifiers), model))

    def _set(self, key: str, ttl: float, value: Any, choices: SetChoices) -> Flow[bool]:
        options: dict[str, Any] = dict(choices)
        # Without a model the value is stored as its own class.
        entry: CatalogEntry[Any, S] = self._entry(key, options.pop("model", None), ttl)
        return CatalogEntry.set.flow(entry, value, **options)


def normalize_query(query: str) -> str:
    """Return a search query without differences in case, character width and spacing."""
    if not isinstance(query, str):
        raise InvalidInputError("query", query, "It must be a string.")
    folded = unicodedata.normalize("NFKC", query).casefold()
    # Normalised again: case folding may decompose a letter.
    return " ".join(unicodedata.normalize("NFKC", folded).split())
