"""Catalog cache: each `Set` and `Get` of the document."""

from __future__ import annotations

from typing import assert_type

import pytest
from pydantic import BaseModel

from cache import AsyncStore, CacheManager, CatalogCache


class Page(BaseModel):
    titles: list[str]


PAGE = Page(titles=["Neon", "Arc"])


@pytest.fixture
def catalog(manager: CacheManager) -> CatalogCache:
    """`catalogCache := manager.Catalog()`"""
    return manager.catalog


def ttl_of(manager: CacheManager, key: str) -> float:
    """Return the TTL of the only key there is."""
    assert list(manager.client.scan_iter()) == [key.encode()]
    return manager.client.pttl(key) / 1000


def test_catalog_dashboard(catalog: CatalogCache, manager: CacheManager) -> None:
    """`SetDashboard(ctx, userID, dashboardData)`, `GetDashboard(ctx, userID, &dashboardData)`"""
    assert catalog.get_dashboard("ada", Page) is None
    assert catalog.set_dashboard("ada", PAGE) is True
    assert catalog.get_dashboard("ada", Page) == PAGE
    assert catalog.get_dashboard("bob", Page) is None
    assert 290 < ttl_of(manager, "seen:catalog:dashboard:ada") <= 300


def test_catalog_discover(catalog: CatalogCache, manager: CacheManager) -> None:
    """`SetDiscover(ctx, "sci-fi", "movie", 1, sections)`, `GetDiscover(…, 1, &sections)`"""
    assert catalog.set_discover("sci-fi", "movie", 1, PAGE) is True
    assert catalog.get_discover("sci-fi", "movie", 1, Page) == PAGE
    assert catalog.get_discover("sci-fi", "movie", 2, Page) is None
    assert 290 < ttl_of(manager, "seen:catalog:discover:sci-fi:movie:1") <= 300


def test_catalog_search(catalog: CatalogCache, manager: CacheManager) -> None:
    """`SetSearch(ctx, "neon", "", "all", results)`, `GetSearch(ctx, "neon", "", "all", &results)`"""
    assert catalog.set_search("neon", "", "all", PAGE) is True
    assert catalog.get_search("neon", "", "all", Page) == PAGE
    assert catalog.get_search("arc", "", "all", Page) is None
    assert 590 < ttl_of(manager, "seen:catalog:search:neon::all") <= 600


def test_catalog_watch_later(catalog: CatalogCache, manager: CacheManager) -> None:
    """`SetWatchLater(ctx, userID, items)`, `GetWatchLater(ctx, userID, &items)`"""
    assert catalog.set_watch_later("ada", ["Neon"]) is True
    assert catalog.get_watch_later("ada", list[str]) == ["Neon"]
    assert 290 < ttl_of(manager, "seen:catalog:watchlater:ada") <= 300


def test_catalog_continue_watching(catalog: CatalogCache, manager: CacheManager) -> None:
    """`SetContinueWatching(ctx, userID, items)`, `GetContinueWatching(ctx, userID, &items)`"""
    assert catalog.set_continue_watching("ada", [PAGE]) is True
    assert catalog.get_continue_watching("ada", list[Page]) == [PAGE]
    assert 290 < ttl_of(manager, "seen:catalog:continue:ada") <= 300


def test_catalog_recommendations(catalog: CatalogCache, manager: CacheManager) -> None:
    """`TTLRecommendation = 1 * time.Hour`"""
    assert catalog.set_recommendations("ada", PAGE) is True
    assert catalog.get_recommendations("ada", Page) == PAGE
    assert 3590 < ttl_of(manager, "seen:recommendation:ada") <= 3600


def test_catalog_invalidate_user_catalog(catalog: CatalogCache) -> None:
    """`catalogCache.InvalidateUserCatalog(ctx, userID)`"""
    for user_id in ("ada", "bob"):
        catalog.set_dashboard(user_id, PAGE)
        catalog.set_watch_later(user_id, [])
        catalog.set_continue_watching(user_id, [])
        catalog.set_recommendations(user_id, PAGE)
    assert catalog.invalidate_user_catalog("ada") == 4
    assert catalog.get_dashboard("ada", Page) is None
    assert catalog.get_dashboard("bob", Page) == PAGE


# ── both forms are one ──────────────────────────────────────────────────────────────────────────


def test_the_forms_of_an_entry_share_its_key(catalog: CatalogCache) -> None:
    catalog.set_dashboard("ada", PAGE, titles=["t-1"])
    entry = catalog.dashboard("ada", Page)
    assert entry.get_or_load(lambda: Page(titles=[])) == PAGE
    entry.set(Page(titles=[]))
    assert catalog.get_dashboard("ada", Page) == Page(titles=[])
    catalog.set_dashboard("ada", [PAGE], model=list[Page], titles=["t-1"], jitter=0.1)
    assert catalog.invalidate_title("t-1") == 1
    assert entry.get() is None


def test_types_reach_the_callers_editor(catalog: CatalogCache, manager: CacheManager) -> None:
    assert_type(catalog.get_dashboard("ada", Page), Page | None)
    assert_type(catalog.get_discover("", "", 1, list[Page]), list[Page] | None)
    assert_type(catalog.get_search("neon", "", "all", Page), Page | None)
    assert_type(catalog.get_watch_later("ada", list[str]), list[str] | None)
    assert_type(catalog.get_continue_watching("ada", Page), Page | None)
    assert_type(catalog.get_recommendations("ada", Page), Page | None)
    assert_type(catalog.set_dashboard("ada", PAGE), bool)
    assert_type(manager.service.get("seen:x", Page), Page | None)


async def types_on_asyncio(manager: CacheManager[AsyncStore]) -> None:
    """Only for the type checker."""
    catalog = manager.catalog
    assert_type(await catalog.get_dashboard("ada", Page), Page | None)
    assert_type(await catalog.get_discover("", "", 1, Page), Page | None)
    assert_type(await catalog.get_search("neon", "", "all", Page), Page | None)
    assert_type(await catalog.get_watch_later("ada", Page), Page | None)
    assert_type(await catalog.get_continue_watching("ada", Page), Page | None)
    assert_type(await catalog.get_recommendations("ada", Page), Page | None)
    assert_type(await catalog.set_search("neon", "", "all", PAGE), bool)
