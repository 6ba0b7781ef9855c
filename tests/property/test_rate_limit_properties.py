"""The limiter against a sliding log in plain Python: every decision and every number it tells.

Time is the server's own, so nothing here sets a clock. A past is made by writing it: the log in the
store is filled with moments before and after the server's present. When exactly a check ran follows from
its reply, and has to lie between two looks at the server's clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache import CacheManager, RateDecision, RateLimit
from tests.support.build import cache_manager
from tests.support.stores.server import StoreServer

KEY = "seen:ratelimit:ada:call"
MICRO = 1_000_000

together = settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def manager(store: StoreServer) -> Iterator[CacheManager]:
    with cache_manager(store) as manager:
        yield manager


# ── the model ───────────────────────────────────────────────────────────────────────────────────


class Decision(NamedTuple):
    """What a check says, in microseconds."""

    allowed: bool
    retry_after: int
    remaining: list[int]
    resets: list[int]


class Log:
    """When each unit was taken; nothing is ever dropped, and nothing is clever."""

    def __init__(self, stamps: Sequence[int] = ()) -> None:
        self.stamps = list(stamps)

    def check(self, clock: int, cost: int, limits: Sequence[RateLimit]) -> Decision:
        """Decide at the moment `clock`."""
        waits = [self._wait(clock, cost, limit) for limit in limits]
        allowed = not any(waits)
        if allowed:
            self.stamps += [self._present(clock)] * cost
        inside = [self._inside(clock, limit) for limit in limits]
        return Decision(
            allowed,
            max(waits),
            [max(0, one.limit - len(some)) for one, some in zip(limits, inside, strict=True)],
            [
                max(some) + _window(one) - clock if some else 0
                for one, some in zip(limits, inside, strict=True)
            ],
        )

    def _present(self, clock: int) -> int:
        """A clock that has stepped back stands still in the log."""
        return max([clock, *self.stamps])

    def _inside(self, clock: int, limit: RateLimit) -> list[int]:
        begins = self._present(clock) - _window(limit)
        return [stamp for stamp in self.stamps if stamp > begins]

    def _wait(self, clock: int, cost: int, limit: RateLimit) -> int:
        """The first moment at which there is room: now, or when some unit leaves the window."""
        moments = [clock, *sorted(stamp + _window(limit) for stamp in self.stamps)]
        return next(
            moment - clock
            for moment in moments
            if moment >= clock and len(self._inside(moment, limit)) + cost <= limit.limit
        )


def _window(limit: RateLimit) -> int:
    return round(limit.window * MICRO)


def decided(decision: RateDecision) -> Decision:
    return Decision(
        decision.allowed,
        round(decision.retry_after * MICRO),
        [state.remaining for state in decision.states],
        [round(state.reset * MICRO) for state in decision.states],
    )


# ── the real one ────────────────────────────────────────────────────────────────────────────────


def clock_of(manager: CacheManager) -> int:
    seconds, micro = manager.client.time()
    return seconds * MICRO + micro


def log_of(manager: CacheManager) -> list[int]:
    """The log in the store, the oldest first."""
    return [int(stamp) for stamp in reversed(manager.client.lrange(KEY, 0, -1))]


def check_both(
    manager: CacheManager, model: Log, cost: int, limits: Sequence[RateLimit]
) -> tuple[int, Decision]:
    """Ask the real one, and the model at the same moment; they agree. Returns when, and what."""
    before = clock_of(manager)
    said = decided(manager.session.rate_limits_check("ada", "call", limits, cost=cost))
    after = clock_of(manager)
    stored = log_of(manager)
    if any(said.resets):
        # The window is empty `reset` after the check, which is a window after the newest unit.
        place = max(range(len(limits)), key=lambda number: said.resets[number])
        moment = stored[-1] + _window(limits[place]) - said.resets[place]
    else:
        moment = after  # nothing in any window: that stays so
    assert before <= moment <= after
    assert said == model.check(moment, cost, limits)
    return moment, said


WINDOWS = [5.0, 7.5, 60.0, 3600.0]
limit_sets = st.lists(
    st.builds(RateLimit, limit=st.integers(1, 12), window=st.sampled_from(WINDOWS)),
    min_size=1,
    max_size=3,
)
#: Just about to leave a window, or just gone from it.
edges = st.builds(
    lambda window, off: round(window * MICRO) + off,
    st.sampled_from(WINDOWS),
    st.integers(-500, 500),
)


@together
@given(data=st.data(), limits=limit_sets)
def test_every_number_is_that_of_a_plain_log(
    manager: CacheManager, data: st.DataObject, limits: list[RateLimit]
) -> None:
    longest = max(_window(limit) for limit in limits)
    # Below 0: from a clock that has stepped back since.
    age = edges | st.integers(-longest, 2 * longest)
    ages = data.draw(st.lists(age, max_size=20), "ages")
    cost = data.draw(st.integers(0, min(limit.limit for limit in limits)), "cost")
    manager.client.delete(KEY)
    now = clock_of(manager)
    past = [now - age for age in sorted(ages, reverse=True)]
    if past:
        manager.client.lpush(KEY, *past)
    model = Log(past)
    moment, said = check_both(manager, model, cost, limits)
    # The store has dropped what no window sees any more, and nothing else.
    present = max([moment, *past])
    assert log_of(manager) == [stamp for stamp in model.stamps if stamp > present - longest]
    if said.allowed and cost:
        left_ms = manager.client.pttl(KEY)
        assert clock_of(manager) // 1000 + left_ms >= (present + longest) // 1000


@together
@given(
    limits=st.lists(
        st.builds(
            RateLimit, limit=st.integers(1, 8), window=st.sampled_from([0.001, 0.002, 0.005])
        ),
        min_size=1,
        max_size=2,
    ),
    costs=st.lists(st.integers(0, 3), min_size=5, max_size=40),
)
def test_a_stream_of_checks_is_that_of_a_plain_log(
    manager: CacheManager, limits: list[RateLimit], costs: list[int]
) -> None:
    """Windows as short as a few checks take, so that units leave them all the while."""
    manager.client.delete(KEY)
    model = Log()
    smallest = min(limit.limit for limit in limits)
    # One that is never reached keeps the log in the store, so that the test can read it.
    limits = [*limits, RateLimit(limit=1000, window=3600)]
    for cost in costs:
        check_both(manager, model, min(cost, smallest), limits)
    # Seen from outside: no window, wherever it begins, has more than its limit.
    for limit in limits:
        for begin in model.stamps:
            assert sum(0 <= one - begin < _window(limit) for one in model.stamps) <= limit.limit
