"""Who races on the blocking side: our cache, and its peers as their manuals have them used."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from redis import Redis
from redis.cache import CacheConfig
from redis.exceptions import ConnectionError

from bench.contest import OURS, Contestant, Course, Entry, LeftOutError
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
    manager = course.closing.enter_context(CacheManager.connect(cache_settings(course.store)))
    service, session, catalog = manager.service, manager.session, manager.catalog
    yield from values(
        course,
        OURS,
        key=manager.keys.catalog_dashboard_key,
        get=lambda key: service.get(key, Page),
        put=lambda key, page: service.set(key, page, TTL),
        get_many=lambda keys: service.mget(keys, Page),
    )

    page = course.pages[MIDDLE]

    def load() -> Page | None:
        return catalog.dashboard("loaded", Page).get_or_load(lambda: page)

    yield Entry(row=LOAD, who=OURS, call=load, returns=page)

    who = users(OURS)

    def check() -> Any:
        return session.rate_limit_check(who(), "search", LIMIT, WINDOW)

    def lock() -> None:
        grant = session.acquire_lock("bench")
        session.release_lock("bench", grant.lock_id)

    def hold() -> None:
        with session.lock("bench"):
            pass

    yield Entry(row=RATE, who=OURS, call=check)
    yield Entry(row=LOCK, who=OURS, call=lock)
    yield Entry(row=HELD, who=OURS, call=hold)
    yield Entry(
        row=GROUP_GONE,
        who=OURS,
        call=partial(catalog.invalidate_title, "tt1"),
        before=lambda: fill_group(manager, course.pages[SMALL]),
        at_most=GROUP_SECONDS,
    )


def fill_group(manager: CacheManager, page: Page) -> None:
    """Store the entries in which one title appears."""
    for number in range(GROUP):
        manager.catalog.watch_later(f"user-{number}", Page).set(page, titles=["tt1"])


def ours_near(course: Course) -> Iterator[Entry]:
    """The cache of this repository, with its client-side cache."""
    settings = cache_settings(course.store, cache_client_side_entries=1000)
    manager = course.closing.enter_context(CacheManager.connect(settings))
    page, key = course.pages[MIDDLE], manager.keys.catalog_dashboard_key("near")
    manager.service.set(key, page, TTL)
    yield Entry(row=NEAR, who=OURS, call=lambda: manager.service.get(key, Page), returns=page)


def redis_py(course: Course) -> Iterator[Entry]:
    """The client by itself, and what it takes to use it with models."""
    client = _client(course)
    yield from values(
        course,
        "redis-py and pydantic",
        get=lambda key: read(client.get(key)),
        put=lambda key, page: client.set(key, page.model_dump_json(), ex=TTL),
        get_many=lambda keys: [read(raw) for raw in client.mget(keys)],
        hit_at_least=TYPED_HIT,
        at_least=None,
    )

    client.set("bench:near", course.pages[MIDDLE].model_dump_json(), ex=TTL)
    get = partial(client.get, "bench:near")
    yield Entry(row=NEAR, who="a round trip (redis-py's GET)", call=get, at_least=NEAR_HIT)

    def lock() -> None:
        with client.lock("bench:lock", timeout=30):
            pass

    yield Entry(row=LOCK, who="redis-py's Lock", call=lock)

    names = [f"bench:group:{number}" for number in range(GROUP)]
    pages = dict.fromkeys(names, course.pages[SMALL].model_dump_json())
    yield Entry(
        row=GROUP_GONE,
        who="redis-py's UNLINK of known keys",
        call=partial(client.unlink, *names),
        before=partial(client.mset, pages),
        at_least=None,
    )


def redis_py_near(course: Course) -> Iterator[Entry]:
    """The client's own client-side cache."""
    client = _client(course, protocol=3, cache_config=CacheConfig())
    page = course.pages[MIDDLE]
    try:
        client.set("bench:near-too", page.model_dump_json(), ex=TTL)
    except ConnectionError as error:
        raise LeftOutError(str(error)) from error
    yield Entry(
        row=NEAR,
        who="redis-py's client-side cache",
        call=lambda: read(client.get("bench:near-too")),
        returns=page,
    )


def django(course: Course) -> Iterator[Entry]:
    """Django's own Redis cache: pickle."""
    cache = _django_cache("django.core.cache.backends.redis.RedisCache", "django", course)
    yield from _django_rows(course, "Django", cache)


