"""INFO as Dragonfly, Redis and Valkey write it is read alike, and families are counted truly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from cache import CacheStats, KeyBuilder
from cache.stats import SECTIONS, describe, read_stats
from cache.store.flow import Batch

#: In the form in which each server answers INFO with each of the sections that are asked for.
DRAGONFLY = {
    "server": "# Server\r\nredis_version:7.4.0\r\ndragonfly_version:df-v1.27.1\r\n"
    "redis_mode:standalone\r\narch_bits:64\r\nos:Linux 6.8.0 x86_64\r\nthread_count:4\r\n"
    "multiplexing_api:iouring\r\ntcp_port:6379\r\nuptime_in_seconds:93\r\nuptime_in_days:0\r\n",
    "clients": "# Clients\r\nconnected_clients:7\r\nmax_clients:64000\r\n"
    "client_read_buffer_bytes:1280\r\nblocked_clients:1\r\npipeline_queue_length:0\r\n",
    "memory": "# Memory\r\nused_memory:4821336\r\nused_memory_human:4.60MiB\r\n"
    "used_memory_peak:5021336\r\nmaxmemory:536870912\r\nmaxmemory_human:512.00MiB\r\ncache_mode:store\r\n"
    "maxmemory_policy:noeviction\r\n",
    "stats": "# Stats\r\ntotal_connections_received:12\r\ntotal_commands_processed:801\r\n"
    "instantaneous_ops_per_sec:-1\r\nexpired_keys:4\r\nevicted_keys:2\r\nkeyspace_hits:300\r\n"
    "keyspace_misses:100\r\n",
    "keyspace": "# Keyspace\r\ndb0:keys=12,expires=10,avg_ttl=-1\r\ndb3:keys=1,expires=0,avg_ttl=-1\r\n",
}
REDIS = {
    "server": "# Server\r\nredis_version:6.2.14\r\nredis_git_sha1:40305114\r\nredis_mode:standalone\r\n"
    "os:Linux 6.1 x86_64\r\nexecutable:/usr/bin/redis-server\r\nuptime_in_seconds:93\r\n",
    "clients": "# Clients\r\nconnected_clients:7\r\ncluster_connections:0\r\nmaxclients:10000\r\n",
    "memory": "# Memory\r\nused_memory:4821336\r\nused_memory_human:4.60M\r\nmaxmemory:536870912\r\n"
    "maxmemory_human:512.00M\r\nmaxmemory_policy:noeviction\r\nmem_fragmentation_ratio:1.07\r\n",
    "stats": "# Stats\r\nexpired_keys:4\r\nexpired_stale_perc:0.00\r\nevicted_keys:2\r\n"
    "keyspace_hits:300\r\nkeyspace_misses:100\r\n",
    "keyspace": "# Keyspace\r\ndb0:keys=12,expires=10,avg_ttl=9\r\ndb3:keys=1,expires=0,avg_ttl=0\r\n",
}
VALKEY = REDIS | {
    "server": "# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.0.1\r\n"
    "server_mode:standalone\r\nuptime_in_seconds:93\r\navailability_zone:\r\n",
}
#: Valkey with `extended-redis-compatibility`, which names itself Redis.
VALKEY_IN_DISGUISE = REDIS | {
    "server": "# Server\r\nredis_version:7.2.4\r\nserver_name:redis\r\nvalkey_version:8.0.1\r\n"
    "uptime_in_seconds:93\r\n",
}


def stats_of(
    info: dict[str, str], scans: Sequence[tuple[bytes, list[bytes]]] = (), limit: int = 0
) -> CacheStats:
    """Run the plan, and answer what it asks from a record."""
    plan = read_stats(KeyBuilder("seen"), limit)
    asked = next(plan)
    assert isinstance(asked, Batch)
    assert asked.commands == (*(("INFO", section) for section in SECTIONS), ("DBSIZE",))
    answer: Any = [*(info.get(section, "").encode() for section in SECTIONS), 12]
    steps = iter(scans)
    try:
        while True:
            plan.send(answer)
            answer = [next(steps)]
    except StopIteration as end:
        assert list(steps) == []
        found: CacheStats = end.value
        return found


@pytest.mark.parametrize(
    ("info", "server", "version"),
    [
        (DRAGONFLY, "dragonfly", "1.27.1"),
        (REDIS, "redis", "6.2.14"),
        (VALKEY, "valkey", "8.0.1"),
        (VALKEY_IN_DISGUISE, "valkey", "8.0.1"),
    ],
)
def test_every_server_is_read_alike(info: dict[str, str], server: str, version: str) -> None:
    assert stats_of(info) == CacheStats(
        server=server,
        version=version,
        db_size=12,
        used_memory=4821336,
        max_memory=536870912,
        eviction_policy="noeviction",
        hits=300,
        misses=100,
        hit_ratio=0.75,
        evicted_keys=2,
        expired_keys=4,
        connected_clients=7,
        uptime_seconds=93,
        keyspace={"db0": 12, "db3": 1},
        families={},
        scanned=0,
        scanned_all=False,
    )


def test_a_figure_missing_from_info_is_none() -> None:
    bare = {
        "server": "# Server\r\nredis_version:9.9\r\n",
        "stats": "keyspace_hits:many\r\nodd line\r\n",
    }
    stats = stats_of(bare)
    assert (stats.server, stats.version, stats.max_memory) == ("redis", "9.9", 0)
    assert (stats.hits, stats.hit_ratio, stats.keyspace) == (0, None, {})
    assert stats_of({}).version == "unknown"
    assert stats_of({}).eviction_policy is None


@pytest.mark.parametrize(
    ("memory", "policy"),
    [
        ("cache_mode:cache\r\nmaxmemory_policy:eviction\r\n", "eviction"),
        ("cache_mode:store\r\nmaxmemory_policy:noeviction\r\n", "noeviction"),
        ("maxmemory_policy:allkeys-lru\r\n", "allkeys-lru"),
        ("used_memory:1\r\n", None),
    ],
)
def test_eviction_policy_is_read_from_each_servers_info(memory: str, policy: str | None) -> None:
    assert stats_of({"memory": memory}).eviction_policy == policy


# ── families ────────────────────────────────────────────────────────────────────────────────────


def test_families_are_counted_once_a_key_and_only_ours() -> None:
    scans = [
        (b"7", [b"seen:user:1", b"seen:user:2", b"seen:download:active", b"celery"]),
        (b"0", [b"seen:user:2", b"seenother:user:1", b"seen:user:3:sessions", b"seen:\xff\xfe:x"]),
    ]
    stats = stats_of(REDIS, scans, limit=100)
    assert stats.families == {"download": 1, "user": 3, "\ufffd\ufffd": 1}
    assert (stats.scanned, stats.scanned_all) == (7, True)


def test_a_look_that_stops_early_says_so() -> None:
    scans = [(b"7", [b"seen:user:1"]), (b"9", [b"seen:user:2", b"seen:user:3"])]
    stats = stats_of(REDIS, scans, limit=3)
    assert (stats.scanned, stats.scanned_all, stats.families) == (3, False, {"user": 3})
    # The end may come with the very last key.
    stats = stats_of(REDIS, [(b"0", [b"seen:user:1"])], limit=1)
    assert (stats.scanned, stats.scanned_all) == (1, True)


def test_no_look_at_all_is_not_the_whole_truth() -> None:
    stats = stats_of(REDIS, limit=0)
    assert (stats.scanned, stats.scanned_all, stats.families) == (0, False, {})


# ── one line ────────────────────────────────────────────────────────────────────────────────────


def test_the_figures_as_one_line() -> None:
    whole = stats_of(DRAGONFLY, [(b"0", [b"seen:user:1"])], limit=9)
    assert describe(whole) == (
        "dragonfly 1.27.1, 12 keys (user 1), 5 of 512 MiB, hit ratio 75.0%, 2 evicted, 7 clients"
    )
    part = stats_of({}, [(b"5", [b"seen:user:1"])], limit=1)
    assert describe(part) == (
        "redis unknown, 12 keys (user 1; of 1 scanned), 0 MiB, hit ratio -, 0 evicted, 0 clients"
    )
