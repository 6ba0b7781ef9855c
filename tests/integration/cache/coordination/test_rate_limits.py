"""Rate limits: never one too many, and what a decision says about the future is true."""

from __future__ import annotations

import threading

import pytest

from cache import CacheManager, RateDecision, RateLimit, SessionCache
from domain.errors import InvalidInputError
from tests.support.build import Connect
from tests.support.servers.tcp_proxy import Proxy
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

KEY = "seen:ratelimit:ada:call"
MICRO = 1_000_000


@pytest.fixture
def sessions(manager: CacheManager) -> SessionCache:
    return manager.session


def log(manager: CacheManager, key: str = KEY) -> list[int]:
    """When each unit was taken, in microseconds, the newest first."""
    return [int(stamp) for stamp in manager.client.lrange(key, 0, -1)]


def now_us(manager: CacheManager) -> int:
    seconds, micro = manager.client.time()
    return seconds * MICRO + micro


# ── how much is let through ─────────────────────────────────────────────────────────────────────


def test_as_much_as_the_limit_is_allowed_and_no_more(sessions: SessionCache) -> None:
    decisions = [sessions.rate_limit_check("ada", "call", 5) for _ in range(7)]
    assert [one.allowed for one in decisions] == [True] * 5 + [False] * 2
    assert [one.remaining for one in decisions] == [4, 3, 2, 1, 0, 0, 0]
    assert [one.retry_after > 0 for one in decisions] == [False] * 5 + [True] * 2
    (state,) = decisions[-1].states
    assert (state.limit, state.window, state.remaining) == (5, 60, 0)


def test_users_and_actions_have_limits_of_their_own(sessions: SessionCache) -> None:
    assert sessions.rate_limit_check("ada", "call", 1).allowed
    assert sessions.rate_limit_check("bob", "call", 1).allowed
    assert sessions.rate_limit_check("ada", "search", 1).allowed
    assert not sessions.rate_limit_check("ada", "call", 1).allowed


def test_a_cost_is_taken_as_a_whole_or_not_at_all(
    sessions: SessionCache, manager: CacheManager
) -> None:
    assert sessions.rate_limit_check("ada", "call", 5, cost=3).remaining == 2
    before = log(manager)
    refused = sessions.rate_limit_check("ada", "call", 5, cost=3)
    assert (refused.allowed, refused.remaining) == (False, 2)
    assert log(manager) == before
    assert sessions.rate_limit_check("ada", "call", 5, cost=2).remaining == 0
    assert len(log(manager)) == 5


def test_a_large_cost_is_taken_whole(sessions: SessionCache, manager: CacheManager) -> None:
    assert sessions.rate_limit_check("ada", "call", 10_000, cost=2500).remaining == 7500
    assert len(log(manager)) == 2500
    assert not sessions.rate_limit_check("ada", "call", 10_000, cost=7501).allowed
    assert sessions.rate_limit_check("ada", "call", 10_000, cost=7500).remaining == 0


def test_a_cost_of_nothing_only_looks(sessions: SessionCache, manager: CacheManager) -> None:
    look = sessions.rate_limit_check("ada", "call", 2, cost=0)
    assert (look.allowed, look.remaining, look.reset) == (True, 2, 0)
    assert manager.client.dbsize() == 0
    sessions.rate_limit_check("ada", "call", 2, cost=2)
    before = log(manager)
    look = sessions.rate_limit_check("ada", "call", 2, cost=0)
    assert (look.allowed, look.remaining) == (True, 0)
    assert log(manager) == before


def test_several_limits_are_taken_from_all_or_none(
    sessions: SessionCache, manager: CacheManager
) -> None:
    limits = [RateLimit(limit=2, window=60), RateLimit(limit=9, window=3600)]
    for _ in range(2):
        assert sessions.rate_limits_check("ada", "call", limits).allowed
    refused = sessions.rate_limits_check("ada", "call", limits)
    assert [state.remaining for state in refused.states] == [0, 7]
    assert refused.tightest == refused.states[0]
    assert len(log(manager)) == 2
    # As if a minute had passed: the short window is empty, the long one still counts the two.
    stamps = [stamp - 61 * MICRO for stamp in log(manager)]
    manager.client.delete(KEY)
    manager.client.rpush(KEY, *stamps)
    allowed = sessions.rate_limits_check("ada", "call", limits, cost=2)
    assert allowed.allowed
    assert [state.remaining for state in allowed.states] == [0, 5]


