"""The manager: health, figures, live locks, and what it forgets or clears away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest

from cache import CacheManager, CacheStats, UserData, UserInvalidation
from domain.errors import InvalidInputError, StoreUnavailableError
from domain.job import JobStatus
from settings import Settings
from tests.support.build import Connect, cache_manager, cache_settings, login, progress
from tests.support.stores.commands import commands, commands_since
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

#: A port on which no server listens.
NOWHERE = "127.0.0.1:1"


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


# ── a store that must be there ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("wrong", ["no server", "wrong password"])
def test_a_program_may_require_the_store_when_it_connects(store: StoreServer, wrong: str) -> None:
    change = {"cache_password": "wrong"} if wrong == "wrong password" else {"cache_addr": NOWHERE}
    settings = cache_settings(store, **change)
    with pytest.raises(StoreUnavailableError):
        CacheManager.connect(settings, require_store=True)
    with pytest.raises(StoreUnavailableError):
        asyncio.run(_entered(settings))
    with CacheManager.connect(settings) as manager:  # by default it starts without one
        assert manager.service.get("seen:x", int) is None


def test_a_store_that_is_required_and_answers_is_used(store: StoreServer) -> None:
    settings = cache_settings(store)
    with CacheManager.connect(settings, require_store=True) as manager:
        assert manager.service.set("seen:x", 1, 60)
    assert asyncio.run(_entered(settings)) == 1


async def _entered(settings: Settings) -> int | None:
    async with CacheManager.connect_async(settings, require_store=True) as manager:
        return await manager.service.get("seen:x", int)


def test_a_wrong_password_is_reported(store: StoreServer, connect: Connect) -> None:
    with connect(store, cache_password="wrong") as manager:
        report = manager.health_check()
    assert report.ok is False
    assert "wrong" not in (report.error or "").replace("wrong password", "")


def test_a_store_that_refuses_is_reported(store: StoreServer, connect: Connect) -> None:
    if store.kind == "dragonfly":
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


def test_a_store_without_reads_has_no_hit_ratio(
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
    assert manager.held_download_locks(["job-1", "job-2", "job-3"]) == {"job-1"}
    assert manager.held_download_locks([]) == set()


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


# ── keys by family ──────────────────────────────────────────────────────────────────────────────


def test_keys_are_counted_by_family(manager: CacheManager) -> None:
    manager.session.set_session(login())
    manager.session.set_session(login("s-2"))
    manager.catalog.dashboard("ada", int).set(1)
    manager.client.set("other:thing", "theirs")
    stats = manager.stats()
    assert stats.families == {"catalog": 1, "session": 2, "user": 1}
    assert (stats.scanned, stats.scanned_all) == (5, True)


def test_only_so_many_keys_are_looked_at(manager: CacheManager) -> None:
    manager.client.mset({f"seen:user:{number}": "x" for number in range(3000)})
    before = commands(manager.client)
    stats = manager.stats(scan_limit=500)
    assert commands_since(manager.client, before)["scan"] <= 2
    assert 500 <= stats.scanned < 900
    assert stats.families == {"user": stats.scanned}
    assert not stats.scanned_all
    assert manager.stats(scan_limit=5000).families == {"user": 3000}
    before = commands(manager.client)
    assert not manager.stats(scan_limit=0).scanned_all
    assert "scan" not in commands_since(manager.client, before)


# ── what is forgotten ───────────────────────────────────────────────────────────────────────────


def furnish(manager: CacheManager, user: str) -> None:
    """Put something of everything into the cache that belongs to a user."""
    for number in range(2):
        manager.session.set_session(login(f"{user}-{number}", user_id=user))
    manager.session.set_user(UserData(id=user, email=f"{user}@example.com"))
    catalog = manager.catalog
    for entry in (catalog.dashboard, catalog.watch_later, catalog.recommendations):
        entry(user, int).set(1)
    catalog.continue_watching(user, int).set(1)
    manager.download.bulk_set_progress(
        [progress(f"{user}-job-{number}", user_id=user) for number in range(3)]
    )


def test_one_users_values_are_deleted_and_no_others(manager: CacheManager) -> None:
    furnish(manager, "bob")
    theirs = set(manager.client.scan_iter())
    furnish(manager, "ada")
    gone = UserInvalidation(sessions=2, profile=1, catalogs=4, downloads=3)
    assert manager.invalidate_user("ada") == gone
    assert set(manager.client.scan_iter()) == theirs
    assert len(manager.session.list_sessions("bob")) == 2
    assert len(manager.download.get_user_downloads("bob")) == 3
    assert {one.user_id for one in manager.download.get_active_downloads()} == {"bob"}
    nothing = UserInvalidation(sessions=0, profile=0, catalogs=0, downloads=0)
    assert manager.invalidate_user("ada") == nothing


def test_keys_are_deleted_by_pattern_in_our_namespace_only(manager: CacheManager) -> None:
    manager.client.mset({"seen:user:1": "x", "seen:user:2": "x", "seen:users": "x", "other": "x"})
    assert manager.delete_keys_by_pattern("seen:user:*") == 2
    for pattern in ("*", "other*", "seen*"):
        with pytest.raises(InvalidInputError, match="pattern"):
            manager.delete_keys_by_pattern(pattern)
    assert sorted(manager.client.scan_iter()) == [b"other", b"seen:users"]


# ── maintenance ─────────────────────────────────────────────────────────────────────────────────


def test_maintenance_removes_stale_progress_and_returns_the_figures(
    manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    download = manager.download
    download.bulk_set_progress([progress(f"job-{number}") for number in range(4)])
    download.set_progress(progress("job-9", status=JobStatus.COMPLETED))
    seconds, _ = manager.client.time()
    for name in ("job-0", "job-1"):
        manager.client.zadd(manager.keys.active_downloads_key(), {name: (seconds - 7200) * 1000})
        manager.client.hset(f"seen:download:job:{name}", "updated_at", (seconds - 7200) * 1000)
    manager.client.delete("seen:download:job:job-2")
    with caplog.at_level(logging.INFO):
        report = manager.run_maintenance()
    assert report.stale == 2
    assert report.gone == 6  # three jobs, in the index of what runs and in that of what is unsaved
    assert report.stats.families == {"download": 4}
    assert [one.job_id for one in download.get_active_downloads()] == ["job-3"]
    assert f"Cache: {report.stats.server} {report.stats.version}" in caplog.text
    again = manager.run_maintenance(stale_after=7200)
    assert (again.stale, again.gone) == (0, 0)
    assert manager.run_maintenance(stale_after=0).stale == 1


# ── life ────────────────────────────────────────────────────────────────────────────────────────


def test_a_block_closes_its_connections(private_store: StoreServer, connect: Connect) -> None:
    with private_store.client() as admin:
        with connect(private_store) as manager:
            manager.lock("x").acquire()
            manager.service.set("seen:x", 1, 60)
            assert len(admin.client_list()) == 3  # ours, the patient one, the hasty one
        wait_until(lambda: len(admin.client_list()) == 1, what="closed connections")


def test_what_was_read_and_written_is_counted_for_all_parts(manager: CacheManager) -> None:
    manager.session.set_session(login())
    uses: list[Callable[[], object]] = [
        lambda: manager.session.get_session("s-1"),
        lambda: manager.session.get_session("s-2"),
        lambda: manager.session.get_user("ada"),
        lambda: manager.catalog.dashboard("ada", int).get_or_load(lambda: 5),
        lambda: manager.catalog.dashboard("ada", int).get(),
        lambda: manager.service.get("seen:none", int),
    ]
    for use in uses:
        use()
    counts = manager.counts()
    assert (counts.hits, counts.misses, counts.loads) == (2, 4, 1)
    assert counts.hit_ratio == 2 / 6
    assert counts.dropped_writes == 0


def test_two_managers_count_for_themselves(store: StoreServer) -> None:
    with cache_manager(store) as one, cache_manager(store) as other:
        one.service.get("seen:none", int)
        assert (one.counts().misses, other.counts().misses) == (1, 0)
