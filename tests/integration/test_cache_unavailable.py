"""A store that is dead, silent or full: every method says so in our own words."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cache import CacheManager, DownloadProgress
from cache.progress_hash import ProgressUpdate
from domain.errors import StoreUnavailableError
from domain.job import JobStatus
from settings import Settings
from tests.support.build import cache_manager
from tests.support.store import StoreServer
from tests.support.wait import wait_until

S = JobStatus
PROGRESS = DownloadProgress(job_id="job-1", status=S.DOWNLOADING)
UPDATE = ProgressUpdate(
    job_id="job-1",
    fence=1,
    sequence=1,
    status=S.DOWNLOADING,
    increment=1,
    bytes_downloaded=1,
    bytes_durable=0,
    bytes_total=None,
    speed_mbps=0.0,
)

Use = Callable[[CacheManager], object]

WRITES: dict[str, Use] = {
    "set": lambda m: m.service.set("seen:x", 1, 60),
    "set_nx": lambda m: m.service.set_nx("seen:new", 1, 60),
    "mset": lambda m: m.service.mset({"seen:x": 1, "seen:y": 2}, 60),
    "increment": lambda m: m.service.increment("seen:n"),
    "increment_ttl": lambda m: m.service.increment("seen:n", ttl=60),
    "set_progress": lambda m: m.download.set_progress(PROGRESS),
    "bulk_set_progress": lambda m: m.download.bulk_set_progress([PROGRESS]),
    "apply": lambda m: m.download.apply([UPDATE]),
    "request_control": lambda m: m.download.request_control("job-1", "cancel", 1),
    "acquire": lambda m: m.lock("new").acquire(),
}

OTHERS: dict[str, Use] = {
    "get": lambda m: m.service.get("seen:x", int),
    "mget": lambda m: m.service.mget(["seen:x"], int),
    "delete": lambda m: m.service.delete("seen:x"),
    "exists": lambda m: m.service.exists("seen:x"),
    "expire": lambda m: m.service.expire("seen:x", 60),
    "ttl": lambda m: m.service.ttl("seen:x"),
    "delete_by_pattern": lambda m: m.service.delete_by_pattern("seen:*"),
    "increment_bytes": lambda m: m.download.increment_downloaded_bytes("job-1", 1),
    "set_speed": lambda m: m.download.set_download_speed("job-1", 1.0),
    "remove": lambda m: m.download.remove("job-1"),
    "invalidate_user": lambda m: m.download.invalidate_user_downloads("me"),
    "get_progress": lambda m: m.download.get_progress("job-1"),
    "get_many": lambda m: m.download.get_many(["job-1"]),
    "get_active": lambda m: m.download.get_active_downloads(),
    "dirty": lambda m: m.download.dirty(),
    "mark_persisted": lambda m: m.download.mark_persisted([("job-1", 1)], ["job-1"]),
    "cleanup": lambda m: m.download.cleanup_stale_progress(1),
    "extend": lambda m: m.lock("x").extend(),
    "release": lambda m: m.lock("x").release(),
    "which_locks_live": lambda m: m.which_locks_live(["job-1"]),
    "ping": lambda m: m.ping(),
    "stats": lambda m: m.stats(),
}

EVERY = {**WRITES, **OTHERS}


def redis_errors(manager: CacheManager, uses: dict[str, Use]) -> list[str]:
    """The methods that do not raise what they should."""
    wrong = []
    for name, use in uses.items():
        try:
            use(manager)
        except StoreUnavailableError:
            continue
        except Exception as error:
            wrong.append(f"{name}: {error!r}")
        else:
            wrong.append(f"{name}: no error")
    return wrong


def test_every_method_that_needs_the_store_is_listed() -> None:
    with CacheManager.connect(Settings()) as manager:
        for owner in (manager.service, manager.download):
            public = {name for name in dir(owner) if not name.startswith("_")}
            used = " ".join(code for use in EVERY.values() for code in use.__code__.co_names)
            assert public - set(used.split()) <= {"close", "keys"}


@pytest.mark.parametrize("retries", [0, 1])
def test_a_dead_store(private_store: StoreServer, retries: int) -> None:
    with cache_manager(private_store, retries=retries) as manager:
        manager.ping()
        private_store.kill()
        assert redis_errors(manager, EVERY) == []


def test_a_store_that_was_never_there(free_port: int, store: StoreServer) -> None:
    with cache_manager(store, cache_addr=f"127.0.0.1:{free_port}") as manager:
        assert redis_errors(manager, EVERY) == []


def test_a_host_that_does_not_exist(store: StoreServer) -> None:
    with cache_manager(store, cache_addr="no-such-host.invalid:6379") as manager:
        assert redis_errors(manager, {"get": EVERY["get"], "acquire": EVERY["acquire"]}) == []


def test_a_silent_store(private_store: StoreServer) -> None:
    with cache_manager(private_store, cache_timeout=0.03, cache_connect_timeout=0.03) as manager:
        manager.ping()
        private_store.pause()
        assert redis_errors(manager, EVERY) == []
        private_store.resume()


def test_a_store_that_is_back_is_used_again(private_store: StoreServer) -> None:
    with cache_manager(private_store) as manager:
        manager.service.set("seen:x", 1, 60)
        private_store.kill()
        with pytest.raises(StoreUnavailableError):
            manager.service.get("seen:x", int)
        private_store.start()
        assert manager.service.get("seen:x", int) is None
        assert manager.lock("x").acquire()


def test_a_full_store_refuses_writes_in_our_words(private_store: StoreServer) -> None:
    if private_store.kind != "redis":
        pytest.skip("the limit is set as Redis has it")
    with cache_manager(private_store) as manager:
        # Each script and connection is known from here on.
        for use in EVERY.values():
            use(manager)
        manager.download.set_progress(PROGRESS)
        manager.client.config_set("maxmemory", "1")
        assert redis_errors(manager, WRITES) == []
        assert manager.health_check().ok is False
        assert manager.download.get_progress("job-1") is not None


def test_a_store_that_cannot_save_refuses_writes_in_our_words(private_store: StoreServer) -> None:
    if private_store.kind != "redis":
        pytest.skip("Redis refuses writes after a failed snapshot")
    with cache_manager(private_store) as manager:
        for use in EVERY.values():
            use(manager)
        manager.client.config_set("save", "3600 1")
        manager.client.config_set("dbfilename", "no-such-snapshot")
        manager.client.config_set("dir", "/proc")
        manager.client.bgsave()
        wait_until(
            lambda: manager.client.info("persistence")["rdb_last_bgsave_status"] == "err",
            what="a failed snapshot",
        )
        assert redis_errors(manager, WRITES) == []
    private_store.kill()  # asked to end, it would insist on its snapshot


def test_a_wrong_command_stays_a_mistake_of_ours(store: StoreServer) -> None:
    with cache_manager(store) as manager:
        manager.client.lpush("seen:list", "x")
        with pytest.raises(Exception, match="WRONGTYPE") as caught:
            manager.service.get("seen:list", int)
        assert not isinstance(caught.value, StoreUnavailableError)
