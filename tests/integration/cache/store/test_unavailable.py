"""A store that is dead, silent, full, read-only or back again: what every public method makes of it.

Four kinds of methods, see docs/cache.md: reads of what is kept elsewhere, too, are misses; writes of
it are dropped and counted; rate limits do as they are told; everything else raises
StoreUnavailableError.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import redis

from cache import CacheManager, DownloadProgress, RateLimit, SessionData, UserData
from cache.coordination.limit_models import Demand
from cache.models import WorkerHeartbeat
from cache.store import circuit_breaker
from domain.errors import StoreUnavailableError
from domain.job import JobStatus
from settings import Settings
from tests.support.build import Connect, progress_update
from tests.support.stores.least_rights import PASSWORD, USER_NAME, grant_least_rights
from tests.support.stores.refusal_texts import TEXTS, Text
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

S = JobStatus
WORKER = WorkerHeartbeat(name="downloads-1@here", process="a")
PROGRESS = DownloadProgress(job_id="job-1", status=S.DOWNLOADING)
UPDATE = progress_update(
    job_id="job-1",
    fence=1,
    sequence=1,
    status=S.DOWNLOADING,
    increment=1,
    bytes_downloaded=1,
    bytes_durable=0,
    bytes_total=None,
)
SESSION = SessionData(
    session_id="s-1", user_id="ada", expires_at=datetime.now(UTC) + timedelta(hours=1)
)
USER = UserData(id="ada", email="ada@example.com")
TWO_LIMITS = [RateLimit(limit=1000, window=60), RateLimit(limit=5000, window=3600)]

Use = Callable[[CacheManager], object]


def _hold(manager: CacheManager) -> None:
    with manager.session.lock("held"):
        pass


#: Reads of what is kept elsewhere, too: without a store they say "nothing there", as given here.
MISSES: dict[str, tuple[Use, object]] = {
    "get": (lambda m: m.service.get("seen:x", int), None),
    "mget": (lambda m: m.service.mget(["seen:x"], int), {}),
    "exists": (lambda m: m.service.exists("seen:x"), False),
    "ttl": (lambda m: m.service.ttl("seen:x"), None),
    "get_or_load": (lambda m: m.service.get_or_load("seen:load", int, lambda: 7, 60), 7),
    "get_session": (lambda m: m.session.get_session("s-1"), None),
    "get_user": (lambda m: m.session.get_user("ada"), None),
    "entry.get": (lambda m: m.catalog.dashboard("ada", int).get(), None),
    "entry.get_or_load": (lambda m: m.catalog.dashboard("ada", int).get_or_load(lambda: 8), 8),
}

#: Writes of it: without a store they are dropped, say False, and are counted.
DROPS: dict[str, Use] = {
    "set": lambda m: m.service.set("seen:x", 1, 60),
    "mset": lambda m: m.service.mset({"seen:x": 1}, 60),
    "set_session": lambda m: m.session.set_session(SESSION),
    "set_user": lambda m: m.session.set_user(USER),
    "entry.set": lambda m: m.catalog.dashboard("ada", int).set(1, titles=["t-1"]),
}

#: Like these, but a full store takes them.
DROPS_OF_LIFE: dict[str, Use] = {"expire": lambda m: m.service.expire("seen:x", 60)}

#: What adds something, and whose caller must know whether it did.
RAISING_WRITES: dict[str, Use] = {
    "set_nx": lambda m: m.service.set_nx("seen:new", 1, 60),
    "increment": lambda m: m.service.increment("seen:n"),
    "increment_ttl": lambda m: m.service.increment("seen:n", ttl=60),
    "acquire_lock": lambda m: m.session.acquire_lock("new"),
    "set_progress": lambda m: m.download.set_progress(PROGRESS),
    "bulk_set_progress": lambda m: m.download.bulk_set_progress([PROGRESS]),
    "apply": lambda m: m.download.apply([UPDATE]),
    "request_control": lambda m: m.download.request_control("job-1", "cancel", 1),
    "request_control_many": lambda m: m.download.request_control_many("leave", [("job-1", 1)]),
    "seconds_without_loss": lambda m: m.data_loss.seconds_without_loss(),
    "acquire": lambda m: m.lock("new").acquire(),
    "record_worker": lambda m: m.workers.record(WORKER),
    "tick": lambda m: m.beat.tick("host:1"),
    "claim": lambda m: m.beat.claim("new", "host:1", 60),
}

#: What removes or decides something, or reads what is kept nowhere else.
RAISING: dict[str, Use] = {
    "withdraw_control": lambda m: m.download.withdraw_control([("job-1", 1)]),
    "delete": lambda m: m.service.delete("seen:x"),
    "delete_by_pattern": lambda m: m.service.delete_by_pattern("seen:x*"),
    "delete_keys_by_pattern": lambda m: m.delete_keys_by_pattern("seen:x*"),
    "touch": lambda m: m.session.touch("s-1"),
    "delete_session": lambda m: m.session.delete_session("s-1"),
    "list_sessions": lambda m: m.session.list_sessions("ada"),
    "invalidate_user_sessions": lambda m: m.session.invalidate_user_sessions("ada"),
    "invalidate_user": lambda m: m.session.invalidate_user("ada"),
    "extend_lock": lambda m: m.session.extend_lock("x", "token"),
    "release_lock": lambda m: m.session.release_lock("x", "token"),
    "lock": lambda m: _hold(m),
    "entry.delete": lambda m: m.catalog.dashboard("ada", int).delete(),
    "invalidate_user_catalog": lambda m: m.catalog.invalidate_user_catalog("ada"),
    "invalidate_title": lambda m: m.catalog.invalidate_title("t-1"),
    "increment_downloaded_bytes": lambda m: m.download.increment_downloaded_bytes("job-1", 1),
    "set_download_speed": lambda m: m.download.set_download_speed("job-1", 1.0),
    "remove": lambda m: m.download.remove("job-1"),
    "invalidate_user_downloads": lambda m: m.download.invalidate_user_downloads("me"),
    "get_progress": lambda m: m.download.get_progress("job-1"),
    "get_many": lambda m: m.download.get_many(["job-1"]),
    "get_active_downloads": lambda m: m.download.get_active_downloads(),
    "page_active_downloads": lambda m: m.download.page_active_downloads(),
    "get_user_downloads": lambda m: m.download.get_user_downloads("ada"),
    "totals": lambda m: m.download.totals(),
    "dirty": lambda m: m.download.dirty(),
    "mark_persisted": lambda m: m.download.mark_persisted([("job-1", 1)], ["job-1"]),
    "cleanup_stale_progress": lambda m: m.download.cleanup_stale_progress(1),
    "extend": lambda m: m.lock("x").extend(),
    "release": lambda m: m.lock("x").release(),
    "held_download_locks": lambda m: m.held_download_locks(["job-1"]),
    "keys_of_wrong_type": lambda m: m.keys_of_wrong_type(),
    "ping": lambda m: m.ping(),
    "stats": lambda m: m.stats(),
    "all_of_a_user": lambda m: m.invalidate_user("ada"),
    "run_maintenance": lambda m: m.run_maintenance(),
    "take_slots": lambda m: m.limits.take_slots("downloads:a", "job-1", 1, 2, 60),
    "renew_slots": lambda m: m.limits.renew_slots([("downloads:a", "job-1")], 60),
    "release_slots": lambda m: m.limits.release_slots([("downloads:a", "job-1")]),
    "slots": lambda m: m.limits.slots("downloads:a"),
    "acquire_slots": lambda m: m.limits.acquire_slots("a", "job-1", [], 60),
    "start_cooldown": lambda m: m.limits.start_cooldown("a", 1, "busy"),
    "cooldown": lambda m: m.limits.cooldown("a"),
    "end_cooldown": lambda m: m.limits.end_cooldown("a"),
    "set_rates": lambda m: m.limits.set_rates({"total": 10_000}),
    "rates": lambda m: m.limits.rates(),
    "share_demands": lambda m: m.limits.share_demands("worker", {"total": Demand()}),
    "demands": lambda m: m.limits.demands(["total"]),
    "remove_worker": lambda m: m.workers.remove(WORKER),
    "running_workers": lambda m: m.workers.running(),
    "release_claim": lambda m: m.beat.release("a"),
    "status": lambda m: m.beat.status(),
}

#: Some of those that are scripts, of each part of the cache.
IN_SCRIPTS: dict[str, Use] = {
    name: {**RAISING_WRITES, **RAISING}[name]
    for name in ("set_progress", "apply", "take_slots", "extend", "request_control")
}

LIMITS: dict[str, Use] = {
    "rate_limit_check": lambda m: m.session.rate_limit_check("ada", "call", 1000),
    "rate_limits_check": lambda m: m.session.rate_limits_check("ada", "calls", TWO_LIMITS),
}

EVERY: dict[str, Use] = {
    **{name: use for name, (use, _) in MISSES.items()},
    **DROPS,
    **DROPS_OF_LIFE,
    **RAISING_WRITES,
    **RAISING,
    **LIMITS,
    "health_check": lambda m: m.health_check(),
}

#: Needs no store.
LOCAL = {
    "close", "keys", "counts", "store", "client", "connect", "connect_async", "aclose", "discover",
    "search", "watch_later", "continue_watching", "recommendations", "service", "session", "catalog",
    "download", "download_lock", "key", "model", "limits", "data_loss", "beat",
    "workers",
}  # fmt: skip


def wrongs(manager: CacheManager) -> list[str]:
    """Call everything; the methods that do something else than the document says."""
    found = []
    for name, (use, nothing) in MISSES.items():
        if (answer := _outcome(use, manager)) != nothing:
            found.append(f"{name}: {answer!r}")
    for name, use in {**DROPS, **DROPS_OF_LIFE}.items():
        dropped = manager.counts().dropped_writes
        answer = _outcome(use, manager)
        if answer is not False or manager.counts().dropped_writes == dropped:
            found.append(f"{name}: {answer!r}")
    found += not_raised(manager, {**RAISING_WRITES, **RAISING})
    open_, closed = (
        manager.session.rate_limit_check("ada", "call", 5, fail=fail) for fail in ("open", "closed")
    )
    if not open_.allowed or open_.states or closed.allowed or not closed.retry_after > 0:
        found.append(f"rate_limit_check: {open_!r} {closed!r}")
    if manager.health_check().ok:
        found.append("health_check: ok")
    return found


def not_raised(manager: CacheManager, uses: dict[str, Use]) -> list[str]:
    """The methods that do not raise what they should."""
    answers = {name: _outcome(use, manager) for name, use in uses.items()}
    return [
        f"{name}: {answer!r}"
        for name, answer in answers.items()
        if not isinstance(answer, StoreUnavailableError)
    ]


def _outcome(use: Use, manager: CacheManager) -> object:
    try:
        return use(manager)
    except Exception as error:
        return error


def test_every_public_method_is_listed() -> None:
    codes = [use.__code__ for use in EVERY.values()] + [_hold.__code__]
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


def test_without_an_ailment_nothing_is_missed_dropped_or_raised(
    store: StoreServer, connect: Connect
) -> None:
    with connect(store) as manager:
        outcomes = {name: _outcome(use, manager) for name, use in EVERY.items()}
    assert {n: o for n, o in outcomes.items() if isinstance(o, Exception)} == {}
    assert {name: outcomes[name] for name in {**DROPS, **DROPS_OF_LIFE}} == dict.fromkeys(
        {**DROPS, **DROPS_OF_LIFE}, True
    )


@pytest.mark.parametrize("retries", [0, 1])
def test_a_dead_store(private_store: StoreServer, retries: int, connect: Connect) -> None:
    with connect(private_store, retries=retries) as manager:
        manager.ping()
        manager.service.set("seen:x", 1, 60)
        private_store.kill()
        assert wrongs(manager) == []


def test_a_store_that_was_never_there(free_port: int, store: StoreServer, connect: Connect) -> None:
    with connect(store, cache_addr=f"127.0.0.1:{free_port}") as manager:
        assert wrongs(manager) == []


def test_a_host_that_does_not_exist(store: StoreServer, connect: Connect) -> None:
    with connect(store, cache_addr="no-such-host.invalid:6379") as manager:
        assert manager.service.get("seen:x", int) is None
        with pytest.raises(StoreUnavailableError):
            manager.lock("new").acquire()


def test_a_missing_database_number_is_reported_in_words(
    store: StoreServer, connect: Connect
) -> None:
    with connect(store, cache_db=99) as manager:
        assert wrongs(manager) == []
        with pytest.raises(StoreUnavailableError, match="Set SEEN_CACHE_DB"):
            manager.lock("new").acquire()


def test_a_silent_store(private_store: StoreServer, connect: Connect) -> None:
    with connect(private_store, cache_timeout=0.03, cache_connect_timeout=0.03) as manager:
        manager.ping()
        manager.service.set("seen:x", 1, 60)
        private_store.pause()
        assert wrongs(manager) == []
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
        refusals_are_told(manager)
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
        refusals_are_told(manager)
    private_store.kill()  # asked to end, it would insist on its snapshot


def test_a_read_only_replica_refuses_what_adds(
    private_store: StoreServer, master: StoreServer, connect: Connect
) -> None:
    with connect(private_store) as manager:
        for use in EVERY.values():
            use(manager)
        manager.service.set("seen:there", 1, 60)
        private_store.demote(master)
        refusals_are_told(manager)
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
            outcomes = {name: _outcome(use, manager) for name, use in EVERY.items()}
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
    with connect(stand_in) as manager:
        for use in EVERY.values():
            use(manager)  # each script and connection is known from here on
        if "script" in text.server:
            stand_in.refuse(text.said, commands=("EVAL", "EVALSHA"))
            outcomes = {name: _outcome(use, manager) for name, use in EVERY.items()}
            assert {n: o for n, o in outcomes.items() if isinstance(o, redis.RedisError)} == {}
            assert not_raised(manager, IN_SCRIPTS) == []
        else:
            stand_in.refuse(text.said)
            assert wrongs(manager) == []


def refusals_are_told(manager: CacheManager) -> None:
    """Everything that adds is dropped and counted, or raises; a rate limit does as it is told."""
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
        asked = 0
        # For the length of a pause nobody waits: thousands of calls take less than one budget each.
        while time.monotonic() < before + circuit_breaker.OPEN_SECONDS / 2:
            assert manager.service.get("seen:x", int) is None
            asked += 1
        assert asked > 2 * (circuit_breaker.OPEN_SECONDS / 2) / budget
        with pytest.raises(StoreUnavailableError, match="next attempt is in"):
            manager.session.acquire_lock("x")
        private_store.resume()
        wait_until(lambda: manager.service.set("seen:x", 1, 60), what="a probe that succeeds")
        assert manager.service.get("seen:x", int) == 1


def test_patient_callers_still_ask_a_store_that_counts_as_down(
    private_store: StoreServer, connect: Connect
) -> None:
    with connect(private_store) as manager:
        private_store.kill()
        for _ in range(circuit_breaker.FAILURE_THRESHOLD):
            manager.service.get("seen:x", int)
        private_store.start()
        # At once, without the pause of the breaker: a lease must use every chance to be renewed.
        assert manager.lock("x").acquire()
