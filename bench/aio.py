"""Who races on asyncio: our cache, and its peers as their manuals have them used."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Any

from redis.asyncio import Redis

from bench.blocking import fill_group, read
from bench.contest import OURS, Contestant, Course, Entry
from bench.pages import Page
from bench.rows import (
    GROUP,
    GROUP_GONE,
    GROUP_SECONDS,
    HELD,
    LIMIT,
    LOAD,
    LOCK,
    MIDDLE,
    NEAR,
    NEAR_HIT,
    RATE,
    SMALL,
    TTL,
    TYPED_HIT,
    WINDOW,
    users,
    values,
)
from cache import CacheManager
from tests.support.build import cache_settings
from tests.support.stores.server import HOST


def ours(course: Course) -> Iterator[Entry]:
    """The cache of this repository."""
    settings = cache_settings(course.store)
    manager = CacheManager.connect_async(settings)
    course.close_later(manager.aclose)
    filler = course.closing.enter_context(CacheManager.connect(settings))
    service, session, catalog = manager.service, manager.session, manager.catalog
    yield from values(
        course,
        OURS,
        key=manager.keys.catalog_continue_watching_key,
        get=lambda key: service.get(key, Page),
        put=lambda key, page: service.set(key, page, TTL),
        get_many=lambda keys: service.mget(keys, Page),
    )

    page = course.pages[MIDDLE]

    def load() -> Any:
        return catalog.continue_watching("loaded", Page).get_or_load(lambda: page)

    yield Entry(row=LOAD, who=OURS, call=load, returns=page)

    who = users("ours-aio")

    async def lock() -> None:
        grant = await session.acquire_lock("bench-aio")
        await session.release_lock("bench-aio", grant.lock_id)

    async def hold() -> None:
        async with session.lock("bench-aio"):
            pass

    yield Entry(
        row=RATE,
        who=OURS,
        call=lambda: session.rate_limit_check(who(), "search", LIMIT, WINDOW),
    )
    yield Entry(row=LOCK, who=OURS, call=lock)
    yield Entry(row=HELD, who=OURS, call=hold)
    yield Entry(
        row=GROUP_GONE,
        who=OURS,
        call=partial(catalog.invalidate_title, "tt1"),
        before=lambda: fill_group(filler, course.pages[SMALL]),
        at_most=GROUP_SECONDS,
    )


def ours_near(course: Course) -> Iterator[Entry]:
    """The cache of this repository, with its client-side cache."""
    settings = cache_settings(course.store, cache_client_side_entries=1000)
    manager = CacheManager.connect_async(settings)
    course.close_later(manager.aclose)
    page, key = course.pages[MIDDLE], manager.keys.catalog_dashboard_key("near-aio")
    course.settle(manager.service.set(key, page, TTL))
    yield Entry(row=NEAR, who=OURS, call=lambda: manager.service.get(key, Page), returns=page)


def redis_py(course: Course) -> Iterator[Entry]:
    """The client by itself, and what it takes to use it with models."""
    store = course.store
    client = Redis(host=HOST, port=store.port, password=store.password)
    course.close_later(client.aclose)

    async def get(key: str) -> Page:
        return read(await client.get(key))

    async def get_many(keys: list[str]) -> list[Page]:
        return [read(raw) for raw in await client.mget(keys)]

    yield from values(
        course,
        "redis-py and pydantic",
        key="bench-aio:{}".format,
        get=get,
        put=lambda key, page: client.set(key, page.model_dump_json(), ex=TTL),
        get_many=get_many,
        hit_at_least=TYPED_HIT,
        at_least=None,
    )

    course.settle(client.set("bench:near", course.pages[MIDDLE].model_dump_json(), ex=TTL))
    trip = partial(client.get, "bench:near")
    yield Entry(row=NEAR, who="a round trip (redis-py's GET)", call=trip, at_least=NEAR_HIT)

    async def lock() -> None:
        async with client.lock("bench-aio:lock", timeout=30):
            pass

    yield Entry(row=LOCK, who="redis-py's Lock", call=lock)

    names = [f"bench-aio:group:{number}" for number in range(GROUP)]
    pages = dict.fromkeys(names, course.pages[SMALL].model_dump_json())
    yield Entry(
        row=GROUP_GONE,
        who="redis-py's UNLINK of known keys",
        call=partial(client.unlink, *names),
        before=partial(client.mset, pages),
        at_least=None,
    )


def cashews(course: Course) -> Iterator[Entry]:
    """cashews: pickle, tags, decorators."""
    from cashews import Cache

    cache: Any = Cache()
    cache.setup(course.store.url())
    course.close_later(cache.close)
    yield from values(
        course,
        "cashews",
        key="cashews:{}".format,
        get=cache.get,
        put=partial(cache.set, expire=TTL),
        get_many=lambda keys: cache.get_many(*keys),
    )

    page = course.pages[MIDDLE]

    async def build(user_id: str) -> Page:  # noqa: ARG001 - is part of the key
        return page

    # Not written as decorators, since these have no types.
    dashboard = cache(ttl=TTL, key="loaded:{user_id}")(build)
    load = partial(dashboard, "user-456")
    yield Entry(row=LOAD, who="cashews, @cache", call=load, returns=page)

    async def nothing(user_id: str) -> None:
        """Be limited."""

    limited = cache.slice_rate_limit(limit=LIMIT, period=WINDOW, key="rate:{user_id}")
    search, who = limited(nothing), users("cashews")
    yield Entry(row=RATE, who="cashews, slice_rate_limit", call=lambda: search(who()))

    async def lock() -> None:
        async with cache.lock("cashews:lock", expire=30):
            pass

    yield Entry(row=LOCK, who="cashews, lock", call=lock)

    async def fill() -> None:
        for start in range(0, GROUP, 10):
            names = (f"group:{number}" for number in range(start, start + 10))
            small = course.pages[SMALL]
            tagged = (cache.set(name, small, expire=TTL, tags=["tt1"]) for name in names)
            await asyncio.gather(*tagged)

    yield Entry(
        row=GROUP_GONE,
        who="cashews, delete_tags",
        call=partial(cache.delete_tags, "tt1"),
        before=fill,
    )


def cashews_near(course: Course) -> Iterator[Entry]:
    """cashews with its client-side cache."""
    from cashews import Cache

    cache: Any = Cache()
    cache.setup(course.store.url(), client_side=True)
    course.close_later(cache.close)
    course.settle(cache.set("near", course.pages[MIDDLE], expire=TTL))
    get = partial(cache.get, "near")
    yield Entry(row=NEAR, who="cashews, client_side", call=get, returns=course.pages[MIDDLE])


def aiocache(course: Course) -> Iterator[Entry]:
    """aiocache with its pickle serializer: the default one knows no models."""
    from aiocache import Cache, cached
    from aiocache.lock import RedLock
    from aiocache.serializers import PickleSerializer

    address: dict[str, Any] = {
        "endpoint": HOST,
        "port": course.store.port,
        "password": course.store.password,
    }
    cache: Any = Cache(Cache.REDIS, serializer=PickleSerializer(), namespace="aiocache", **address)
    course.close_later(cache.close)
    yield from values(
        course,
        "aiocache",
        get=cache.get,
        put=partial(cache.set, ttl=TTL),
        get_many=cache.multi_get,
    )

    page = course.pages[MIDDLE]

    async def build() -> Page:
        return page

    own: Any = cached(
        ttl=TTL,
        key="loaded",
        namespace="aiocache",
        cache=Cache.REDIS,
        serializer=PickleSerializer(),
        **address,
    )
    dashboard = own(build)
    course.close_later(dashboard.cache.close)
    yield Entry(row=LOAD, who="aiocache, @cached", call=dashboard, returns=page)

    async def lock() -> None:
        async with RedLock(cache, "bench", lease=30):
            pass

    yield Entry(row=LOCK, who="aiocache, RedLock", call=lock)

    pairs = [(f"{number}", course.pages[SMALL]) for number in range(GROUP)]
    group: Any = Cache(Cache.REDIS, serializer=PickleSerializer(), namespace="aiogroup", **address)
    course.close_later(group.close)
    yield Entry(
        row=GROUP_GONE,
        who="aiocache, clear of a namespace",
        call=partial(group.clear, namespace="aiogroup"),
        before=partial(group.multi_set, pairs, ttl=TTL),
    )


CONTESTANTS: dict[str, Contestant] = {
    "ours": ours,
    "ours, near": ours_near,
    "redis-py": redis_py,
    "cashews": cashews,
    "cashews, near": cashews_near,
    "aiocache": aiocache,
}
