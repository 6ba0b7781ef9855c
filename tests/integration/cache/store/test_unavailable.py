"""A store that is dead, silent, full, read-only or back again: what every public method makes of it.

Four kinds of methods, see docs/cache.md: reads of what is kept elsewhere, too, are misses; writes of
it are dropped and counted; rate limits do as `fail` says; everything else raises
StoreUnavailableError.
"""

from __future__ import annotations

import time
import zlib

import pytest
import redis

from cache import CacheManager
from cache.store import circuit_breaker
from domain.errors import StoreUnavailableError
from settings import Settings
from tests.support.build import Connect
from tests.support.stores.cache_operations import (
    DROPPED_TTLS,
    DROPS,
    EVERY,
    IN_SCRIPTS,
    LOCAL,
    PROGRESS,
    RAISING_WRITES,
    hold,
    not_raised,
    outcome,
    wrong_outcomes,
)
from tests.support.stores.least_rights import PASSWORD, USER_NAME, grant_least_rights
from tests.support.stores.refusal_texts import TEXTS, Text
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until


def test_every_public_method_is_listed() -> None:
    codes = [use.__code__ for use in EVERY.values()] + [hold.__code__]
    used = {name for code in codes for name in code.co_names}
    with CacheManager.connect(Settings()) as manager:
        parts = [
            manager.service, manager.session, manager.catalog, manager.download, manager.limits,
            manager.data_loss,
            manager.beat,
            manager.workers,
        ]  # fmt: skip
        for owner in (manager, *parts, manager.lock("x"), manager.catalog.dashboard("a", int)):
            public = {name for name in dir(owner) if not name.startswith("_")}
            assert public - used - LOCAL - {"token", "ttl_ms"} == set(), owner


def test_with_a_healthy_store_nothing_is_missed_dropped_or_raised(
    store: StoreServer, connect: Connect
) -> None:
    with connect(store) as manager:
        outcomes = {name: outcome(use, manager) for name, use in EVERY.items()}
    assert {n: o for n, o in outcomes.items() if isinstance(o, Exception)} == {}
    assert {name: outcomes[name] for name in {**DROPS, **DROPPED_TTLS}} == dict.fromkeys(
        {**DROPS, **DROPPED_TTLS}, True
    )


@pytest.mark.parametrize("retries", [0, 1])
def test_a_dead_store(private_store: StoreServer, retries: int, connect: Connect) -> None:
    with connect(private_store, retries=retries) as manager:
        manager.ping()
        manager.service.set("seen:x", 1, 60)
        private_store.kill()
        assert wrong_outcomes(manager) == []


def test_a_store_that_was_never_there(free_port: int, store: StoreServer, connect: Connect) -> None:
    with connect(store, cache_addr=f"127.0.0.1:{free_port}") as manager:
        assert wrong_outcomes(manager) == []


def test_a_host_that_does_not_exist(store: StoreServer, connect: Connect) -> None:
    with connect(store, cache_addr="no-such-host.invalid:6379") as manager:
        assert manager.service.get("seen:x", int) is None
        with pytest.raises(StoreUnavailableError):
            manager.lock("new").acquire()


def test_a_missing_database_number_is_reported_in_words(
    store: StoreServer, connect: Connect
) -> None:
    with connect(store, cache_db=99) as manager:
        assert wrong_outcomes(manager) == []
        with pytest.raises(StoreUnavailableError, match="Set SEEN_CACHE_DB"):
            manager.lock("new").acquire()


def test_a_silent_store(private_store: StoreServer, connect: Connect) -> None:
    with connect(private_store, cache_timeout=0.03, cache_connect_timeout=0.03) as manager:
        manager.ping()
        manager.service.set("seen:x", 1, 60)
        private_store.pause()
        assert wrong_outcomes(manager) == []
        private_store.resume()


def test_a_store_that_is_back_is_used_again(private_store: StoreServer, connect: Connect) -> None:
    with connect(private_store) as manager:
        manager.service.set("seen:x", 1, 60)
        private_store.kill()
        assert manager.service.get("seen:x", int) is None
        assert manager.counts().unavailable_reads == 1
        private_store.start()
        wait_until(lambda: manager.service.set("seen:x", 2, 60), what="a value that is stored")
        assert manager.service.get("seen:x", int) == 2
        assert manager.lock("x").acquire()


def test_a_restart_between_two_calls_is_not_noticed(
    private_store: StoreServer, connect: Connect
) -> None:
    with connect(private_store) as manager:
        for use in EVERY.values():
            use(manager)
        private_store.restart()
        assert manager.service.set("seen:x", 5, 60)
        assert manager.service.get("seen:x", int) == 5
        assert manager.session.rate_limit_check("ada", "call", 5).states != ()
        assert manager.session.acquire_lock("other").acquired
        assert manager.counts().unavailable_reads == manager.counts().dropped_writes == 0


def test_a_full_store_refuses_what_adds_and_serves_the_rest(
    private_store: StoreServer, connect: Connect
) -> None:
    if private_store.kind == "dragonfly":
        pytest.skip("the limit is set as Redis has it")
    with connect(private_store) as manager:
        # Each script and connection is known from here on.
        for use in EVERY.values():
            use(manager)
        manager.service.set("seen:there", 1, 60)
        manager.download.set_progress(PROGRESS)
        manager.client.config_set("maxmemory", "1")
        check_refusals(manager)
        assert manager.service.get("seen:there", int) == 1
        assert manager.service.get_or_load("seen:fresh", int, lambda: 9, 60) == 9
        assert manager.service.get("seen:fresh", int) is None
        assert manager.download.get_progress("job-1") is not None
        assert manager.service.delete("seen:there") == 1


