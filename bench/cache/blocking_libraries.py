"""The blocking side: our cache and others, each used as its manual recommends."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from redis import Redis
from redis.cache import CacheConfig
from redis.exceptions import ConnectionError

from bench.cache.payloads import Page
from bench.cache.runner import OURS, Contender, Environment, Library, SkippedError
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
from tests.support.build import cache_settings
from tests.support.stores.server import HOST


def ours(environment: Environment) -> Iterator[Contender]:
    """The cache of this repository."""
    manager = environment.closing.enter_context(
        CacheManager.connect(cache_settings(environment.store))
    )
    service, catalog = manager.service, manager.catalog
    yield from value_contenders(
        environment,
        OURS,
        key=manager.keys.catalog_dashboard_key,
        get=lambda key: service.get(key, Page),
        put=lambda key, page: service.set(key, page, TTL),
        get_many=lambda keys: service.mget(keys, Page),
    )

    page = environment.payloads[MIDDLE]

    def load() -> Page | None:
        return catalog.dashboard("loaded", Page).get_or_load(lambda: page)

    yield Contender(scenario=LOAD, name=OURS, call=load, expected=page)

    yield from _our_limits(manager)
    yield Contender(
        scenario=INVALIDATE_GROUP,
        name=OURS,
        call=partial(catalog.invalidate_title, "tt1"),
        prepare=lambda: fill_group(manager, environment.payloads[SMALL]),
        max_seconds=GROUP_SECONDS,
    )


def _our_limits(manager: CacheManager) -> Iterator[Contender]:
    session = manager.session
    user = users(OURS)

    def check() -> Any:
        return session.rate_limit_check(user(), "search", LIMIT, WINDOW)

    def lock() -> None:
        grant = session.acquire_lock("bench")
        session.release_lock("bench", grant.lock_id)

    def hold() -> None:
        with session.lock("bench"):
            pass

    yield Contender(scenario=RATE, name=OURS, call=check)
    yield Contender(scenario=LOCK, name=OURS, call=lock)
    yield Contender(scenario=RENEWED_LOCK, name=OURS, call=hold)


def fill_group(manager: CacheManager, page: Page) -> None:
    """Store the entries in which one title appears."""
    for number in range(GROUP):
        manager.catalog.watch_later(f"user-{number}", Page).set(page, titles=["tt1"])


def ours_client_side(environment: Environment) -> Iterator[Contender]:
    """The cache of this repository, with its client-side cache."""
    settings = cache_settings(environment.store, cache_client_side_entries=1000)
    manager = environment.closing.enter_context(CacheManager.connect(settings))
    page, key = environment.payloads[MIDDLE], manager.keys.catalog_dashboard_key("near")
    manager.service.set(key, page, TTL)
    yield Contender(
        scenario=CLIENT_SIDE, name=OURS, call=lambda: manager.service.get(key, Page), expected=page
    )


def redis_py(environment: Environment) -> Iterator[Contender]:
    """The client by itself, and what it takes to use it with models."""
    client = _client(environment)
    yield from value_contenders(
        environment,
        "redis-py and pydantic",
        get=lambda key: read(client.get(key)),
        put=lambda key, page: client.set(key, page.model_dump_json(), ex=TTL),
        get_many=lambda keys: [read(raw) for raw in client.mget(keys)],
        min_hit_ratio=TYPED_HIT_RATIO,
        min_ratio=None,
    )

    client.set("bench:near", environment.payloads[MIDDLE].model_dump_json(), ex=TTL)
    get = partial(client.get, "bench:near")
    yield Contender(
        scenario=CLIENT_SIDE,
        name="a round trip (redis-py's GET)",
        call=get,
        min_ratio=CLIENT_SIDE_RATIO,
    )

    def lock() -> None:
        with client.lock("bench:lock", timeout=30):
            pass

    yield Contender(scenario=LOCK, name="redis-py's Lock", call=lock)

    names = [f"bench:group:{number}" for number in range(GROUP)]
    pages = dict.fromkeys(names, environment.payloads[SMALL].model_dump_json())
    yield Contender(
        scenario=INVALIDATE_GROUP,
        name="redis-py's UNLINK of known keys",
        call=partial(client.unlink, *names),
        prepare=partial(client.mset, pages),
        min_ratio=None,
    )


def redis_py_client_side(environment: Environment) -> Iterator[Contender]:
    """The client's own client-side cache."""
    client = _client(environment, protocol=3, cache_config=CacheConfig())
    page = environment.payloads[MIDDLE]
    try:
        client.set("bench:near-too", page.model_dump_json(), ex=TTL)
    except ConnectionError as error:
        raise SkippedError(str(error)) from error
    yield Contender(
        scenario=CLIENT_SIDE,
        name="redis-py's client-side cache",
        call=lambda: read(client.get("bench:near-too")),
        expected=page,
    )


def django(environment: Environment) -> Iterator[Contender]:
    """Django's own Redis cache: pickle."""
    cache = _django_cache("django.core.cache.backends.redis.RedisCache", "django", environment)
    yield from _django_contenders(environment, "Django", cache)


