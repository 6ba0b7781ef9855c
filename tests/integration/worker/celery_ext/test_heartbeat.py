"""A worker's heartbeat: written while its event loop runs, and only then."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from cache import CacheManager
from tests.support.build import cache_settings
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.celery_ext.heartbeat import MAX_LOOP_PAUSE, Heartbeat


@dataclass
class Consumer:
    """What a heartbeat reads of Celery's consumer."""

    hostname: str = "downloads-1@here"
    looped_at: float = field(default_factory=time.monotonic)
    queues: tuple[str, ...] = ("downloads.high",)


@pytest.fixture
def consumer() -> Consumer:
    return Consumer()


@pytest.fixture
def heartbeat(store: StoreServer, consumer: Consumer) -> Iterator[Heartbeat]:
    made = Heartbeat(cache_settings(store), consumer, interval=0.05)
    yield made
    made.close()


def running(manager: CacheManager) -> list[tuple[str, tuple[str, ...]]]:
    return [(one.name, one.queues) for one in manager.workers.running()]


def test_a_worker_is_listed_until_it_ends(
    manager: CacheManager, consumer: Consumer, heartbeat: Heartbeat
) -> None:
    heartbeat.start()
    wait_until(lambda: running(manager) == [("downloads-1@here", ("downloads.high",))])
    consumer.queues = ("downloads.high", "downloads.low")
    wait_until(lambda: running(manager) == [("downloads-1@here", consumer.queues)])
    heartbeat.close()
    heartbeat.close()
    assert running(manager) == []


def test_a_worker_whose_loop_stands_still_writes_none(
    manager: CacheManager, consumer: Consumer, heartbeat: Heartbeat
) -> None:
    consumer.looped_at -= MAX_LOOP_PAUSE + 1
    heartbeat.write()
    assert running(manager) == []
    consumer.looped_at = time.monotonic()
    heartbeat.write()
    assert len(running(manager)) == 1


def test_without_store_one_line_is_logged(
    private_store: StoreServer, consumer: Consumer, caplog: pytest.LogCaptureFixture
) -> None:
    heartbeat = Heartbeat(cache_settings(private_store), consumer)
    private_store.kill()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            heartbeat.write()
        heartbeat.close()
    lines = [r.getMessage() for r in caplog.records if "heartbeat" in r.getMessage()]
    assert len(lines) == 1, lines
