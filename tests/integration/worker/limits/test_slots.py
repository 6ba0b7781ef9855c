"""Slots: all or nothing, held while the job runs, released, and refused with a reason."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from cache import CacheManager
from cache.clock import lease_clock
from domain.errors import HostBusyError, StoreUnavailableError
from tests.support.build import cache_manager
from tests.support.services.slots import BlockingSlots
from tests.support.services.system import System, client_runtime
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

HOST = "example.org"
CONNECTIONS, DOWNLOADS, USER = f"connections:{HOST}", f"downloads:{HOST}", "user:ann"
TTL = 0.6


@pytest.fixture
def manager(store: StoreServer) -> Iterator[CacheManager]:
    with cache_manager(store) as manager:
        yield manager


def slot_manager(manager: CacheManager, *numbers: int, ttl: float = 60) -> BlockingSlots:
    """One process's, with limits of connections, downloads and downloads of a user."""
    connections, downloads, of_user = numbers
    return BlockingSlots(
        manager.limits,
        per_host_connections=connections,
        per_host_downloads=downloads,
        per_user_downloads=of_user,
        ttl=ttl,
    )


def test_a_job_takes_what_it_needs_and_gives_it_back(manager: CacheManager) -> None:
    with slot_manager(manager, 4, 2, 2) as ours:
        held = ours.acquire("a", "Example.ORG.", "ann")
        assert held.host == HOST
        assert manager.limits.slots(CONNECTIONS) == {"a": 1}
        assert manager.limits.slots(DOWNLOADS) == {"a": 1}
        assert manager.limits.slots(USER) == {"a": 1}
        for _ in range(2):
            ours.release(held)
        assert ours.connections(held, 3) == 1
        assert not manager.client.dbsize()


@pytest.mark.parametrize(
    ("numbers", "code", "words"),
    [
        (
            (2, 0, 0),
            "host_busy",
            "waiting for a slot at example.org: 2 of 2 connections are open.",
        ),
        (
            (0, 2, 0),
            "host_busy",
            "waiting for a slot at example.org: 2 of 2 downloads are running.",
        ),
        ((9, 9, 2), "user_busy", "waiting for a slot: 2 of 2 downloads of its user are running."),
    ],
)
def test_a_refused_job_gets_a_reason_and_holds_no_slot(
    manager: CacheManager, numbers: tuple[int, int, int], code: str, words: str
) -> None:
    with slot_manager(manager, *numbers) as ours, slot_manager(manager, *numbers) as theirs:
        ours.acquire("a", HOST, "ann")
        last = theirs.acquire("b", HOST, "ann")
        with pytest.raises(HostBusyError) as refused:
            ours.acquire("c", HOST, "ann")
        assert str(refused.value).startswith(words)
        assert "ann" not in str(refused.value)
        assert refused.value.code == code
        assert 0 < (refused.value.retry_after or 0) < 10
        for resource in (CONNECTIONS, DOWNLOADS, USER):
            assert "c" not in manager.limits.slots(resource)
        theirs.release(last)
        ours.acquire("c", HOST, "ann")


def test_a_host_in_cooldown_gets_no_job(manager: CacheManager) -> None:
    with slot_manager(manager, 9, 0, 0) as ours, slot_manager(manager, 0, 0, 0) as theirs:
        theirs.cool_down("EXAMPLE.org", 60, "HTTP 429")
        for one in (ours, theirs):
            with pytest.raises(
                HostBusyError, match=r"its cooldown ends in \d+ s \(HTTP 429\)"
            ) as no:
                one.acquire("a", HOST)
            assert no.value.code == "host_cooling"
            assert 50 < (no.value.retry_after or 0) <= 60
        assert manager.limits.slots(CONNECTIONS) == {}
        ours.release(ours.acquire("a", "other.org"))


def test_connections_grow_as_far_as_there_is_room(manager: CacheManager) -> None:
    with slot_manager(manager, 5, 0, 0) as ours, slot_manager(manager, 5, 0, 0) as theirs:
        one, two = ours.acquire("a", HOST), theirs.acquire("b", HOST)
        assert ours.connections(one, 8) == 4
        assert theirs.connections(two, 3) == 1
        assert ours.connections(one, 2) == 2
        assert theirs.connections(two, 8) == 3
        assert theirs.connections(two, 0) == 1
        assert manager.limits.slots(CONNECTIONS) == {"a": 2, "b": 1}


