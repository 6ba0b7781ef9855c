"""Publishing what a process has counted: over lost replies, outages and restarts of the store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cache import CacheManager
from domain.errors import StoreError
from tests.support.build import cache_manager
from tests.support.servers.tcp_proxy import Proxy
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.metrics import catalog
from worker.metrics.instruments import Instruments
from worker.metrics.publisher import MetricsPublisher
from worker.metrics.reading import read_totals


class Process:
    """One that counts bytes."""

    def __init__(self, manager: CacheManager, interval: float = 5.0) -> None:
        self.instruments = Instruments()
        self.instruments.set_gauge(catalog.SLOTS, read=lambda: 1)
        self.publisher = MetricsPublisher(self.instruments, manager.metrics, interval=interval)

    def receives(self, count: int) -> None:
        self.instruments.count(catalog.RECEIVED_BYTES, by=count)


def shown(store: StoreServer, metric: str = "seen_received_bytes") -> float:
    with cache_manager(store) as manager:
        found = {one.name: totals for one, totals in read_totals(manager.metrics.read())}
        return found[metric][0].value


def publish(*processes: Process) -> None:
    """Publish what was counted: as often as a busy machine needs, since a repetition adds nothing."""
    for process in processes:
        wait_until(partial(published, process), deadline=30)


def published(process: Process) -> bool:
    try:
        process.publisher.publish()
    except StoreError:
        return False
    return True


@contextmanager
def processes(store: StoreServer, count: int = 1, **options: Any) -> Iterator[list[Process]]:
    with cache_manager(store, retries=0, **options) as manager:
        yield [Process(manager) for _ in range(count)]


@pytest.mark.parametrize("fault", ["cut_after_request", "drop_next_reply"])
def test_lost_reply_counts_nothing_twice(store: StoreServer, fault: str) -> None:
    with (
        Proxy(store.port) as proxy,
        processes(store, cache_addr=proxy.addr, cache_timeout=1) as (process,),
    ):
        process.receives(1)
        publish(process)  # the server has the script
        process.receives(10)
        getattr(proxy, fault)(b"EVALSHA")
        with pytest.raises(StoreError):
            process.publisher.publish()
        process.receives(100)
        publish(process)
        publish(process)
        assert shown(store) == 111


def test_what_is_counted_in_an_outage_is_added_after_it(private_store: StoreServer) -> None:
    with processes(private_store, 2, cache_timeout=0.3) as (one, other):
        for process in (one, other):
            process.receives(1)
            publish(process)
        private_store.pause()
        for process in (one, other):
            process.receives(10)
            with pytest.raises(StoreError):
                process.publisher.publish()
            process.receives(100)
        private_store.resume()
        publish(one, other)
        publish(one, other)
        assert shown(private_store) == 222


def test_restart_of_the_store_shows_only_what_came_after_it(
    tmp_path: Path, private_store: StoreServer
) -> None:
    """Else Prometheus, which takes any decrease for a reset, would count it a second time."""
    with processes(private_store, 2) as (one, other):
        one.receives(1_000)
        publish(one)
        private_store.save(tmp_path / "snapshot")
        other.receives(500)
        publish(other)
        assert shown(private_store) == 1_500
        private_store.stop()
        one.receives(1)
        private_store.start_from(tmp_path / "snapshot")
        publish(one, other)
        assert shown(private_store) == 1


def test_process_that_ends_leaves_its_counts_and_no_gauges(store: StoreServer) -> None:
    with processes(store, 2) as (one, other):
        for process in (one, other):
            process.publisher.start()
        wait_until(lambda: shown(store, "seen_slots") == 2, deadline=30)
        one.receives(7)
        one.publisher.close()
        assert shown(store) == 7
        assert shown(store, "seen_slots") == 1
        other.publisher.close()
        one.publisher.close()  # a second time
        assert (shown(store), shown(store, "seen_slots")) == (7, 0)


def test_thread_publishes_by_itself_and_over_an_outage(private_store: StoreServer) -> None:
    with cache_manager(private_store, retries=0, cache_timeout=0.3) as manager:
        process = Process(manager, interval=0.05)
        process.publisher.start()
        process.receives(1)
        wait_until(lambda: shown(private_store) == 1, deadline=30)
        private_store.pause()
        process.receives(1)
        private_store.resume()
        wait_until(lambda: shown(private_store) == 2, deadline=30)
        process.publisher.close()


def test_close_without_a_store_ends(private_store: StoreServer) -> None:
    with processes(private_store, cache_timeout=0.3) as (process,):
        process.publisher.start()
        private_store.stop()
        process.publisher.close()
