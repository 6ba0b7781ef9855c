"""The totals of what processes count, in the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cache import CacheManager
from cache.coordination.process_metrics import MetricsReport, ProcessRecord
from domain.errors import StoreReplyError
from tests.support.build import Connect, cache_manager
from tests.support.stores.server import StoreServer


def report(process: str = "a", sequence: int = 1, **increments: Any) -> MetricsReport:
    return MetricsReport(process, sequence, increments, {}, "[]")


def totals(manager: CacheManager) -> dict[str, float]:
    return {field: float(text) for field, text in manager.metrics.read().values.items()}


def key(manager: CacheManager) -> str:
    return manager.keys.metrics_key(manager.metrics.server())


def test_increments_of_processes_are_added_once_for_each_sequence(manager: CacheManager) -> None:
    server = manager.metrics.server()
    assert manager.metrics.add(server, report(x=1, y=0.25))
    assert not manager.metrics.add(server, report(x=1, y=0.25))
    assert manager.metrics.add(server, report("b", x=2**40))
    assert manager.metrics.add(server, report(sequence=2, x=3))
    assert not manager.metrics.add(server, report(sequence=1, x=9))
    assert totals(manager) == {"x": 2**40 + 4, "y": 0.25}


def test_more_series_than_one_call_may_have(manager: CacheManager) -> None:
    many: dict[str, Any] = {f"series-{n}": float(n) for n in range(1, 9_001)}
    for sequence in (1, 2):
        manager.metrics.add(manager.metrics.server(), report(sequence=sequence, **many))
    assert totals(manager) == {name: 2 * value for name, value in many.items()}


@pytest.mark.parametrize("held", ["", "text", "nan", "inf", "-5", "1e400"])
def test_field_without_a_count_starts_from_0(manager: CacheManager, held: str) -> None:
    manager.client.hset(key(manager), mapping={"x": held, "y": "7"})
    manager.metrics.add(manager.metrics.server(), report(x=2, y=1))
    assert totals(manager) == {"x": 2, "y": 8}


def test_key_of_another_type_stays(manager: CacheManager) -> None:
    manager.client.set(key(manager), "x")
    with pytest.raises(StoreReplyError):
        manager.metrics.add(manager.metrics.server(), report(x=1))
    with pytest.raises(StoreReplyError):
        manager.metrics.read()
    assert manager.client.get(key(manager)) == b"x"


def test_latest_of_several_times_is_kept(manager: CacheManager) -> None:
    def happened(process: str, age: float) -> float:
        found = MetricsReport(process, 1, {}, {"t": age}, "[]")
        manager.metrics.add(manager.metrics.server(), found)
        return totals(manager)["t"]

    first = happened("a", 1000)
    assert happened("b", 2000) == first
    later = happened("c", 500)
    assert later - first == pytest.approx(500, abs=100)
    manager.client.hset(key(manager), "t", f"{later + 9e9}")
    assert happened("d", 500) - first == pytest.approx(500, abs=100)


def test_processes_that_have_published_lately_run(manager: CacheManager) -> None:
    server = manager.metrics.server()
    for process, gauges in (("a", "[1]"), ("b", "[2]"), ("c", "[3]"), ("d", "[4]")):
        manager.metrics.add(server, MetricsReport(process, 5, {"x": 1}, {}, gauges))
    for process, seconds in (("b", 21), ("c", 3700)):
        held: Any = manager.client.hget(key(manager), f"process:{process}")
        sequence, at, gauges = held.decode().split(" ")
        aged = f"{sequence} {float(at) - seconds:.3f} {gauges}"
        manager.client.hset(key(manager), f"process:{process}", aged)
    manager.client.hset(key(manager), mapping={"process:e": "x", "process:f": ""})
    manager.metrics.remove(server, "d")
    assert manager.metrics.read().processes == [ProcessRecord("a", "[1]")]
    fields: Any = manager.client.hkeys(key(manager))
    assert set(fields) == {b"x", b"process:a", b"process:b"}
    assert not manager.metrics.add(server, report("b", 5, x=1)), "b was suspended, and is known"


@pytest.mark.parametrize("how", ["snapshot", "empty", "flushed"])
def test_store_that_has_lost_data_counts_from_0(
    tmp_path: Path, private_store: StoreServer, how: str
) -> None:
    """Old counts would be taken for a reset, and all of them would be counted again."""
    with cache_manager(private_store) as manager:
        manager.metrics.add(manager.metrics.server(), report(x=100))
        if how == "flushed":
            private_store.flush()
        else:
            private_store.save(tmp_path / "snapshot")
            manager.metrics.add(manager.metrics.server(), report(sequence=2, x=11))
            private_store.stop()
            if how == "snapshot":
                private_store.start_from(tmp_path / "snapshot")
            else:
                private_store.start()
        assert totals(manager) == {}
        manager.metrics.add(manager.metrics.server(), report(sequence=3, x=1))
        assert totals(manager) == {"x": 1}


def test_counts_expire_a_day_after_the_last_process(connect: Connect, store: StoreServer) -> None:
    manager = connect(store)
    manager.metrics.add(manager.metrics.server(), report(x=1))
    assert 86_000 < manager.client.ttl(key(manager)) <= 86_400