def test_without_limits_nothing_is_counted(manager: CacheManager) -> None:
    with slot_manager(manager, 0, 0, 0) as ours:
        assert ours.connections(ours.acquire("a", HOST, "ann"), 99) == 99
        assert not manager.client.dbsize()


def test_a_job_at_two_hosts_has_its_users_slot_once(manager: CacheManager) -> None:
    with slot_manager(manager, 1, 0, 1) as ours:
        first = ours.acquire("a", HOST, "ann")
        second = ours.acquire("a", "mirror.org", "ann")
        ours.acquire("b", "third.org", "ben")
        with pytest.raises(HostBusyError):
            ours.acquire("a", "third.org", "ann")  # full: what the job holds elsewhere stays
        assert manager.limits.slots(USER) == {"a": 1}
        ours.release(first)
        assert manager.limits.slots(USER) == {"a": 1}
        assert manager.limits.slots(CONNECTIONS) == {}
        ours.release(second)
        assert manager.limits.slots(USER) == {}


def test_slots_are_kept_while_the_job_runs_and_end_with_its_process(manager: CacheManager) -> None:
    before = threading.active_count()
    with slot_manager(manager, 4, 1, 0, ttl=TTL) as ours:
        assert ours.connections(ours.acquire("a", HOST), 3) == 3
        started = lease_clock()
        # Longer than their TTL: without renewal they would be gone.
        wait_until(
            lambda: lease_clock() - started > 1.5 * TTL or not manager.limits.slots(DOWNLOADS),
            interval=0.01,
        )
        assert manager.limits.slots(CONNECTIONS) == {"a": 3}
        assert manager.limits.slots(DOWNLOADS) == {"a": 1}
    assert threading.active_count() == before
    wait_until(lambda: not manager.client.dbsize(), what="the slots' expiry")


def test_slots_that_the_store_lost_are_taken_again(manager: CacheManager) -> None:
    with slot_manager(manager, 4, 0, 1) as ours:
        held = ours.acquire("a", HOST, "ann")
        assert ours.connections(held, 3) == 3
        manager.client.flushdb()
        ours.renew_all()
        assert manager.limits.slots(CONNECTIONS) == {"a": 3}
        assert manager.limits.slots(USER) == {"a": 1}
        manager.client.flushdb()
        manager.limits.take_slots(CONNECTIONS, "quicker", 2, 4, 60)
        ours.renew_all()
        assert manager.limits.slots(CONNECTIONS) == {"a": 2, "quicker": 2}
        assert ours.connections(held, 3) == 2


def test_without_a_store_no_slot_is_granted(private_store: StoreServer) -> None:
    with cache_manager(private_store) as manager, slot_manager(manager, 4, 0, 0) as ours:
        held = ours.acquire("a", HOST)
        assert ours.connections(held, 2) == 2
        private_store.kill()
        with pytest.raises(StoreUnavailableError):
            ours.acquire("b", HOST)
        assert ours.connections(held, 4) == 2
        assert ours.connections(held, 1) == 1
        ours.cool_down(HOST, 60, "HTTP 429")
        ours.release(held)
        private_store.start()
        ours.acquire("b", HOST)


def test_a_process_works_by_its_settings(system: System) -> None:
    settings = {"SEEN_HOST_CONNECTIONS": "3", "SEEN_USER_DOWNLOADS": "1", "SEEN_MAX_RATE": "50000"}
    runtime = client_runtime({**system.variables, **settings})
    try:
        run = runtime.cache.store.run
        held = run(runtime.slots.acquire_flow("a", HOST, "ann"))
        assert run(held.connections_flow(9)) == 3
        with pytest.raises(HostBusyError, match="1 of 1 downloads of its user"):
            run(runtime.slots.acquire_flow("b", "other.org", "ann"))
        transfer_rate = runtime.rate_controller.register("a", HOST)
        wait_until(lambda: transfer_rate.rate == 50_000, what="the rate of the settings")
    finally:
        runtime.close()
    assert not [
        one for one in threading.enumerate() if one.name in {"rate_controller", "slot_manager"}
    ]
