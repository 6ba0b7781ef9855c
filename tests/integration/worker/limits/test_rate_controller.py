"""Rate limits across processes: transfers that keep to their rate, two controllers, one store."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import pytest

from cache import CacheManager
from domain.limits import TOTAL, host_scope, job_scope
from tests.support.build import cache_manager
from tests.support.servers.tcp_proxy import Proxy
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.limits.rate_controller import RateController
from worker.limits.transfer_rate import TransferRate

HOST = "example.org"
#: Bytes a second of a transfer that nothing holds back.
FAST = 10_000_000
#: Speeds are compared over this many seconds, and may be off by this part.
SPAN, NEARLY = 0.5, 0.12


class Transfer:
    """A thread that takes bytes as fast as its rate allows, and never faster than `most`."""

    def __init__(
        self,
        rate_controller: RateController,
        name: str,
        *,
        host: str = HOST,
        most: float = FAST,
        own_limit: int | None = None,
    ) -> None:
        self.transfer_rate: TransferRate = rate_controller.register(name, host, own_limit)
        self.taken = 0
        self._rate_controller, self._most = rate_controller, most
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        last, owed = time.monotonic(), 0.0
        while not self._ending.wait(0.005):
            now, rate = time.monotonic(), self.transfer_rate.rate
            owed += (self._most if rate is None else min(rate, self._most)) * (now - last)
            size, last = int(owed), now
            owed -= size
            self.transfer_rate.count(size)
            self.taken += size

    def end(self) -> None:
        self._ending.set()
        self._thread.join()
        self._rate_controller.unregister(self.transfer_rate)


Start = Callable[..., Transfer]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts transfers that are ended with the test."""
    with ExitStack() as stack:

        def begin(*arguments: object, **named: object) -> Transfer:
            transfer = Transfer(*arguments, **named)  # type: ignore[arg-type]
            stack.callback(transfer.end)
            return transfer

        yield begin


@pytest.fixture
def manager(store: StoreServer) -> Iterator[CacheManager]:
    with cache_manager(store) as manager:
        yield manager


@pytest.fixture
def pacers(store: StoreServer) -> Iterator[tuple[RateController, RateController]]:
    """Two processes' pacers, each with connections of its own."""
    with (
        cache_manager(store) as one,
        cache_manager(store) as two,
        RateController(one.limits, worker="one") as first,
        RateController(two.limits, worker="two") as second,
    ):
        yield first, second


def wait_for_speeds(transfers: Sequence[Transfer], *speeds: float) -> None:
    """Wait until transfers run at these speeds, each of them over a while."""
    marks: deque[tuple[float, list[int]]] = deque()

    def reached() -> bool:
        marks.append((time.monotonic(), [one.taken for one in transfers]))
        while marks[-1][0] - marks[0][0] > SPAN * 1.5:
            marks.popleft()
        (started, before), (now, after) = marks[0], marks[-1]
        if now - started < SPAN:
            return False
        found = [(b - a) / (now - started) for a, b in zip(before, after, strict=True)]
        last_found[:] = found
        return all(abs(f - s) <= NEARLY * s for f, s in zip(found, speeds, strict=True))

    last_found: list[float] = []
    try:
        wait_until(reached, interval=0.05)
    except AssertionError:
        raise AssertionError(f"wanted {speeds}, found {last_found}") from None


def total_rate(transfers: Sequence[Transfer]) -> float:
    return sum(one.transfer_rate.rate or FAST for one in transfers)


def test_processes_keep_a_limit_together_and_follow_its_changes(
    manager: CacheManager, pacers: tuple[RateController, RateController], start: Start
) -> None:
    manager.limits.set_rates({TOTAL: 400_000})
    running = [start(pacers[0], "a"), *(start(pacers[1], name) for name in "bcd")]
    wait_for_speeds(running, *[100_000] * 4)
    manager.limits.set_rates({TOTAL: 1_200_000})
    wait_for_speeds(running, *[300_000] * 4)
    manager.limits.set_rates({TOTAL: 200_000})
    wait_for_speeds(running, *[50_000] * 4)
    assert total_rate(running) <= 200_000 * 1.01
    manager.limits.set_rates({TOTAL: None})
    wait_until(lambda: [one.transfer_rate.rate for one in running] == [None] * 4)


def test_what_a_slow_transfer_leaves_goes_to_the_others_everywhere(
    manager: CacheManager, pacers: tuple[RateController, RateController], start: Start
) -> None:
    manager.limits.set_rates({TOTAL: 420_000})
    slow = start(pacers[0], "slow", most=20_000)
    running = [slow, start(pacers[0], "a"), start(pacers[1], "b")]
    wait_for_speeds(running, 20_000, 200_000, 200_000)
    slow._most = FAST
    wait_for_speeds(running, *[140_000] * 3)
    running.pop().end()
    wait_for_speeds(running, *[210_000] * 2)


def test_the_least_of_three_limits_counts_and_frees_the_others(
    manager: CacheManager, pacers: tuple[RateController, RateController], start: Start
) -> None:
    manager.limits.set_rates(
        {TOTAL: 600_000, host_scope("slow.org"): 100_000, job_scope("small"): 50_000}
    )
    running = [
        start(pacers[0], "a", host="slow.org"),
        start(pacers[1], "b", host="Slow.ORG."),
        start(pacers[0], "small"),
        start(pacers[1], "rest"),
    ]
    wait_for_speeds(running, 50_000, 50_000, 50_000, 450_000)
    running[0].transfer_rate.host = HOST  # a redirect
    wait_for_speeds(running, 225_000, 100_000, 50_000, 225_000)


