"""The client-side cache with cut lines, silent servers and forked processes: nothing stale is served."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cache.platform.client_side_cache import MAX_SILENCE
from cache.store import circuit_breaker
from tests.support.build import Connect
from tests.support.client_side import is_kept, keep
from tests.support.loading import crowd
from tests.support.servers.tcp_proxy import Proxy
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

KEY = "seen:catalog:x"
OTHER = "seen:catalog:y"
ROOT = Path(__file__).resolve().parents[5]


# ── connections that end ────────────────────────────────────────────────────────────────────────


def test_a_connection_that_is_cut_serves_nothing_more(store: StoreServer, connect: Connect) -> None:
    with (
        Proxy(store.port) as proxy,
        connect(store, cache_client_side_entries=9, cache_addr=proxy.addr) as caching,
        connect(store) as other,
    ):
        for number in range(5):
            other.service.mset({KEY: number, OTHER: number}, 60)
            keep(caching, KEY)
            keep(caching, OTHER)
            proxy.close_all()
            other.service.mset({KEY: number + 1, OTHER: number + 1}, 60)

            def is_connected_again(value: int = number + 1) -> bool:
                return caching.service.get(OTHER, int) == value

            wait_until(is_connected_again)
            assert caching.service.get(KEY, int) == number + 1


def test_a_server_that_restarts_takes_everything_with_it(
    private_store: StoreServer, connect: Connect
) -> None:
    with connect(private_store, cache_client_side_entries=9) as caching:
        for number in range(3):
            caching.service.set(KEY, number, 60)
            keep(caching, KEY)
            private_store.restart()
            assert caching.service.get(KEY, int) is None


def test_a_restart_between_two_reads_costs_no_read(
    private_store: StoreServer, connect: Connect
) -> None:
    with connect(private_store, cache_client_side_entries=9) as caching:
        caching.service.mset({KEY: 1, OTHER: 2}, 60)
        for key, value in ((KEY, 1), (OTHER, 2)):
            keep(caching, KEY)
            private_store.restart(lose_data=False)
            assert caching.service.get(key, int) == value
            keep(caching, key)
        assert caching.counts().unavailable_reads == 0


def test_a_dead_server_is_noticed_at_once(private_store: StoreServer, connect: Connect) -> None:
    with connect(private_store, cache_client_side_entries=9) as caching:
        caching.service.set(KEY, 1, 60)
        keep(caching, KEY)
        private_store.kill()
        assert caching.service.get(KEY, int) is None
        assert caching.counts().unavailable_reads == 1


@pytest.mark.parametrize("which", ["line", "server"])
def test_a_silent_connection_is_trusted_for_a_second_only(
    private_store: StoreServer, connect: Connect, which: str
) -> None:
    with (
        Proxy(private_store.port) as proxy,
        connect(
            private_store, cache_client_side_entries=9, cache_addr=proxy.addr, cache_budget=1
        ) as caching,
        connect(private_store) as other,
    ):
        caching.service.set(KEY, 1, 60)
        keep(caching, KEY)
        doubtful_at = time.monotonic() + MAX_SILENCE
        if which == "line":
            proxy.pause()
            other.service.set(KEY, 2, 60)  # and nobody can tell
        else:
            private_store.pause()
        served = 0
        while True:
            began = time.monotonic()
            if caching.service.get(KEY, int) is None:
                break
            assert began < doubtful_at
            served += 1
        assert served > 10
        proxy.resume()
        private_store.resume()
        expected = 2 if which == "line" else 1
        wait_until(lambda: caching.service.get(KEY, int) == expected, what="the store again")


def test_a_connection_that_was_quiet_is_asked_for_a_sign_of_life_and_serves_on(
    store: StoreServer, connect: Connect
) -> None:
    caching = connect(store, cache_client_side_entries=9)
    caching.service.set(KEY, 1, 60)
    keep(caching, KEY)
    time.sleep(MAX_SILENCE)
    assert is_kept(caching, KEY)


def test_a_silent_server_costs_many_callers_one_wait(
    private_store: StoreServer, connect: Connect
) -> None:
    with connect(private_store, cache_client_side_entries=9, cache_budget=1) as caching:
        caching.service.get(KEY, int)
        private_store.pause()
        began = time.monotonic()
        assert crowd(40, lambda: caching.service.get(KEY, int)) == [None] * 40
        # One after the other, they would take forty seconds.
        assert time.monotonic() - began < 35
        private_store.resume()


@pytest.mark.parametrize("read", ["get", "get_or_load"])
def test_one_read_waits_for_a_silent_server_once(
    private_store: StoreServer, connect: Connect, read: str
) -> None:
    with connect(private_store, cache_client_side_entries=9, cache_budget=4) as caching:
        caching.service.set(KEY, 1, 60)
        keep(caching, KEY)
        time.sleep(MAX_SILENCE)
        private_store.pause()
        began = time.monotonic()
        if read == "get":
            assert caching.service.get(KEY, int) is None
        else:
            assert caching.service.get_or_load(KEY, int, lambda: 2, 60) == 2
        # Asked for a sign of life, and then for the value, it would be silent for eight seconds.
        assert time.monotonic() - began < 7.5
        assert caching.counts().unavailable_reads == 1
        private_store.resume()


def test_silence_and_answers_reach_the_circuit_breaker(
    private_store: StoreServer, connect: Connect
) -> None:
    budget = 0.1
    with connect(private_store, cache_client_side_entries=9, cache_budget=budget) as caching:
        caching.service.set(KEY, 1, 60)
        for failures in (circuit_breaker.FAILURE_THRESHOLD - 1, 1):
            assert caching.service.get(KEY, int) == 1
            private_store.pause()
            wait_until(lambda: caching.service.get(KEY, int) is None)
            for _ in range(failures - 1):
                assert caching.service.get(KEY, int) is None
            private_store.resume()
            caching.ping()
        # One in a row has failed, or it would fail at once.
        assert caching.session.acquire_lock("x").acquired
        private_store.pause()
        wait_until(lambda: caching.service.get(KEY, int) is None)
        for _ in range(circuit_breaker.FAILURE_THRESHOLD):
            assert caching.service.get(KEY, int) is None
        before, asked = time.monotonic(), 0
        while time.monotonic() < before + circuit_breaker.OPEN_SECONDS / 2:
            assert caching.service.get(KEY, int) is None
            asked += 1
        # For the length of a pause nobody waits, neither for the client-side cache's connection.
        assert asked > 2 * (circuit_breaker.OPEN_SECONDS / 2) / budget
        private_store.resume()


def test_a_manager_that_was_closed_connects_again(store: StoreServer, connect: Connect) -> None:
    caching = connect(store, cache_client_side_entries=9)
    for number in range(3):
        caching.service.set(KEY, number, 60)
        keep(caching, KEY)
        assert caching.service.get(KEY, int) == number
        caching.close()
        with connect(store) as other:
            other.service.set(KEY, -1, 60)
        assert caching.service.get(KEY, int) == -1


# ── servers that do not track ───────────────────────────────────────────────────────────────────


def test_a_server_that_does_not_track_is_used_without_a_near_cache(
    private_store: StoreServer, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    if private_store.kind == "dragonfly":
        pytest.skip("rights are given as Redis has them")
    with private_store.client() as client:
        client.execute_command("ACL", "SETUSER", "app", "on", ">secret", "~*", "+@all", "-client")
    rights = {"cache_username": "app", "cache_password": "secret"}
    with (
        connect(private_store, cache_client_side_entries=9, **rights) as caching,
        caplog.at_level(logging.WARNING),
    ):
        caching.service.set(KEY, 1, 60)
        assert crowd(8, lambda: caching.service.get(KEY, int)) == [1] * 8
        assert caching.service.get_or_load(KEY, int, lambda: 2, 60) == 1
        assert caching.counts().client_side_hits == 0
        assert caching.counts().unavailable_reads == 0
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == [
        "The server does not support CLIENT TRACKING"
    ]


def test_a_key_that_cannot_be_read_does_not_end_the_near_cache(
    store: StoreServer, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caching = connect(store, cache_client_side_entries=9)
    caching.service.set(KEY, 1, 60)
    keep(caching, KEY)
    caching.client.lpush(OTHER, "x")
    for _ in range(3):
        with pytest.raises(Exception, match="WRONGTYPE"):
            caching.service.get(OTHER, int)
    assert caching.service.get(KEY, int) == 1
    assert is_kept(caching, KEY)
    assert caplog.text == ""


# ── forks ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("while_the_parent_is", ["idle", "speaking", "loading"])
def test_a_forked_child_has_connections_and_loads_of_its_own(
    private_store: StoreServer, while_the_parent_is: str
) -> None:
    environment = {
        **os.environ,
        "SEEN_CACHE_ADDR": private_store.addr,
        "SEEN_CACHE_PASSWORD": private_store.password,
        "SEEN_CACHE_BUDGET": "5",
        "SEEN_CACHE_CLIENT_SIDE_ENTRIES": "9",
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.processes.forked", while_the_parent_is],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
