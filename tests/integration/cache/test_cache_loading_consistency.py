"""Whoever asks after a change and its deletion gets the change, however many load at that moment."""

from __future__ import annotations

import random
import threading
import time

import pytest

from cache import CacheManager
from tests.support.build import Connect
from tests.support.loading import Caller, crowd
from tests.support.store import StoreServer

KEY = "seen:catalog:dashboard:ada"
SECONDS = 3.0
READERS = 6


class Source:
    """What is cached: a number that rises."""

    def __init__(self) -> None:
        self.number = 0
        self.published = 0
        """The last number whose deletion from the cache is complete."""
        self.loads = 0

    def load(self) -> int:
        number = self.number
        self.loads += 1
        time.sleep(random.choice([0, 0.001, 0.005]))
        return number

    def change(self, manager: CacheManager) -> None:
        """As a program does: change it, then delete what is cached."""
        self.number += 1
        manager.service.delete(KEY)
        self.published = self.number


@pytest.mark.parametrize("early", [0.0, 1000.0])
@pytest.mark.parametrize("kind", ["two processes", "a near cache"])
def test_nobody_gets_what_was_deleted_before_they_asked(
    store: StoreServer, connect: Connect, kind: str, early: float
) -> None:
    if kind == "a near cache":
        managers = [connect(store, cache_near_entries=10, cache_budget=10)]
    else:
        managers = [connect(store, cache_budget=10) for _ in range(2)]
    source, over = Source(), threading.Event()
    ends = time.monotonic() + SECONDS

    def write() -> None:
        while time.monotonic() < ends:
            source.change(random.choice(managers))
            time.sleep(random.choice([0, 0.001, 0.01]))
        over.set()

    def read() -> int:
        done = 0
        while not over.is_set():
            manager, oldest = random.choice(managers), source.published
            found = manager.service.get_or_load(KEY, int, source.load, 60, early=early, wait=60)
            assert found is not None
            assert oldest <= found <= source.number
            done += 1
        return done

    with Caller(write) as writer:
        done = crowd(READERS, read)
        writer.result()
    assert all(isinstance(one, int) for one in done), done
    # There was something to go wrong: changes during loads, and loads that were shared.
    assert source.published > 50
    assert sum(done) > source.loads
