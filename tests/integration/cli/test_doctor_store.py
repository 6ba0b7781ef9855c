"""What `seen doctor` finds about a store's memory, on each kind of server."""

from __future__ import annotations

import pytest

from cli.diagnostics.findings import Finding
from cli.diagnostics.store import examine
from tests.support.build import cache_settings
from tests.support.stores.server import StoreServer


def memory_finding(server: StoreServer) -> Finding:
    return next(one for one in examine(cache_settings(server)) if one.what == "store memory")


def test_doctor_reads_limit_and_policy_on_each_server(
    store: StoreServer, stand_in: StoreServer
) -> None:
    for server in (store, stand_in):
        finding = memory_finding(server)
        assert finding.level == "ok"
        assert "policy noeviction" in finding.message


def test_doctor_warns_of_dragonfly_in_cache_mode() -> None:
    with StoreServer("--cache_mode", stand_in=True) as server:
        finding = memory_finding(server)
    assert finding.level == "problem"
    assert "eviction policy eviction" in finding.message
    assert finding.remedy == "Start Dragonfly without --cache_mode on the server with the queues."


def test_doctor_warns_of_redis_that_evicts(private_store: StoreServer) -> None:
    if private_store.kind == "dragonfly":
        pytest.skip("the option is one of Redis")
    with private_store.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    finding = memory_finding(private_store)
    assert finding.level == "problem"
    assert "allkeys-lru" in finding.message
    assert "noeviction" in (finding.remedy)


def test_doctor_needs_no_config_command(stand_in: StoreServer) -> None:
    stand_in.refuse("NOPERM this user has no permissions to run 'config'", commands=["CONFIG"])
    assert memory_finding(stand_in).level == "ok"
