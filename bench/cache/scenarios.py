"""What `python -m bench cache` measures, and the contenders that every library builds the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from typing import Any

from bench.cache.payloads import Page
from bench.cache.runner import Contender, Environment

SIZES = {"500 B": 500, "5 KB": 5_000, "50 KB": 50_000}
SMALL, MIDDLE = "500 B", "5 KB"
#: Keys of one mget, entries of one group, unrelated keys in the same store.
MANY, GROUP, OTHERS = 100, 1_000, 20_000
#: TTL of the values, in seconds.
TTL = 300
#: Calls that the rate limit allows in a window of so many seconds; each user makes exactly so many.
LIMIT, WINDOW = 100, 60

GET = {size: f"get, a hit of {size}" for size in SIZES}
SET = {size: f"set, {size}" for size in SIZES}
MGET = f"mget of {MANY}, {SMALL} each"
LOAD = f"get or load, a hit of {MIDDLE}"
CLIENT_SIDE = f"client-side cache, a hit of {MIDDLE}"
RATE = f"rate limit check, {LIMIT} in {WINDOW} s"
LOCK = "lock, acquired and released"
RENEWED_LOCK = "lock held by a block and renewed"
INVALIDATE_GROUP = f"invalidation of {GROUP:,} entries"
SCENARIOS = [
    *GET.values(),
    *SET.values(),
    MGET,
    LOAD,
    CLIENT_SIDE,
    RATE,
    LOCK,
    RENEWED_LOCK,
    INVALIDATE_GROUP,
]

#: Aims: a typed hit takes at most 1.25 times as long as redis-py's GET with validation,
TYPED_HIT_RATIO = 1 / 1.25
#: a client-side hit is so many times as fast as a round trip,
CLIENT_SIDE_RATIO = 20.0
#: a group is invalidated within so many seconds, and every other library takes longer than ours.
GROUP_SECONDS = 0.002


def value_contenders(
    environment: Environment,
    name: str,
    *,
    get: Callable[[str], Any],
    put: Callable[[str, Page], Any],
    get_many: Callable[[list[str]], Any],
    key: Callable[[str], str] = "bench:{}".format,
    min_hit_ratio: float | None = 1.0,
    min_ratio: float | None = 1.0,
) -> Iterator[Contender]:
    """Yield a library's contenders for get, set and mget, from its three functions."""
    for size, page in environment.payloads.items():
        stored = key(f"{name}-{size}".replace(" ", "-"))  # Django warns about spaces
        environment.wait(put(stored, page))
        yield Contender(
            scenario=GET[size],
            name=name,
            call=partial(get, stored),
            expected=page,
            min_ratio=min_hit_ratio,
        )
        call = partial(put, stored, page)
        yield Contender(scenario=SET[size], name=name, call=call, min_ratio=min_ratio)
    page = environment.payloads[SMALL]
    many = [key(f"{name}-many-{number}") for number in range(MANY)]
    for stored in many:
        environment.wait(put(stored, page))
    call = partial(get_many, many)
    yield Contender(
        scenario=MGET, name=name, call=call, expected=[page] * MANY, min_ratio=min_ratio
    )


def users(name: str) -> Callable[[], str]:
    """Return a function that returns the next user to check; none of them exceeds the limit."""
    numbers = count()
    return lambda: f"{name}-{next(numbers) // LIMIT}"
