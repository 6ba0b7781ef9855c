"""Checks of the store: answers, writes, memory, clock and keys."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from cache import CacheManager
from cache.models import CacheStats
from cache.store.connection import translate_store_errors
from cli.diagnostics.findings import Finding, ok, problem, warning
from cli.local_stack import environment
from cli.output import formatting
from domain.errors import StoreRefusesError, StoreUnavailableError
from domain.remedies import parts

if TYPE_CHECKING:
    from settings import Settings

#: Dragonfly does not start with less memory for each of its threads.
_PER_THREAD = 256 * 2**20
_SKEW = 1.0
_WITHOUT_INFO = (
    "Allow INFO (ACL: +info). Without it the store is treated as Redis or Valkey, its eviction policy "
    "is unknown, and jobs of killed workers are requeued only after SEEN_ORPHAN_AFTER, because a "
    "restart of the store is not noticed."
)
#: How to disable eviction, where it is not by `maxmemory-policy`.
_NO_EVICTION = {"dragonfly": "Start Dragonfly without --cache_mode"}


def examine(settings: Settings) -> Iterator[Finding]:
    """Yield the findings; the first one says whether the store answers."""
    with CacheManager.connect(settings, retries=0) as cache:
        try:
            milliseconds = cache.ping()
        except StoreRefusesError as error:
            yield _refused("store", error)
            return
        except StoreUnavailableError as error:
            yield _away(settings, error)
            return
        where = f"at {settings.cache_addr}, {milliseconds:.1f} ms"
        looks: dict[str, Callable[[], Finding]] = {
            "store round trip": lambda: _round_trip(cache),
            "store clock": lambda: _clock(cache),
            "store keys": lambda: _keys(cache, settings),
        }
        try:
            stats = cache.stats(scan_limit=0)  # no check here needs the counts of keys
        except StoreRefusesError as error:
            yield ok("store", f"answers {where}")
            yield warning("store figures", f"INFO is refused: {error.words}", _WITHOUT_INFO)
        else:
            yield ok("store", f"{stats.server} {stats.version} {where}")
            looks["store memory"] = lambda: _eviction(stats)
            if stats.server == "dragonfly":
                looks["dragonfly memory"] = lambda: _threads(cache, stats.max_memory)
        for what, look in looks.items():
            try:
                yield look()
            except StoreRefusesError as error:
                yield _refused(what, error)
            except StoreUnavailableError as error:
                yield problem(what, str(error), "The store became unavailable during the check.")


def _refused(what: str, error: StoreRefusesError) -> Finding:
    return problem(what, f"it refuses: {error.words}", parts.of_store(error))


def _away(settings: Settings, error: StoreUnavailableError) -> Finding:
    if environment.has_store(settings):
        return problem("store", str(error), parts.of_store(error))
    return warning(
        "store",
        "none is configured or running",
        "`seen get` starts one when needed, `seen up` keeps one running. "
        "For another store, set SEEN_CACHE_ADDR.",
    )


def _round_trip(cache: CacheManager) -> Finding:
    health = cache.health_check()
    if not health.ok:
        return problem("store round trip", str(health.error), "See the store's log and memory.")
    times = f"written {health.write_ms} ms, read {health.read_ms} ms, deleted {health.delete_ms} ms"
    return ok("store round trip", times)


def _eviction(stats: CacheStats) -> Finding:
    limit = formatting.size(stats.max_memory) if stats.max_memory else "no limit"
    if stats.eviction_policy is None:
        return ok(
            "store memory", f"limit {limit}; eviction policy unknown (INFO does not contain it)"
        )
    if stats.eviction_policy == "noeviction":
        return ok("store memory", f"limit {limit}, policy noeviction")
    return problem(
        "store memory",
        f"limit {limit}, eviction policy {stats.eviction_policy}: it may delete queued messages",
        _NO_EVICTION.get(stats.server, "Set maxmemory-policy to noeviction")
        + " on the server with the queues.",
    )


def _clock(cache: CacheManager) -> Finding:
    with translate_store_errors():
        before = time.time()
        seconds, microseconds = cache.client.time()
        here = (before + time.time()) / 2
    skew = seconds + microseconds / 1e6 - here
    if abs(skew) > _SKEW:
        return warning(
            "store clock",
            f"{abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} this machine",
            "Synchronise both with NTP: ages of progress are measured by the store's clock.",
        )
    return ok("store clock", f"{abs(skew) * 1000:.0f} ms off this machine's")


def _keys(cache: CacheManager, settings: Settings) -> Finding:
    foreign = cache.keys_of_wrong_type()
    if not foreign:
        return ok("store keys", "have the expected types")
    held = ", ".join(f"{key} (a {kind})" for key, kind in foreign.items())
    return problem(
        "store keys",
        f"another program wrote {held}; features that use them fail",
        f"Find that program, then: redis-cli -n {settings.cache_db} DEL {' '.join(foreign)}.",
    )


def _threads(cache: CacheManager, max_memory: int) -> Finding:
    with translate_store_errors():
        info: dict[str, Any] = cache.client.info("server")
    threads = int(info.get("thread_count", 0) or 0)
    if not threads or not max_memory:
        return ok("dragonfly memory", "threads or limit unknown")
    if max_memory < threads * _PER_THREAD:
        return warning(
            "dragonfly memory",
            f"{formatting.size(max_memory)} for {threads} threads",
            f"Set --maxmemory to at least {formatting.size(threads * _PER_THREAD)}, or lower "
            "--proactor_threads.",
        )
    return ok("dragonfly memory", f"{formatting.size(max_memory)} for {threads} threads")