def test_the_strictest_limit_says_when_to_come_back(sessions: SessionCache) -> None:
    limits = [RateLimit(limit=1, window=60), RateLimit(limit=1, window=3600)]
    sessions.rate_limits_check("ada", "call", limits)
    assert 3500 < sessions.rate_limits_check("ada", "call", limits).retry_after <= 3600


def test_a_limit_that_was_lowered_refuses_until_it_holds(
    sessions: SessionCache, manager: CacheManager
) -> None:
    sessions.rate_limit_check("ada", "call", 10, cost=6)
    refused = sessions.rate_limit_check("ada", "call", 3)
    assert (refused.allowed, refused.remaining) == (False, 0)
    assert refused.retry_after > 0
    assert not sessions.rate_limit_check("ada", "call", 3, cost=0).allowed
    assert len(log(manager)) == 6
    assert sessions.rate_limit_check("ada", "call", 10).remaining == 3


def test_threads_at_once_get_exactly_the_limit(sessions: SessionCache) -> None:
    decisions: list[RateDecision] = []
    barrier = threading.Barrier(8)

    def ask() -> None:
        barrier.wait()
        decisions.extend(sessions.rate_limit_check("ada", "call", 50) for _ in range(20))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    granted = [one.remaining for one in decisions if one.allowed]
    assert len(decisions) == 160
    assert sorted(one or 0 for one in granted) == list(range(50))


# ── what is said about the future ───────────────────────────────────────────────────────────────


def test_after_the_wait_it_is_allowed_and_not_before(
    sessions: SessionCache, manager: CacheManager, store: StoreServer
) -> None:
    # The clock that a script reads: on Dragonfly it stands still for a millisecond.
    step = 1000 if store.kind == "dragonfly" else 1
    window = 0.3
    assert sessions.rate_limit_check("ada", "call", 1, window).allowed
    free_at = log(manager)[0] + round(window * MICRO)

    def ask() -> bool:
        before = now_us(manager)
        decision = sessions.rate_limit_check("ada", "call", 1, window)
        after = now_us(manager)
        if decision.allowed:
            assert after >= free_at
        else:
            # It was refused at a moment that, with the wait, ends in the very one that is due.
            assert before - step < free_at - round(decision.retry_after * MICRO) <= after
            assert before - step < free_at
            assert decision.reset == decision.retry_after
        return decision.allowed

    wait_until(ask, interval=0.005, what="room for one more")
    newer, older = log(manager)[0], free_at - round(window * MICRO)
    assert newer - older >= window * MICRO


def test_the_wait_is_for_as_many_units_as_were_asked_for(
    sessions: SessionCache, manager: CacheManager
) -> None:
    now = now_us(manager)
    ages = [10, 20, 30, 40]  # seconds
    manager.client.rpush(KEY, *(now - age * MICRO for age in ages))
    waits = [sessions.rate_limit_check("ada", "call", 4, 60, cost=n).retry_after for n in (1, 2, 4)]
    assert [round(wait) for wait in waits] == [20, 30, 50]
    look = sessions.rate_limit_check("ada", "call", 4, 60, cost=0)
    assert look.reset is not None
    assert round(look.reset) == 50


def test_a_clock_that_stepped_back_lets_nothing_extra_through_and_says_so(
    sessions: SessionCache, manager: CacheManager
) -> None:
    ahead = 0.4
    manager.client.rpush(KEY, now_us(manager) + round(ahead * MICRO))
    refused = sessions.rate_limit_check("ada", "call", 1, 0.1)
    assert not refused.allowed
    assert 0.1 < refused.retry_after <= ahead + 0.1
    assert refused.reset == refused.retry_after
    second = sessions.rate_limit_check("ada", "call", 2, 0.1)
    assert second.allowed
    stamps = log(manager)
    assert stamps[0] == stamps[1]
    left = manager.client.pttl(KEY)
    assert left > 100  # it is kept until the stamp from the future has left the window


# ── what it costs ───────────────────────────────────────────────────────────────────────────────


def test_a_check_is_one_round_trip_and_one_key(store: StoreServer, connect: Connect) -> None:
    with Proxy(store.port) as proxy, connect(store, cache_addr=proxy.addr) as manager:
        limits = [RateLimit(limit=10, window=60), RateLimit(limit=20, window=3600)]
        manager.session.rate_limits_check("ada", "call", limits)  # the script is known from here on
        before = proxy.round_trips
        for _ in range(12):
            manager.session.rate_limits_check("ada", "call", limits)
        assert proxy.round_trips - before == 12
        assert manager.client.dbsize() == 1


