"""`get_or_load` on a store that is dead, silent, or loses answers: the value comes all the same."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from cache import CacheManager
from cache.platform.counts import CacheCounts
from cache.store import scripts
from tests.support.build import Connect
from tests.support.loading import Caller, HeldLoader, Loader, crowd
from tests.support.servers.tcp_proxy import Proxy
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

KEY = "seen:load"


class OneAtATime(Loader):
    """A loader that notes how many run at the same moment."""

    def __init__(self, value: int) -> None:
        super().__init__(value)
        self.most = 0
        self._now = 0
        self._count = threading.Lock()

    def _outcome(self) -> object:
        with self._count:
            self._now += 1
            self.most = max(self.most, self._now)
        time.sleep(0.05)
        with self._count:
            self._now -= 1
        return super()._outcome()


@pytest.mark.parametrize("ailment", ["dead", "silent"])
def test_without_a_store_one_loader_at_a_time_runs_in_a_process(
    private_store: StoreServer, connect: Connect, ailment: str
) -> None:
    with connect(private_store, cache_budget=0.1) as manager:
        manager.ping()
        private_store.kill() if ailment == "dead" else private_store.pause()
        loader = OneAtATime(1)
        found = crowd(20, lambda: manager.service.get_or_load(KEY, int, loader, 60, wait=60))
        assert found == [1] * 20
        assert loader.most == 1
        assert loader.runs < 20
        counts = manager.counts()
        assert (counts.misses, counts.loads) == (20, loader.runs)
        assert counts.unavailable_reads >= 20
        if ailment == "silent":
            private_store.resume()


def test_an_error_reaches_the_caller_without_a_store_too(
    private_store: StoreServer, connect: Connect
) -> None:
    with connect(private_store) as manager:
        private_store.kill()
        with pytest.raises(LookupError):
            manager.service.get_or_load(KEY, int, Loader(LookupError()), 60)
        assert manager.service.get_or_load(KEY, int, Loader(1), 60) == 1


def test_a_store_that_dies_during_the_load_costs_the_storing_only(
    private_store: StoreServer, connect: Connect
) -> None:
    with connect(private_store) as manager:

        def loader() -> int:
            private_store.kill()
            return 1

        assert manager.service.get_or_load(KEY, int, loader, 60) == 1
        assert manager.counts() == CacheCounts(misses=1, loads=1, dropped_writes=1)
        private_store.start()
        again = Loader(2)
        assert manager.service.get_or_load(KEY, int, again, 60) == 2
        assert manager.service.get_or_load(KEY, int, again, 60) == 2
        assert again.runs == 1


def test_a_store_that_restarts_during_the_load_has_forgotten_the_claim(
    private_store: StoreServer, connect: Connect
) -> None:
    with connect(private_store) as manager:

        def loader() -> int:
            private_store.restart()
            return 1

        assert manager.service.get_or_load(KEY, int, loader, 60) == 1
        assert not manager.service.exists(KEY)
        assert manager.service.get_or_load(KEY, int, Loader(2), 60) == 2
        assert manager.service.get(KEY, int) == 2


def test_a_stale_value_is_served_by_who_could_not_claim_it(
    private_store: StoreServer, connect: Connect, master: StoreServer
) -> None:
    with connect(private_store) as manager:
        manager.service.get_or_load(KEY, int, Loader(1), 60, stale_for=60)
        manager.client.setrange(KEY, 33, bytes(8))  # stale since 1970
        private_store.demote(master)
        unused = Loader(2)
        for _ in range(3):
            assert manager.service.get_or_load(KEY, int, unused, 60, stale_for=3e9) == 1
        assert unused.runs == 0
        assert manager.counts().stale_hits == 3


# ── lost answers ────────────────────────────────────────────────────────────────────────────────


def through(proxy: Proxy, connect: Connect, store: StoreServer) -> CacheManager:
    """A manager behind the proxy, on a server that knows the scripts."""
    manager = connect(store, cache_addr=proxy.addr, cache_budget=1)
    manager.service.get_or_load("seen:warm", int, Loader(0), 60)
    return manager


def digest(name: str) -> bytes:
    """What a request to run one of our scripts contains."""
    return scripts.digest(name).encode()


def test_a_claim_whose_answer_is_lost_is_still_ours(store: StoreServer, connect: Connect) -> None:
    with Proxy(store.port) as proxy, through(proxy, connect, store) as manager:
        proxy.cut_after_request(digest("load_claim"))
        loader = Loader(1)
        # Waiting for itself, it would load unstored after that time.
        assert manager.service.get_or_load(KEY, int, loader, 60, wait=1) == 1
        assert proxy.idle
        assert manager.service.get(KEY, int) == 1
        assert loader.runs == 1


def test_a_claim_whose_answer_does_not_come_ends_by_itself(
    store: StoreServer, connect: Connect
) -> None:
    with Proxy(store.port) as proxy, through(proxy, connect, store) as manager:
        proxy.drop_next_reply(digest("load_claim"))
        assert manager.service.get_or_load(KEY, int, Loader(1), 60, load_timeout=0.3) == 1
        assert proxy.idle
        assert manager.service.get(KEY, int) is None
        assert manager.counts().dropped_writes == 1
        assert manager.service.get_or_load(KEY, int, Loader(2), 60, wait=60) == 2
        assert manager.service.get(KEY, int) == 2


@pytest.mark.parametrize("lose", [Proxy.cut_after_request, Proxy.drop_next_reply])
def test_a_value_whose_storing_is_not_confirmed_is_returned_and_there(
    store: StoreServer, connect: Connect, lose: Callable[[Proxy, bytes], None]
) -> None:
    with Proxy(store.port) as proxy, through(proxy, connect, store) as manager:
        lose(proxy, digest("load_finish"))
        assert manager.service.get_or_load(KEY, int, Loader(1), 60) == 1
        assert proxy.idle
        assert manager.service.get(KEY, int) == 1


def test_a_first_look_whose_answer_is_lost_is_repeated(
    store: StoreServer, connect: Connect
) -> None:
    with Proxy(store.port) as proxy, through(proxy, connect, store) as manager:
        proxy.cut_after_request(KEY.encode())
        assert manager.service.get_or_load(KEY, int, Loader(1), 60) == 1
        assert manager.counts().unavailable_reads == 0
        assert manager.service.get(KEY, int) == 1


def test_scripts_are_loaded_again_after_the_server_lost_them(
    store: StoreServer, connect: Connect
) -> None:
    with connect(store) as manager:
        manager.client.script_flush()

        def loader() -> int:
            manager.client.script_flush()
            return 1

        assert manager.service.get_or_load(KEY, int, loader, 60) == 1
        assert manager.service.get(KEY, int) == 1


def test_the_store_is_asked_twice_for_a_value_that_is_there_and_once_from_then_on(
    store: StoreServer, connect: Connect
) -> None:
    with Proxy(store.port) as proxy, connect(store, cache_addr=proxy.addr) as manager:
        manager.service.set(KEY, 1, 60)
        before = proxy.round_trips
        manager.service.get_or_load(KEY, int, Loader(2), 60)
        assert proxy.round_trips == before + 2  # the first learns the server's clock
        for _ in range(10):
            manager.service.get_or_load(KEY, int, Loader(2), 60)
        assert proxy.round_trips == before + 12


def test_a_load_takes_three_round_trips(store: StoreServer, connect: Connect) -> None:
    with Proxy(store.port) as proxy, through(proxy, connect, store) as manager:
        before = proxy.round_trips
        manager.service.get_or_load(KEY, int, Loader(1), 60)
        assert proxy.round_trips == before + 3  # look, claim, store


def test_waiting_for_another_process_looks_a_few_times_only(
    store: StoreServer, connect: Connect
) -> None:
    with (
        Proxy(store.port) as proxy,
        connect(store) as first,
        through(proxy, connect, store) as second,
    ):
        held = HeldLoader(1)
        with Caller(lambda: first.service.get_or_load(KEY, int, held, 60)) as caller, held:
            assert held.started.wait(10)
            before, started = proxy.round_trips, time.monotonic()
            with Caller(
                lambda: second.service.get_or_load(KEY, int, Loader(2), 60, wait=60)
            ) as waiting:
                wait_until(lambda: proxy.round_trips > before + 20, what="twenty looks")
                took = time.monotonic() - started
                held.let_go()
                assert caller.result() == waiting.result() == 1
        # Ten claims at 0.1 s or more, half of that at least by chance, but for the first few.
        assert took > 0.15
