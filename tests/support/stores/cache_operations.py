"""Every public method of the cache, by what it does without a store."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from cache import CacheManager, DownloadProgress, RateLimit, SessionData, UserData
from cache.coordination.limit_models import Demand
from cache.coordination.process_metrics import MetricsReport
from cache.models import WorkerHeartbeat
from domain.errors import StoreUnavailableError
from domain.job import JobStatus
from tests.support.build import progress_update

S = JobStatus
METRICS = MetricsReport("a", 1, {"series": 1.0}, {}, "[]")
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


def hold(manager: CacheManager) -> None:
    """Enter and leave a lock's block."""
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
    "get_dashboard": (lambda m: m.catalog.get_dashboard("ada", int), None),
    "get_discover": (lambda m: m.catalog.get_discover("", "", 1, int), None),
    "get_search": (lambda m: m.catalog.get_search("neon", "", "", int), None),
    "get_watch_later": (lambda m: m.catalog.get_watch_later("ada", int), None),
    "get_continue_watching": (lambda m: m.catalog.get_continue_watching("ada", int), None),
    "get_recommendations": (lambda m: m.catalog.get_recommendations("ada", int), None),
    "entry.get": (lambda m: m.catalog.dashboard("ada", int).get(), None),
    "entry.get_or_load": (lambda m: m.catalog.dashboard("ada", int).get_or_load(lambda: 8), 8),
}

#: Writes of it: without a store they are dropped, say False, and are counted.
DROPS: dict[str, Use] = {
    "set": lambda m: m.service.set("seen:x", 1, 60),
    "mset": lambda m: m.service.mset({"seen:x": 1}, 60),
    "set_session": lambda m: m.session.set_session(SESSION),
    "set_user": lambda m: m.session.set_user(USER),
    "set_dashboard": lambda m: m.catalog.set_dashboard("ada", 1),
    "set_discover": lambda m: m.catalog.set_discover("", "", 1, 1),
    "set_search": lambda m: m.catalog.set_search("neon", "", "", 1),
    "set_watch_later": lambda m: m.catalog.set_watch_later("ada", 1),
    "set_continue_watching": lambda m: m.catalog.set_continue_watching("ada", 1),
    "set_recommendations": lambda m: m.catalog.set_recommendations("ada", 1),
    "entry.set": lambda m: m.catalog.dashboard("ada", int).set(1, titles=["t-1"]),
}

#: Writes of a TTL: dropped like these, but a full store accepts them.
DROPPED_TTLS: dict[str, Use] = {"expire": lambda m: m.service.expire("seen:x", 60)}

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
    "add_metrics": lambda m: m.metrics.add("id", METRICS),
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
    "lock": lambda m: hold(m),
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
    "active_updates": lambda m: m.download.active_updates(),
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
    "keep_place": lambda m: m.limits.keep_place("downloads:a", "job-1", 60),
    "start_cooldown": lambda m: m.limits.start_cooldown("a", 1, "busy"),
    "cooldown": lambda m: m.limits.cooldown("a"),
    "end_cooldown": lambda m: m.limits.end_cooldown("a"),
    "set_rates": lambda m: m.limits.set_rates({"total": 10_000}),
    "set_most_downloads": lambda m: m.limits.set_most_downloads(3),
    "most_downloads": lambda m: m.limits.most_downloads(),
    "rates": lambda m: m.limits.rates(),
    "share_demands": lambda m: m.limits.share_demands("worker", {"total": Demand()}),
    "demands": lambda m: m.limits.demands(["total"]),
    "remove_worker": lambda m: m.workers.remove(WORKER),
    "running_workers": lambda m: m.workers.running(),
    "metrics_server": lambda m: m.metrics.server(),
    "read_metrics": lambda m: m.metrics.read(),
    "remove_metrics": lambda m: m.metrics.remove("id", "a"),
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
    **DROPPED_TTLS,
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
    "workers", "metrics",
}  # fmt: skip


def wrong_outcomes(manager: CacheManager) -> list[str]:
    """Call every method without a store; return those that do not do what docs/cache.md says."""
    found = []
    for name, (use, nothing) in MISSES.items():
        if (answer := outcome(use, manager)) != nothing:
            found.append(f"{name}: {answer!r}")
    for name, use in {**DROPS, **DROPPED_TTLS}.items():
        dropped = manager.counts().dropped_writes
        answer = outcome(use, manager)
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
    """The methods that do not raise StoreUnavailableError, with what they do instead."""
    answers = {name: outcome(use, manager) for name, use in uses.items()}
    return [
        f"{name}: {answer!r}"
        for name, answer in answers.items()
        if not isinstance(answer, StoreUnavailableError)
    ]


def outcome(use: Use, manager: CacheManager) -> object:
    """What a call returns, or the error that it raises."""
    try:
        return use(manager)
    except Exception as error:
        return error
