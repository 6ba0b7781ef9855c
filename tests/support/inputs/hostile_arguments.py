"""Wrong arguments, and the methods of the cache that they are passed to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from cache import CacheManager, RateLimit, SessionData, SlotRequest, UserData
from cache.coordination.limit_models import Demand
from tests.support.build import progress, update


class Unprintable:
    """What has no repr, no truth and no length."""

    def __repr__(self) -> str:
        raise ValueError("no repr")

    def __bool__(self) -> bool:
        raise ValueError("no truth")

    __hash__ = None  # type: ignore[assignment]


#: No method of the cache takes any of these for a number, a text, a moment or a value of ours.
NOTHING: dict[str, Any] = {
    "an object": object(),
    "without a repr": Unprintable(),
    "bytes": b"abc",
    "complex": 1j,
    "a function": lambda: None,
    "a timedelta": timedelta.max,
}
NUMBERS: dict[str, Any] = {
    "True": True,
    "zero": 0,
    "negative": -1,
    "a fraction": 1.5,
    "nan": float("nan"),
    "inf": float("inf"),
    "-inf": float("-inf"),
    "2**53": 2**53,
    "2**63": 2**63,
    "2**70": 2**70,
    "-2**70": -(2**70),
    "10**5000": 10**5000,
    "1e300": 1e300,
}
TEXTS: dict[str, Any] = {
    "empty": "",
    "a surrogate": "\ud800",
    "with a surrogate": "a\udcffb",
    "NUL": "\0",
    "huge": "x" * 1_000_000,
    "huge beyond ASCII": "ß" * 1_000_000,
    "glob": "*",
    "colons": ":::",
    "line breaks": "\r\n*1\r\n$7\r\nFLUSHDB\r\n",
}
MOMENTS: dict[str, Any] = {
    "naive": datetime(2100, 1, 1),  # noqa: DTZ001
    "min": datetime.min,  # noqa: DTZ901
    "max": datetime.max,  # noqa: DTZ901
    "min of a zone": datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
    "max of a zone": datetime.max.replace(tzinfo=timezone(-timedelta(hours=12))),
}
ALL: dict[str, Any] = {"None": None, **NOTHING, **NUMBERS, **TEXTS, **MOMENTS}

SESSION = SessionData(
    session_id="s-1", user_id="ada", expires_at=datetime.now(UTC) + timedelta(hours=1)
)
USER = UserData(id="ada", email="ada@example.com")
LIMITS = [RateLimit(limit=5, window=60)]


@dataclass(frozen=True)
class Method:
    """One public method, and arguments with which it works."""

    of: Callable[[CacheManager], Callable[..., Any]]
    arguments: tuple[Any, ...] = ()
    named: tuple[tuple[str, Any], ...] = ()
    anything: frozenset[int | str] = frozenset()
    """Arguments for which every value is right."""
    absent: frozenset[int | str] = frozenset()
    """Ids from outside: one that no key can have is answered as one under which nothing is stored."""

    def places(self) -> list[int | str]:
        """Name the arguments, by number or name."""
        return [*range(len(self.arguments)), *(name for name, _ in self.named)]

    def call(self, manager: CacheManager, place: int | str | None = None, value: Any = None) -> Any:
        """Call it, with one argument replaced."""
        arguments = list(self.arguments)
        named = dict(self.named)
        if isinstance(place, int):
            arguments[place] = value
        elif place is not None:
            named[place] = value
        return self.of(manager)(*arguments, **named)


def _m(
    of: Callable[[CacheManager], Callable[..., Any]],
    *arguments: Any,
    anything: tuple[int | str, ...] = (),
    absent: tuple[int | str, ...] = (),
    **named: Any,
) -> Method:
    return Method(of, arguments, tuple(named.items()), frozenset(anything), frozenset(absent))


def _seven() -> int:
    return 7


def _of(part: str, name: str) -> Callable[[CacheManager], Callable[..., Any]]:
    return lambda manager: getattr(getattr(manager, part), name)


KEY_BUILDER: dict[str, Method] = {
    f"keys.{name}": _m(_of("keys", name), *arguments)
    for name, arguments in {
        "session_key": ("s-1",),
        "user_key": ("ada",),
        "user_sessions_key": ("ada",),
        "user_downloads_key": ("ada",),
        "catalog_dashboard_key": ("ada",),
        "catalog_discover_key": ("drama", "film", 1),
        "catalog_search_key": ("neon", "drama", "film"),
        "catalog_watch_later_key": ("ada",),
        "catalog_continue_watching_key": ("ada",),
        "recommendation_key": ("ada",),
        "catalog_title_key": ("t-1",),
        "download_job_key": ("job-1",),
        "demand_key": ("host:a",),
        "slots_key": ("downloads:a",),
        "cooldown_key": ("a",),
        "metrics_key": ("0a1b",),
        "beat_sent_key": ("download.purge",),
        "rate_limit_key": ("ada", "call"),
        "lock_key": ("download:job-1",),
        "download_lock_key": ("job-1",),
        "health_key": ("probe",),
        "redacted": ("seen:session:s-1",),
        "pattern": ("seen:*",),
    }.items()
}

SERVICE: dict[str, Method] = {
    "service.get": _m(lambda m: m.service.get, "seen:x", int, anything=(1,)),
    "service.mget": _m(lambda m: m.service.mget, ["seen:x"], int, anything=(1,)),
    "service.get_or_load": _m(
        lambda m: m.service.get_or_load,
        "seen:load",
        int,
        _seven,
        60,
        miss_ttl=1,
        stale_for=1,
        early=1,
        wait=1,
        load_timeout=1,
        jitter=0.1,
        anything=(1, 2),
    ),
    "service.set": _m(
        lambda m: m.service.set, "seen:x", 1, 60, model=int, jitter=0.1, anything=(1, "model")
    ),
    "service.set without a model": _m(lambda m: m.service.set, "seen:x", 1, 60, anything=(1,)),
    "service.mset": _m(
        lambda m: m.service.mset, {"seen:x": 1}, 60, model=int, jitter=0.1, anything=("model",)
    ),
    "service.set_nx": _m(
        lambda m: m.service.set_nx, "seen:new", 1, 60, model=int, anything=(1, "model")
    ),
    "service.delete": _m(lambda m: m.service.delete, "seen:x", "seen:y"),
    "service.delete_by_pattern": _m(lambda m: m.service.delete_by_pattern, "seen:x*"),
    "service.exists": _m(lambda m: m.service.exists, "seen:x"),
    "service.expire": _m(lambda m: m.service.expire, "seen:x", 60),
    "service.ttl": _m(lambda m: m.service.ttl, "seen:x"),
    "service.increment": _m(lambda m: m.service.increment, "seen:n", 1, ttl=60),
}

SESSIONS: dict[str, Method] = {
    "session.set_session": _m(lambda m: m.session.set_session, SESSION),
    "session.get_session": _m(lambda m: m.session.get_session, "s-1", absent=(0,)),
    "session.touch": _m(
        lambda m: m.session.touch, "s-1", expires_at=SESSION.expires_at, absent=(0,)
    ),
    "session.delete_session": _m(lambda m: m.session.delete_session, "s-1", absent=(0,)),
    "session.list_sessions": _m(lambda m: m.session.list_sessions, "ada", absent=(0,)),
    "session.invalidate_user_sessions": _m(
        lambda m: m.session.invalidate_user_sessions, "ada", keep="s-1", absent=(0,)
    ),
    "session.set_user": _m(lambda m: m.session.set_user, USER),
    "session.get_user": _m(lambda m: m.session.get_user, "ada", absent=(0,)),
    "session.invalidate_user": _m(lambda m: m.session.invalidate_user, "ada", absent=(0,)),
    "session.rate_limit_check": _m(
        lambda m: m.session.rate_limit_check, "ada", "call", 5, 60, cost=1, fail="open"
    ),
    "session.rate_limits_check": _m(
        lambda m: m.session.rate_limits_check, "ada", "call", LIMITS, cost=1, fail="open"
    ),
    "session.acquire_lock": _m(lambda m: m.session.acquire_lock, "x", 60),
    "session.extend_lock": _m(lambda m: m.session.extend_lock, "x", "token", 60),
    "session.release_lock": _m(lambda m: m.session.release_lock, "x", "token"),
    "session.lock": _m(lambda m: m.session.lock, "x", ttl=60, wait=1),
}


def _entry(m: CacheManager) -> Any:
    return m.catalog.dashboard("ada", int)


CATALOG: dict[str, Method] = {
    **{
        f"catalog.{name}": _m(_of("catalog", name), "ada", int, anything=(1,))
        for name in ("dashboard", "watch_later", "continue_watching", "recommendations")
    },
    **{
        f"catalog.get_{name}": _m(
            _of("catalog", f"get_{name}"), "ada", int, anything=(1,), absent=(0,)
        )
        for name in ("dashboard", "watch_later", "continue_watching", "recommendations")
    },
    **{
        f"catalog.set_{name}": _m(
            _of("catalog", f"set_{name}"),
            "ada",
            1,
            model=int,
            titles=["t-1"],
            jitter=0.1,
            anything=(1, "model"),
        )
        for name in ("dashboard", "watch_later", "continue_watching", "recommendations")
    },
    "catalog.get_discover": _m(
        lambda m: m.catalog.get_discover, "drama", "film", 1, int, anything=(3,), absent=(0, 1, 2)
    ),
    "catalog.set_discover": _m(
        lambda m: m.catalog.set_discover, "drama", "film", 1, 1, anything=(3,)
    ),
    "catalog.get_search": _m(
        lambda m: m.catalog.get_search, "neon", "a", "film", int, anything=(3,), absent=(0, 1, 2)
    ),
    "catalog.set_search": _m(
        lambda m: m.catalog.set_search, "neon", "drama", "film", 1, anything=(3,)
    ),
    "catalog.discover": _m(lambda m: m.catalog.discover, "drama", "film", 1, int, anything=(3,)),
    "catalog.search": _m(lambda m: m.catalog.search, "neon", "drama", "film", int, anything=(3,)),
    "catalog.invalidate_user_catalog": _m(
        lambda m: m.catalog.invalidate_user_catalog, "ada", absent=(0,)
    ),
    "catalog.invalidate_title": _m(lambda m: m.catalog.invalidate_title, "t-1", absent=(0,)),
    "entry.set": _m(lambda m: _entry(m).set, 1, titles=["t-1"], jitter=0.1, anything=(0,)),
    "entry.get_or_load": _m(
        lambda m: _entry(m).get_or_load, _seven, titles=None, wait=1, anything=(0, "titles")
    ),
}

DOWNLOADS: dict[str, Method] = {
    "download.set_progress": _m(lambda m: m.download.set_progress, progress()),
    "download.bulk_set_progress": _m(lambda m: m.download.bulk_set_progress, [progress()]),
    "download.apply": _m(lambda m: m.download.apply, [update()], [("job-1", 1)]),
    "download.increment_downloaded_bytes": _m(
        lambda m: m.download.increment_downloaded_bytes,
        "job-1",
        1,
        fence=1,
        sequence=2,
        absent=(0,),
    ),
    "download.set_download_speed": _m(
        lambda m: m.download.set_download_speed, "job-1", 1.0, fence=1, absent=(0,)
    ),
    "download.request_control": _m(lambda m: m.download.request_control, "job-1", "pause", 1),
    "download.request_control_many": _m(
        lambda m: m.download.request_control_many, "pause", [("job-1", 1)]
    ),
    "download.withdraw_control": _m(lambda m: m.download.withdraw_control, [("job-1", 1)]),
    "download.remove": _m(lambda m: m.download.remove, "job-1", absent=(0,)),
    "download.invalidate_user_downloads": _m(
        lambda m: m.download.invalidate_user_downloads, "ada", absent=(0,)
    ),
    "download.get_progress": _m(lambda m: m.download.get_progress, "job-1", absent=(0,)),
    "download.get_many": _m(lambda m: m.download.get_many, ["job-1"]),
    "download.get_active_downloads": _m(lambda m: m.download.get_active_downloads, 10),
    "download.active_updates": _m(lambda m: m.download.active_updates, 10),
    "download.page_active_downloads": _m(
        lambda m: m.download.page_active_downloads, after="job-1", limit=10
    ),
    "download.get_user_downloads": _m(
        lambda m: m.download.get_user_downloads, "ada", 10, absent=(0,)
    ),
    "download.mark_persisted": _m(lambda m: m.download.mark_persisted, [("job-1", 1)], ["job-1"]),
    "download.cleanup_stale_progress": _m(lambda m: m.download.cleanup_stale_progress, 60),
}

TRANSFERS: dict[str, Method] = {
    "limits.take_slots": _m(lambda m: m.limits.take_slots, "downloads:a", "job-1", 1, 2, 60),
    "limits.renew_slots": _m(lambda m: m.limits.renew_slots, [("downloads:a", "job-1")], 60),
    "limits.release_slots": _m(lambda m: m.limits.release_slots, [("downloads:a", "job-1")]),
    "limits.slots": _m(lambda m: m.limits.slots, "downloads:a"),
    "limits.start_cooldown": _m(lambda m: m.limits.start_cooldown, "a", 1, "busy"),
    "limits.cooldown": _m(lambda m: m.limits.cooldown, "a"),
    "limits.end_cooldown": _m(lambda m: m.limits.end_cooldown, "a"),
    "limits.acquire_slots": _m(
        lambda m: m.limits.acquire_slots,
        "a",
        "job-1",
        [SlotRequest("downloads:a", 1, 2)],
        60,
        rank=1,
    ),
    "limits.keep_place": _m(lambda m: m.limits.keep_place, "downloads:a", "job-1", 60),
    "limits.set_rates": _m(lambda m: m.limits.set_rates, {"host:a": 10_000}),
    "limits.set_most_downloads": _m(lambda m: m.limits.set_most_downloads, 3),
    "limits.share_demands": _m(lambda m: m.limits.share_demands, "worker", {"total": Demand()}, 3),
    "limits.demands": _m(lambda m: m.limits.demands, ["total"]),
}

OTHERS: dict[str, Method] = {
    "download_lock": _m(lambda m: m.download_lock, "job-1"),
    "lock": _m(lambda m: m.lock, "x", ttl=60),
    "held_download_locks": _m(lambda m: m.held_download_locks, ["job-1"]),
    "invalidate_user": _m(lambda m: m.invalidate_user, "ada", absent=(0,)),
    "delete_keys_by_pattern": _m(lambda m: m.delete_keys_by_pattern, "seen:x*"),
    "run_maintenance": _m(lambda m: m.run_maintenance, stale_after=60),
    "stats": _m(lambda m: m.stats, scan_limit=10),
    "beat.tick": _m(lambda m: m.beat.tick, "host:1"),
    "beat.claim": _m(lambda m: m.beat.claim, "download.purge", "host:1", 60.0),
    "beat.release": _m(lambda m: m.beat.release, "download.purge"),
}

METHODS: dict[str, Method] = {
    **KEY_BUILDER,
    **SERVICE,
    **SESSIONS,
    **CATALOG,
    **DOWNLOADS,
    **TRANSFERS,
    **OTHERS,
}
