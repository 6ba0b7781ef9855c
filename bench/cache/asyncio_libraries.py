"""The asyncio side: our cache and others, each used as its manual recommends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Any

from redis.asyncio import Redis

from bench.cache.blocking_libraries import fill_group, read
from bench.cache.payloads import Page
from bench.cache.runner import OURS, Contender, Environment, Library
from bench.cache.scenarios import (
    CLIENT_SIDE,
    CLIENT_SIDE_RATIO,
    GROUP,
    GROUP_SECONDS,
    INVALIDATE_GROUP,
    LIMIT,
    LOAD,
    LOCK,
    MIDDLE,
    RATE,
    RENEWED_LOCK,
    SMALL,
    TTL,
    TYPED_HIT_RATIO,
    WINDOW,
    users,
    value_contenders,
)
from cache import CacheManager
from cache.store.aio import AsyncStore
from tests.support.build import cache_settings
from tests.support.stores.server import HOST


def ours(environment: Environment) -> Iterator[Contender]:
    """The cache of this repository."""
    settings = cache_settings(environment.store)
    manager = CacheManager.connect_async(settings)
    environment.close_later(manager.aclose)
    filler = environment.closing.enter_context(CacheManager.connect(settings))
    service, catalog = manager.service, manager.catalog
    yield from value_contenders(
        environment,
        OURS,
        key=manager.keys.catalog_continue_watching_key,
        get=lambda key: service.get(key, Page),
        put=lambda key, page: service.set(key, page, TTL),
        get_many=lambda keys: service.mget(keys, Page),
    )

    page = environment.payloads[MIDDLE]

    def load() -> Any:
        return catalog.continue_watching("loaded", Page).get_or_load(lambda: page)

    yield Contender(scenario=LOAD, name=OURS, call=load, expected=page)

    yield from _our_limits(manager)
    yield Contender(
        scenario=INVALIDATE_GROUP,
        name=OURS,
        call=partial(catalog.invalidate_title, "tt1"),
        prepare=lambda: fill_group(filler, environment.payloads[SMALL]),
        max_seconds=GROUP_SECONDS,
    )


def _our_limits(manager: CacheManager[AsyncStore]) -> Iterator[Contender]:
    session = manager.session
    user = users("ours-aio")

    async def lock() -> None:
        grant = await session.acquire_lock("bench-aio")
        await session.release_lock("bench-aio", grant.lock_id)

    async def hold() -> None:
        async with session.lock("bench-aio"):
            pass

    yield Contender(
        scenario=RATE,
        name=OURS,
        call=lambda: session.rate_limit_check(user(), "search", LIMIT, WINDOW),
    )
    yield Contender(scenario=LOCK, name=OURS, call=lock)
    yield Contender(scenario=RENEWED_LOCK, name=OURS, call=hold)


def ours_client_side(environment: Environment) -> Iterator[Contender]:
    """The cache of this repository, with its client-side cache."""
    settings = cache_settings(environment.store, cache_client_side_entries=1000)
    manager = CacheManager.connect_async(settings)
    environment.close_later(manager.aclose)
    page, key = environment.payloads[MIDDLE], manager.keys.catalog_dashboard_key("near-aio")
    environment.wait(manager.service.set(key, page, TTL))
    yield Contender(
        scenario=CLIENT_SIDE, name=OURS, call=lambda: manager.service.get(key, Page), expected=page
    )


def redis_py(environment: Environment) -> Iterator[Contender]:
    """The client by itself, and what it takes to use it with models."""
    store = environment.store
    client = Redis(host=HOST, port=store.port, password=store.password)
    environment.close_later(client.aclose)

    async def get(key: str) -> Page:
        return read(await client.get(key))

    async def get_many(keys: list[str]) -> list[Page]:
        return [read(raw) for raw in await client.mget(keys)]

    yield from value_contenders(
        environment,
        "redis-py and pydantic",
        key="bench-aio:{}".format,
        get=get,
        put=lambda key, page: client.set(key, page.model_dump_json(), ex=TTL),
        get_many=get_many,
        min_hit_ratio=TYPED_HIT_RATIO,
        min_ratio=None,
    )

    yield from _redis_py_commands(client, environment)


def _redis_py_commands(client: Redis, environment: Environment) -> Iterator[Contender]:
    environment.wait(
        client.set("bench:near", environment.payloads[MIDDLE].model_dump_json(), ex=TTL)
    )
    trip = partial(client.get, "bench:near")
    yield Contender(
        scenario=CLIENT_SIDE,
        name="a round trip (redis-py's GET)",
        call=trip,
        min_ratio=CLIENT_SIDE_RATIO,
    )

    async def lock() -> None:
        async with client.lock("bench-aio:lock", timeout=30):
            pass

    yield Contender(scenario=LOCK, name="redis-py's Lock", call=lock)

    names = [f"bench-aio:group:{number}" for number in range(GROUP)]
    pages = dict.fromkeys(names, environment.payloads[SMALL].model_dump_json())
    yield Contender(
        scenario=INVALIDATE_GROUP,
        name="redis-py's UNLINK of known keys",
        call=partial(client.unlink, *names),
        prepare=partial(client.mset, pages),
        min_ratio=None,
    )


def cashews(environment: Environment) -> Iterator[Contender]:
    """cashews: pickle, tags, decorators."""
    from cashews import Cache

    cache: Any = Cache()
    cache.setup(environment.store.url())
    environment.close_later(cache.close)
    yield from value_contenders(
        environment,
        "cashews",
        key="cashews:{}".format,
        get=cache.get,
        put=partial(cache.set, expire=TTL),
        get_many=lambda keys: cache.get_many(*keys),
    )

    page = environment.payloads[MIDDLE]

    async def build(user_id: str) -> Page:  # noqa: ARG001 - is part of the key
        return page

    # Not written as decorators, since these have no types.
    dashboard = cache(ttl=TTL, key="loaded:{user_id}")(build)
    load = partial(dashboard, "user-456")
    yield Contender(scenario=LOAD, name="cashews, @cache", call=load, expected=page)

    yield from _cashews_limits(cache)
    yield _cashews_tags(cache, environment.payloads[SMALL])


def _cashews_limits(cache: Any) -> Iterator[Contender]:
    async def nothing(user_id: str) -> None:
        """Only count against the limit."""

    limited = cache.slice_rate_limit(limit=LIMIT, period=WINDOW, key="rate:{user_id}")
    search, user = limited(nothing), users("cashews")
    yield Contender(scenario=RATE, name="cashews, slice_rate_limit", call=lambda: search(user()))

    async def lock() -> None:
        async with cache.lock("cashews:lock", expire=30):
            pass

    yield Contender(scenario=LOCK, name="cashews, lock", call=lock)


def _cashews_tags(cache: Any, small: Page) -> Contender:
    async def fill() -> None:
        for start in range(0, GROUP, 10):
            names = (f"group:{number}" for number in range(start, start + 10))
            tagged = (cache.set(name, small, expire=TTL, tags=["tt1"]) for name in names)
            await asyncio.gather(*tagged)

    return Contender(
        scenario=INVALIDATE_GROUP,
        name="cashews, delete_tags",
        call=partial(cache.delete_tags, "tt1"),
        prepare=fill,
    )


def cashews_client_side(environment: Environment) -> Iterator[Contender]:
    """cashews with its client-side cache."""
    from cashews import Cache

    cache: Any = Cache()
    cache.setup(environment.store.url(), client_side=True)
    environment.close_later(cache.close)
    environment.wait(cache.set("near", environment.payloads[MIDDLE], expire=TTL))
    get = partial(cache.get, "near")
    yield Contender(
        scenario=CLIENT_SIDE,
        name="cashews, client_side",
        call=get,
        expected=environment.payloads[MIDDLE],
    )


def _aiocache_decorator(environment: Environment, address: dict[str, Any]) -> Contender:
    from aiocache import Cache, cached
    from aiocache.serializers import PickleSerializer

    page = environment.payloads[MIDDLE]

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
    environment.close_later(dashboard.cache.close)
    return Contender(scenario=LOAD, name="aiocache, @cached", call=dashboard, expected=page)


def aiocache(environment: Environment) -> Iterator[Contender]:
    """aiocache with its pickle serializer: the default one knows no models."""
    from aiocache import Cache
    from aiocache.lock import RedLock
    from aiocache.serializers import PickleSerializer

    address: dict[str, Any] = {
        "endpoint": HOST,
        "port": environment.store.port,
        "password": environment.store.password,
    }
    cache: Any = Cache(Cache.REDIS, serializer=PickleSerializer(), namespace="aiocache", **address)
    environment.close_later(cache.close)
    yield from value_contenders(
        environment,
        "aiocache",
        get=cache.get,
        put=partial(cache.set, ttl=TTL),
        get_many=cache.multi_get,
    )

    yield _aiocache_decorator(environment, address)

    async def lock() -> None:
        async with RedLock(cache, "bench", lease=30):
            pass

    yield Contender(scenario=LOCK, name="aiocache, RedLock", call=lock)

    pairs = [(f"{number}", environment.payloads[SMALL]) for number in range(GROUP)]
    group: Any = Cache(Cache.REDIS, serializer=PickleSerializer(), namespace="aiogroup", **address)
    environment.close_later(group.close)
    yield Contender(
        scenario=INVALIDATE_GROUP,
        name="aiocache, clear of a namespace",
        call=partial(group.clear, namespace="aiogroup"),
        prepare=partial(group.multi_set, pairs, ttl=TTL),
    )


LIBRARIES: dict[str, Library] = {
    "ours": ours,
    "ours, client-side": ours_client_side,
    "redis-py": redis_py,
    "cashews": cashews,
    "cashews, client-side": cashews_client_side,
    "aiocache": aiocache,
}
