"""Statistics of the server, in the same form from Dragonfly, Redis and Valkey."""

from __future__ import annotations

from typing import Literal

from cache.keys import KeyBuilder
from cache.models import CacheStats
from cache.store.flow import Batch, Flow

SECTIONS = ("server", "clients", "memory", "stats", "keyspace")
#: Default number of keys that are scanned to count families.
SCAN_LIMIT = 10_000
_STEP = 1000


def read_stats(keys: KeyBuilder, scan_limit: int) -> Flow[CacheStats]:
    """Read the server's statistics, and scan about `scan_limit` keys to count families."""
    replies = yield Batch(*(("INFO", section) for section in SECTIONS), ("DBSIZE",))
    info = parse_info(b"\n".join(replies[:-1]))
    families, scanned, scanned_all = yield from _families(keys, scan_limit)
    hits, misses = _number(info, "keyspace_hits"), _number(info, "keyspace_misses")
    return CacheStats(
        server=_server(info),
        version=_version(info),
        db_size=replies[-1],
        used_memory=_number(info, "used_memory"),
        max_memory=_number(info, "maxmemory"),
        # Not with CONFIG GET: Dragonfly returns nothing, and managed servers refuse it.
        eviction_policy=info.get("maxmemory_policy"),
        hits=hits,
        misses=misses,
        hit_ratio=hits / (hits + misses) if hits + misses else None,
        evicted_keys=_number(info, "evicted_keys"),
        expired_keys=_number(info, "expired_keys"),
        connected_clients=_number(info, "connected_clients"),
        uptime_seconds=_number(info, "uptime_in_seconds"),
        keyspace=_keyspace(info),
        families=families,
        scanned=scanned,
        scanned_all=scanned_all,
    )


def describe(stats: CacheStats) -> str:
    """Return the most important statistics as one log line."""
    limit = f" of {stats.max_memory / 2**20:,.0f}" if stats.max_memory else ""
    ratio = "-" if stats.hit_ratio is None else f"{stats.hit_ratio:.1%}"
    families = ", ".join(f"{name} {count:,}" for name, count in stats.families.items())
    return (
        f"{stats.server} {stats.version}, {stats.db_size:,} keys ({families}"
        f"{'' if stats.scanned_all else f'; of {stats.scanned:,} scanned'}), "
        f"{stats.used_memory / 2**20:,.0f}{limit} MiB, hit ratio {ratio}, "
        f"{stats.evicted_keys:,} evicted, {stats.connected_clients:,} clients"
    )


def _families(keys: KeyBuilder, limit: int) -> Flow[tuple[dict[str, int], int, bool]]:
    """Count the keys of the namespace by family, among the first `limit` keys of the database."""
    prefix = f"{keys.namespace}:".encode()
    families: dict[str, int] = {}
    cursor, seen, scanned_all = b"0", set[bytes](), False
    while len(seen) < limit and not scanned_all:
        (step,) = yield Batch(("SCAN", cursor, "COUNT", min(_STEP, limit)))
        cursor, found = step
        seen.update(found)  # SCAN may return a key twice
        scanned_all = cursor == b"0"
    for key in seen:
        if key.startswith(prefix):
            family = key[len(prefix) :].partition(b":")[0].decode(errors="replace")
            families[family] = families.get(family, 0) + 1
    return dict(sorted(families.items())), len(seen), scanned_all


def parse_info(raw: bytes) -> dict[str, str]:
    """Return the fields of a reply to INFO by name."""
    text = raw.decode(errors="replace")
    lines = (line.strip().partition(":") for line in text.splitlines())
    return {name: value for name, colon, value in lines if colon and not name.startswith("#")}


def _number(info: dict[str, str], name: str) -> int:
    """Return a number of INFO; 0 if this server does not have it."""
    text = info.get(name, "")
    return int(text) if text.isdecimal() else 0


def _keyspace(info: dict[str, str]) -> dict[str, int]:
    """Return the number of keys by database, from lines such as ``db0:keys=3,expires=1``."""
    found = {}
    for name, value in info.items():
        first = value.partition(",")[0]
        if name.startswith("db") and name[2:].isdecimal() and first.startswith("keys="):
            found[name] = int(first.removeprefix("keys="))
    return found


def _server(info: dict[str, str]) -> Literal["dragonfly", "redis", "valkey"]:
    if "dragonfly_version" in info:
        return "dragonfly"
    return "valkey" if info.get("server_name") == "valkey" or "valkey_version" in info else "redis"


def _version(info: dict[str, str]) -> str:
    raw = info.get("dragonfly_version") or info.get("valkey_version") or info.get("redis_version")
    return str(raw or "unknown").removeprefix("df-").removeprefix("v")