def test_a_limit_that_came_with_the_job_is_kept_unless_another_is_set_for_it(
    manager: CacheManager, pacers: tuple[RateController, RateController], start: Start
) -> None:
    running = [start(pacers[0], "small", own_limit=50_000), start(pacers[0], "rest")]
    assert running[0].transfer_rate.rate == 50_000  # from its first byte on
    assert running[1].transfer_rate.rate is None
    wait_for_speeds(running[:1], 50_000)
    manager.limits.set_rates({TOTAL: 300_000})
    wait_for_speeds(running, 50_000, 250_000)  # what it leaves goes to the other
    manager.limits.set_rates({TOTAL: None, job_scope("small"): 100_000})
    wait_for_speeds(running[:1], 100_000)
    manager.limits.set_rates({job_scope("small"): None})
    wait_for_speeds(running[:1], 50_000)
    assert running[1].transfer_rate.rate is None
    running.pop(0).end()
    wait_until(lambda: not pacers[0]._is_limiting)


def test_a_limit_that_came_with_the_job_needs_no_store(
    private_store: StoreServer, start: Start
) -> None:
    with cache_manager(private_store) as manager:
        private_store.stop()
        with RateController(manager.limits, worker="one", interval=0.05) as rate_controller:
            small = start(rate_controller, "small", own_limit=50_000)
            wait_for_speeds([small], 50_000)
            assert small.transfer_rate.rate == 50_000


def test_without_a_store_no_rate_grows(
    private_store: StoreServer, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with (
        cache_manager(private_store, cache_timeout=0.2) as manager,
        RateController(manager.limits, worker="one", interval=0.05) as rate_controller,
    ):
        manager.limits.set_rates({TOTAL: 200_000})
        running = [start(rate_controller, "a"), start(rate_controller, "b")]
        wait_for_speeds(running, 100_000, 100_000)
        private_store.kill()
        wait_until(lambda: caplog.records, what="a log line about the store")
        running += [start(rate_controller, "c"), start(rate_controller, "d", host="elsewhere.org")]
        assert total_rate(running) <= 200_000 * 1.01
        wait_for_speeds(running, *[50_000] * 4)
        assert len(caplog.records) == 1
        private_store.start()  # it has lost the limit, too
        wait_until(lambda: [one.transfer_rate.rate for one in running] == [None] * 4)


def test_a_process_that_ends_leaves_its_part_to_the_others(
    store: StoreServer, manager: CacheManager, start: Start
) -> None:
    manager.limits.set_rates({TOTAL: 200_000})
    with RateController(manager.limits, worker="one") as staying:
        kept = start(staying, "kept")
        with cache_manager(store) as other, RateController(other.limits, worker="two") as leaving:
            start(leaving, "left")
            wait_for_speeds([kept], 100_000)
        wait_for_speeds([kept], 200_000)
        # One that died says nothing, and its note expires.
        demand = manager.limits.demands([TOTAL])[TOTAL]
        manager.limits.share_demands("dead", {TOTAL: demand}, 1.0)
        wait_for_speeds([kept], 100_000)
        wait_for_speeds([kept], 200_000)


def test_a_default_holds_where_nothing_is_set(manager: CacheManager, start: Start) -> None:
    with RateController(manager.limits, worker="one", defaults={TOTAL: 100_000}) as rate_controller:
        running = [start(rate_controller, "a")]
        wait_for_speeds(running, 100_000)
        manager.limits.set_rates({TOTAL: 300_000})
        wait_for_speeds(running, 300_000)
        manager.limits.set_rates({TOTAL: None})
        wait_for_speeds(running, 100_000)


def test_without_a_limit_a_tick_is_one_round_trip_and_an_idle_process_is_silent(
    store: StoreServer,
) -> None:
    with Proxy(store.port) as proxy, cache_manager(store, cache_addr=proxy.addr) as manager:
        manager.ping()
        before = proxy.round_trips
        rate_controller = RateController(manager.limits, worker="one", interval=60)
        transfer_rates = [rate_controller.register(f"job-{number}", HOST) for number in range(50)]
        wait_until(lambda: proxy.round_trips == before + 1, what="the first tick")
        rate_controller.tick()  # may need a connection of its own, if the first is still in use
        before = proxy.round_trips
        for _ in range(4):
            rate_controller.tick()
        assert proxy.round_trips == before + 4
        assert {transfer_rate.rate for transfer_rate in transfer_rates} == {None}
        rate_controller.close()
        assert proxy.round_trips == before + 4


def test_a_closed_pacer_leaves_neither_thread_nor_note(manager: CacheManager) -> None:
    before = threading.active_count()
    manager.limits.set_rates({TOTAL: 100_000})
    with RateController(manager.limits, worker="one", interval=0.01) as rate_controller:
        transfer_rate = rate_controller.register("job", HOST)
        wait_until(lambda: manager.limits.demands([TOTAL])[TOTAL].transfers == 1)
        rate_controller.unregister(transfer_rate)
        rate_controller.unregister(transfer_rate)
        wait_until(lambda: manager.limits.demands([TOTAL])[TOTAL].transfers == 0)
        rate_controller.register("another", HOST)
        wait_until(lambda: manager.limits.demands([TOTAL])[TOTAL].transfers == 1)
    assert threading.active_count() == before
    assert not manager.client.exists(manager.keys.demand_key(TOTAL))