def test_what_has_left_the_longest_window_is_dropped(
    sessions: SessionCache, manager: CacheManager
) -> None:
    old = now_us(manager) - 61 * MICRO
    manager.client.rpush(KEY, *[old] * 500)
    assert sessions.rate_limit_check("ada", "call", 5, 60).remaining == 4
    assert len(log(manager)) == 1


def test_the_log_lives_until_its_last_unit_has_left_the_window(
    sessions: SessionCache, manager: CacheManager
) -> None:
    for number in range(20):
        sessions.rate_limit_check("ada", f"call{number}", 5, 0.7)
        with manager.client.pipeline(transaction=True) as together:
            key = f"seen:ratelimit:ada:call{number}"
            together.pttl(key)
            together.time()
            together.lindex(key, 0)
            left, (seconds, micro), newest = together.execute()
        ends_at = (seconds * 1000 + micro // 1000 + left) * 1000
        assert int(newest) + 700_000 <= ends_at <= int(newest) + 800_000


def test_a_shorter_window_does_not_shorten_the_life_of_the_log(
    sessions: SessionCache, manager: CacheManager
) -> None:
    sessions.rate_limit_check("ada", "call", 5, 60)
    sessions.rate_limit_check("ada", "call", 5, 1)
    assert manager.client.pttl(KEY) > 50_000


# ── the store ───────────────────────────────────────────────────────────────────────────────────


def test_without_a_store_a_limit_follows_fail(private_store: StoreServer, connect: Connect) -> None:
    with connect(private_store) as manager:
        check = manager.session.rate_limit_check
        assert not [check("ada", "call", 1).allowed for _ in range(2)][1]
        private_store.kill()
        open_, closed = check("ada", "call", 1), check("ada", "call", 1, fail="closed")
    assert (open_.allowed, open_.retry_after) == (True, 0)
    assert (closed.allowed, closed.retry_after > 0) == (False, True)
    for decision in (open_, closed):
        assert (decision.states, decision.tightest) == ((), None)
        assert (decision.remaining, decision.reset) == (None, None)


def test_a_lost_answer_is_not_made_up_for_by_taking_twice(
    store: StoreServer, connect: Connect
) -> None:
    with Proxy(store.port) as proxy, connect(store, retries=2, cache_addr=proxy.addr) as manager:
        manager.session.rate_limit_check("ada", "call", 5)
        proxy.cut_after_request(b"EVALSHA")
        assert manager.session.rate_limit_check("ada", "call", 5).states == ()
        assert proxy.idle
        assert len(log(manager)) == 2


def test_a_server_that_forgot_the_script_counts_once(
    sessions: SessionCache, manager: CacheManager
) -> None:
    manager.client.script_flush()
    assert sessions.rate_limit_check("ada", "call", 5).remaining == 4
    assert len(log(manager)) == 1


# ── wrong arguments ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("limit", {"limit": 0}),
        ("limit", {"limit": 100_001}),
        ("limit", {"limit": 1.5}),
        ("window", {"window": 0}),
        ("window", {"window": float("nan")}),
        ("window", {"window": 367 * 86400}),
        ("cost", {"cost": -1}),
        ("cost", {"cost": 6}),
        ("cost", {"cost": 1.5}),
        ("fail", {"fail": "maybe"}),
    ],
)
def test_what_makes_no_sense_is_refused_and_writes_nothing(
    sessions: SessionCache, manager: CacheManager, field: str, wrong: dict[str, float]
) -> None:
    with pytest.raises(InvalidInputError, match=f"^{field}: ") as caught:
        sessions.rate_limit_check("ada", "call", **({"limit": 5, "window": 60} | wrong))  # type: ignore[arg-type]
    assert caught.value.field == field
    assert manager.client.dbsize() == 0


def test_there_is_at_least_one_limit_and_the_cost_fits_all(
    sessions: SessionCache, manager: CacheManager
) -> None:
    with pytest.raises(InvalidInputError, match="limits"):
        sessions.rate_limits_check("ada", "call", [])
    limits = [RateLimit(limit=9, window=1), RateLimit(limit=3, window=2)]
    with pytest.raises(InvalidInputError, match="smallest limit, 3"):
        sessions.rate_limits_check("ada", "call", limits, cost=4)
    assert manager.client.dbsize() == 0


def test_a_decision_is_true_only_when_it_allows(manager: CacheManager) -> None:
    assert manager.session.rate_limit_check("ada", "call", 1)
    assert not manager.session.rate_limit_check("ada", "call", 1)
