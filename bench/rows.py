"""What `python -m bench cache` measures, and the entries that all contestants make alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from typing import Any

from bench.contest import Course, Entry
from bench.pages import Page

SIZES = {"500 B": 500, "5 KB": 5_000, "50 KB": 50_000}
SMALL, MIDDLE = "500 B", "5 KB"
#: Keys of one mget, entries of one group, keys of others in the same store.
MANY, GROUP, OTHERS = 100, 1_000, 20_000
#: Seconds that values live.
TTL = 300
#: Checks of a user in a window of so many seconds; each user of the benchmark does as many.
LIMIT, WINDOW = 100, 60

GET = {size: f"get, a hit of {size}" for size in SIZES}
SET = {size: f"set, {size}" for size in SIZES}
MGET = f"mget of {MANY}, {SMALL} each"
LOAD = f"get or load, a hit of {MIDDLE}"
NEAR = f"client-side cache, a hit of {MIDDLE}"
RATE = f"rate limit check, {LIMIT} in {WINDOW} s"
LOCK = "lock, acquired and released"
HELD = "lock held by a block and renewed"
GROUP_GONE = f"invalidation of {GROUP:,} entries"
ROWS = [*GET.values(), *SET.values(), MGET, LOAD, NEAR, RATE, LOCK, HELD, GROUP_GONE]

#: Aims. A typed hit takes at most 1.25 times as long as redis-py's GET with validation …
TYPED_HIT = 1 / 1.25
#: … a near hit is this many times as fast as a round trip …
NEAR_HIT = 20.0
#: … a group is invalidated within so many seconds; and every peer takes longer than ours.
GROUP_SECONDS = 0.002


def values(
    course: Course,
    who: str,
    *,
    get: Callable[[str], Any],
    put: Callable[[str, Page], Any],
    get_many: Callable[[list[str]], Any],
    key: Callable[[str], str] = "bench:{}".format,
    hit_at_least: float | None = 1.0,
    at_least: float | None = 1.0,
) -> Iterator[Entry]:
    """Return the rows of single and several values, from three functions of a contestant."""
    for size, page in course.pages.items():
        name = key(f"{who}-{size}".replace(" ", "-"))  # Django warns of spaces
        course.settle(put(name, page))
        call = partial(get, name)
        yield Entry(row=GET[size], who=who, call=call, returns=page, at_least=hit_at_least)
        yield Entry(row=SET[size], who=who, call=partial(put, name, page), at_least=at_least)
    page = course.pages[SMALL]
    names = [key(f"{who}-many-{number}") for number in range(MANY)]
    for name in names:
        course.settle(put(name, page))
    call = partial(get_many, names)
    yield Entry(row=MGET, who=who, call=call, returns=[page] * MANY, at_least=at_least)


def users(who: str) -> Callable[[], str]:
    """Return a function that names who is checked next, so that nobody is refused."""
    numbers = count()
    return lambda: f"{who}-{next(numbers) // LIMIT}"
