"""The manager: health, figures, live locks."""

from __future__ import annotations

import pytest

from cache import CacheManager, CacheStats
from domain.errors import StoreUnavailableError
from tests.support.build import Connect
from tests.support.store import StoreServer


def test_a_ping_takes_time(manager: CacheManager) -> None:
    assert 0 < manager.ping() < 5000


def test_a_health_check_goes_all_the_way_and_leaves_nothing(manager: CacheManager) -> None:
    report = manager.health_check()
    assert (report.ok, report.error) == (True, None)
    assert min(report.write_ms, report.read_ms, report.delete_ms) > 0
    assert manager.client.dbsize() == 0


@pytest.mark.parametrize("how", ["dead", "silent"])
def test_a_store_that_does_not_answer_is_reported(
    private_store: StoreServer, how: str, connect: Connect
) -> None:
    with connect(private_store, cache_timeout=0.1) as manager:
        manager.ping()
        if how == "dead":
            private_store.kill()
        else:
            private_store.pause()
        report = manager.health_check()
        assert report.ok is False
        assert report.error
        with pytest.raises(StoreUnavailableError):
            manager.ping()


def test_a_wrong_password_is_reported(store: StoreServer, connect: Connect) -> None:
    with connect(store, cache_password="wrong") as manager:
        report = manager.health_check()
    assert report.ok is False
    assert "wrong" not in (report.error or "").replace("wrong password", "")


def test_a_store_that_refuses_is_reported(store: StoreServer, connect: Connect) -> None:
    if store.kind != "redis":
        pytest.skip("the rights are spelt for Redis")
    with store.client() as admin:
        admin.execute_command(
            "ACL",
            "SETUSER",
            "reader",
            "on",
            ">pw",
            "~*",
            "+get",
            "+auth",
            "+client",
            "+select",
            "+ping",
        )
        try:
            with connect(store, cache_username="reader", cache_password="pw") as manager:
                manager.ping()
                report = manager.health_check()
        finally:
            admin.execute_command("ACL DELUSER reader")
    assert report.ok is False
    assert "permission" in (report.error or "")


def test_a_closed_manager_connects_again(store: StoreServer, connect: Connect) -> None:
    manager = connect(store)
    manager.service.increment("seen:n")
    manager.close()
    assert manager.service.increment("seen:n") == 2
    manager.close()


def test_the_figures_have_their_types(manager: CacheManager, store: StoreServer) -> None:
    manager.service.set("seen:a", 1, 60)
    manager.service.get("seen:a", int)
    manager.service.get("seen:none", int)
    stats = manager.stats()
    assert stats.server == store.kind
    assert stats.version[0].isdigit()
    assert stats.db_size == 1
    assert stats.keyspace["db0"] == 1
    assert stats.used_memory > 0
    assert stats.max_memory >= 0
    assert stats.hits >= 1
    assert stats.misses >= 1
    assert stats.hit_ratio is not None
    assert 0 < stats.hit_ratio < 1
    assert stats.connected_clients >= 1
    assert stats.uptime_seconds >= 0
    assert stats.evicted_keys >= 0
    assert stats.expired_keys >= 0
    assert CacheStats.model_validate_json(stats.model_dump_json()) == stats


def test_a_store_nobody_has_read_from_has_no_hit_ratio(
    private_store: StoreServer, connect: Connect
) -> None:
    with connect(private_store) as manager:
        stats = manager.stats()
    assert (stats.hits + stats.misses, stats.hit_ratio) == (0, None)


def test_the_locks_that_live(manager: CacheManager) -> None:
    held, gone = manager.download_lock("job-1"), manager.download_lock("job-2")
    assert held.acquire()
    assert gone.acquire()
    assert gone.release()
    assert manager.which_locks_live(["job-1", "job-2", "job-3"]) == {"job-1"}
    assert manager.which_locks_live([]) == set()


def test_namespaces_do_not_see_each_other(store: StoreServer, connect: Connect) -> None:
    with (
        connect(store, cache_namespace="one") as one,
        connect(store, cache_namespace="two") as two,
    ):
        assert one.download_lock("x").acquire()
        assert two.download_lock("x").acquire()
        one.service.set(one.keys.user_key("1"), 1, 60)
        assert two.service.delete_by_pattern("two:*") == 1
        assert one.service.exists("one:user:1")