def django_redis(course: Course) -> Iterator[Entry]:
    """django-redis: pickle, and deletion by pattern."""
    cache = _django_cache("django_redis.cache.RedisCache", "django-redis", course)
    yield from _django_rows(course, "django-redis", cache)
    names = [f"pattern:{number}" for number in range(GROUP)]
    yield Entry(
        row=GROUP_GONE,
        who="django-redis, delete_pattern",
        call=lambda: cache.delete_pattern("pattern:*", itersize=1000),
        before=lambda: cache.set_many(dict.fromkeys(names, course.pages[SMALL])),
    )


def _django_cache(backend: str, prefix: str, course: Course) -> Any:
    from django.conf import settings
    from django.utils.module_loading import import_string

    if not settings.configured:
        settings.configure()
    cache = import_string(backend)(course.store.url(), {"TIMEOUT": TTL, "KEY_PREFIX": prefix})
    course.close_later(cache.close)
    return cache


def _django_rows(course: Course, who: str, cache: Any) -> Iterator[Entry]:
    yield from values(course, who, get=cache.get, put=cache.set, get_many=cache.get_many)
    page = course.pages[MIDDLE]
    load = partial(cache.get_or_set, "loaded", lambda: page)
    yield Entry(row=LOAD, who=f"{who}, get_or_set", call=load, returns=page)
    names = [f"group:{number}" for number in range(GROUP)]
    yield Entry(
        row=GROUP_GONE,
        who=f"{who}, delete_many of known keys",
        call=partial(cache.delete_many, names),
        before=lambda: cache.set_many(dict.fromkeys(names, course.pages[SMALL])),
    )


def dogpile(course: Course) -> Iterator[Entry]:
    """dogpile.cache: pickle."""
    from dogpile.cache import make_region

    arguments = {
        "host": HOST,
        "port": course.store.port,
        "password": course.store.password,
        "redis_expiration_time": TTL + 60,
    }
    region = make_region(key_mangler="dogpile:{}".format)
    region.configure("dogpile.cache.redis", expiration_time=TTL, arguments=arguments)
    course.close_later(region.backend.reader_client.close)
    yield from values(
        course, "dogpile.cache", get=region.get, put=region.set, get_many=region.get_multi
    )
    page = course.pages[MIDDLE]
    load = partial(region.get_or_create, "loaded", lambda: page)
    yield Entry(row=LOAD, who="dogpile.cache, get_or_create", call=load, returns=page)
    names = [f"group:{number}" for number in range(GROUP)]
    yield Entry(
        row=GROUP_GONE,
        who="dogpile.cache, delete_multi of known keys",
        call=partial(region.delete_multi, names),
        before=lambda: region.set_multi(dict.fromkeys(names, course.pages[SMALL])),
    )


def limits(course: Course) -> Iterator[Entry]:
    """limits: rate limits."""
    from limits import RateLimitItemPerSecond
    from limits.storage import storage_from_string
    from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter

    storage: Any = storage_from_string(course.store.url())
    course.close_later(storage.storage.close)
    item = RateLimitItemPerSecond(LIMIT, WINDOW)
    moving, fixed = MovingWindowRateLimiter(storage), FixedWindowRateLimiter(storage)
    one, two, three = users("moving"), users("stats"), users("fixed")

    def check_and_tell() -> Any:
        user = two()
        return moving.hit(item, user), moving.get_window_stats(item, user)

    yield Entry(row=RATE, who="limits, moving window", call=lambda: moving.hit(item, one()))
    yield Entry(row=RATE, who="limits, moving window and its state", call=check_and_tell)
    yield Entry(
        row=RATE,
        who="limits, fixed window (not exact)",
        call=lambda: fixed.hit(item, three()),
        at_least=None,
    )


def python_redis_lock(course: Course) -> Iterator[Entry]:
    """python-redis-lock: locks that wake their waiters, and that renew themselves."""
    from redis_lock import Lock

    client = _client(course)

    def lock() -> None:
        with Lock(client, "bench", expire=30):
            pass

    def hold() -> None:
        with Lock(client, "bench", expire=30, auto_renewal=True):
            pass

    yield Entry(row=LOCK, who="python-redis-lock", call=lock)
    yield Entry(row=HELD, who="python-redis-lock, auto_renewal", call=hold)


CONTESTANTS: dict[str, Contestant] = {
    "ours": ours,
    "ours, near": ours_near,
    "redis-py": redis_py,
    "redis-py, near": redis_py_near,
    "django": django,
    "django-redis": django_redis,
    "dogpile.cache": dogpile,
    "limits": limits,
    "python-redis-lock": python_redis_lock,
}


def _client(course: Course, **options: Any) -> Redis:
    store = course.store
    client = Redis(host=HOST, port=store.port, password=store.password, **options)
    course.close_later(client.close)
    return client


def read(raw: Any) -> Page:
    """Return a page from its JSON."""
    return Page.model_validate_json(raw)