def test_a_store_that_cannot_save_refuses_what_adds(
    private_store: StoreServer, connect: Connect
) -> None:
    if private_store.kind == "dragonfly":
        pytest.skip("Redis refuses writes after a failed snapshot")
    with connect(private_store) as manager:
        for use in EVERY.values():
            use(manager)
        manager.client.config_set("save", "3600 1")
        private_store.break_snapshots()
        manager.client.bgsave()
        wait_until(
            lambda: manager.client.info("persistence")["rdb_last_bgsave_status"] == "err",
            what="a failed snapshot",
        )
        check_refusals(manager)
    private_store.kill()  # calls to end, it would insist on its snapshot


def test_a_read_only_replica_refuses_what_adds(
    private_store: StoreServer, master: StoreServer, connect: Connect
) -> None:
    with connect(private_store) as manager:
        for use in EVERY.values():
            use(manager)
        manager.service.set("seen:there", 1, 60)
        private_store.demote(master)
        check_refusals(manager)
        assert manager.service.get("seen:there", int) == 1
        with pytest.raises(StoreUnavailableError):
            manager.service.delete("seen:there")


def test_every_operation_works_with_the_rights_of_the_document(
    private_store: StoreServer, connect: Connect
) -> None:
    with private_store.client() as client:
        grant_least_rights(client)
        client.execute_command("ACL", "LOG", "RESET")
        with connect(private_store, cache_username=USER_NAME, cache_password=PASSWORD) as manager:
            outcomes = {name: outcome(use, manager) for name, use in EVERY.items()}
        refused = {entry["object"] for entry in client.acl_log()}
    failed = {name for name, outcome in outcomes.items() if isinstance(outcome, Exception)}
    assert failed == {"stats", "run_maintenance"}
    assert refused <= {"info", "client|setinfo"}


@pytest.mark.parametrize(
    "text", TEXTS, ids=lambda text: f"{text.row}-{text.server}-{zlib.crc32(text.said.encode())}"
)
def test_every_operation_knows_every_refusal(
    stand_in: StoreServer, connect: Connect, text: Text
) -> None:
    with connect(stand_in, cache_timeout=60, cache_budget=60) as manager:
        for use in EVERY.values():
            use(manager)  # each script and connection is known from here on
        if "script" in text.server:
            stand_in.refuse(text.said, commands=("EVAL", "EVALSHA"))
            outcomes = {name: outcome(use, manager) for name, use in EVERY.items()}
            assert {n: o for n, o in outcomes.items() if isinstance(o, redis.RedisError)} == {}
            assert not_raised(manager, IN_SCRIPTS) == []
        else:
            stand_in.refuse(text.said)
            assert wrong_outcomes(manager) == []


def check_refusals(manager: CacheManager) -> None:
    """Everything that adds is dropped and counted, or raises; a rate limit does as `fail` says."""
    for name, use in DROPS.items():
        dropped = manager.counts().dropped_writes
        assert use(manager) is False, name
        assert manager.counts().dropped_writes > dropped, name
    assert not_raised(manager, RAISING_WRITES) == []
    assert manager.session.rate_limit_check("ada", "call", 1000, fail="open").allowed
    assert not manager.session.rate_limit_check("ada", "call", 1000, fail="closed").allowed
    assert manager.health_check().ok is False


def test_a_wrong_command_stays_a_mistake_of_ours(manager: CacheManager) -> None:
    manager.client.lpush("seen:list", "x")
    with pytest.raises(Exception, match="WRONGTYPE") as caught:
        manager.service.get("seen:list", int)
    assert not isinstance(caught.value, StoreUnavailableError)


# ── the circuit breaker ─────────────────────────────────────────────────────────────────────────


def test_a_silent_store_is_waited_for_a_few_times_only(
    private_store: StoreServer, connect: Connect
) -> None:
    budget = 0.1
    with connect(private_store, cache_budget=budget) as manager:
        manager.ping()
        private_store.pause()
        for _ in range(circuit_breaker.FAILURE_THRESHOLD):
            assert manager.service.get("seen:x", int) is None
        before = time.monotonic()
        calls = 0
        # While the breaker is open no call waits: thousands take less than one budget each.
        while time.monotonic() < before + circuit_breaker.OPEN_SECONDS / 2:
            assert manager.service.get("seen:x", int) is None
            calls += 1
        assert calls > 2 * (circuit_breaker.OPEN_SECONDS / 2) / budget
        with pytest.raises(StoreUnavailableError, match="next attempt is in"):
            manager.session.acquire_lock("x")
        private_store.resume()
        wait_until(lambda: manager.service.set("seen:x", 1, 60), what="a probe that succeeds")
        assert manager.service.get("seen:x", int) == 1


def test_locks_are_requested_though_the_breaker_is_open(
    private_store: StoreServer, connect: Connect
) -> None:
    with connect(private_store) as manager:
        private_store.kill()
        for _ in range(circuit_breaker.FAILURE_THRESHOLD):
            manager.service.get("seen:x", int)
        private_store.start()
        # At once, without the pause of the breaker: a lease must use every chance to be renewed.
        assert manager.lock("x").acquire()