def django_redis(environment: Environment) -> Iterator[Contender]:
    """django-redis: pickle, and deletion by pattern."""
    cache = _django_cache("django_redis.cache.RedisCache", "django-redis", environment)
    yield from _django_contenders(environment, "django-redis", cache)
    names = [f"pattern:{number}" for number in range(GROUP)]
    yield Contender(
        scenario=INVALIDATE_GROUP,
        name="django-redis, delete_pattern",
        call=lambda: cache.delete_pattern("pattern:*", itersize=1000),
        prepare=lambda: cache.set_many(dict.fromkeys(names, environment.payloads[SMALL])),
    )


def _django_cache(backend: str, prefix: str, environment: Environment) -> Any:
    from django.conf import settings
    from django.utils.module_loading import import_string

    if not settings.configured:
        settings.configure()
    cache = import_string(backend)(environment.store.url(), {"TIMEOUT": TTL, "KEY_PREFIX": prefix})
    environment.close_later(cache.close)
    return cache


def _django_contenders(environment: Environment, name: str, cache: Any) -> Iterator[Contender]:
    yield from value_contenders(
        environment, name, get=cache.get, put=cache.set, get_many=cache.get_many
    )
    page = environment.payloads[MIDDLE]
    load = partial(cache.get_or_set, "loaded", lambda: page)
    yield Contender(scenario=LOAD, name=f"{name}, get_or_set", call=load, expected=page)
    names = [f"group:{number}" for number in range(GROUP)]
    yield Contender(
        scenario=INVALIDATE_GROUP,
        name=f"{name}, delete_many of known keys",
        call=partial(cache.delete_many, names),
        prepare=lambda: cache.set_many(dict.fromkeys(names, environment.payloads[SMALL])),
    )


def dogpile(environment: Environment) -> Iterator[Contender]:
    """dogpile.cache: pickle."""
    from dogpile.cache import make_region

    arguments = {
        "host": HOST,
        "port": environment.store.port,
        "password": environment.store.password,
        "redis_expiration_time": TTL + 60,
    }
    region = make_region(key_mangler="dogpile:{}".format)
    region.configure("dogpile.cache.redis", expiration_time=TTL, arguments=arguments)
    environment.close_later(region.backend.reader_client.close)
    yield from value_contenders(
        environment, "dogpile.cache", get=region.get, put=region.set, get_many=region.get_multi
    )
    page = environment.payloads[MIDDLE]
    load = partial(region.get_or_create, "loaded", lambda: page)
    yield Contender(scenario=LOAD, name="dogpile.cache, get_or_create", call=load, expected=page)
    names = [f"group:{number}" for number in range(GROUP)]
    yield Contender(
        scenario=INVALIDATE_GROUP,
        name="dogpile.cache, delete_multi of known keys",
        call=partial(region.delete_multi, names),
        prepare=lambda: region.set_multi(dict.fromkeys(names, environment.payloads[SMALL])),
    )


def limits(environment: Environment) -> Iterator[Contender]:
    """limits: rate limits."""
    from limits import RateLimitItemPerSecond
    from limits.storage import storage_from_string
    from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter

    storage: Any = storage_from_string(environment.store.url())
    environment.close_later(storage.storage.close)
    item = RateLimitItemPerSecond(LIMIT, WINDOW)
    moving, fixed = MovingWindowRateLimiter(storage), FixedWindowRateLimiter(storage)
    one, two, three = users("moving"), users("stats"), users("fixed")

    def check_and_get_stats() -> Any:
        user = two()
        return moving.hit(item, user), moving.get_window_stats(item, user)

    yield Contender(
        scenario=RATE, name="limits, moving window", call=lambda: moving.hit(item, one())
    )
    yield Contender(
        scenario=RATE, name="limits, moving window and its state", call=check_and_get_stats
    )
    yield Contender(
        scenario=RATE,
        name="limits, fixed window (not exact)",
        call=lambda: fixed.hit(item, three()),
        min_ratio=None,
    )


def python_redis_lock(environment: Environment) -> Iterator[Contender]:
    """python-redis-lock: locks whose waiters block on a list, and that renew themselves."""
    from redis_lock import Lock

    client = _client(environment)

    def lock() -> None:
        with Lock(client, "bench", expire=30):
            pass

    def hold() -> None:
        with Lock(client, "bench", expire=30, auto_renewal=True):
            pass

    yield Contender(scenario=LOCK, name="python-redis-lock", call=lock)
    yield Contender(scenario=RENEWED_LOCK, name="python-redis-lock, auto_renewal", call=hold)


LIBRARIES: dict[str, Library] = {
    "ours": ours,
    "ours, client-side": ours_client_side,
    "redis-py": redis_py,
    "redis-py, client-side": redis_py_client_side,
    "django": django,
    "django-redis": django_redis,
    "dogpile.cache": dogpile,
    "limits": limits,
    "python-redis-lock": python_redis_lock,
}


def _client(environment: Environment, **options: Any) -> Redis:
    store = environment.store
    client = Redis(host=HOST, port=store.port, password=store.password, **options)
    environment.close_later(client.close)
    return client


def read(raw: Any) -> Page:
    """Return a page from its JSON."""
    return Page.model_validate_json(raw)
