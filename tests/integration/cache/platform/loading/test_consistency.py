"""After a delete, `get_or_load` returns the changed value, however many loads were running."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
from pydantic import BaseModel

from cache import CacheManager
from cache.store import scripts
from tests.support.build import Connect, cache_manager
from tests.support.client_side import reads
from tests.support.loading import Caller, crowd
from tests.support.servers.tcp_proxy import Proxy
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

KEY = "seen:catalog:dashboard:ada"
SECONDS = 2.0
#: So many changes show something; a busy machine takes longer for them.
CHANGES = 50
PATIENCE = 60.0
READERS = 6


class Hooked(BaseModel):
    """Does something when it is read or made."""

    number: int

    def model_post_init(self, context: Any) -> None:
        while HOOKS:
            HOOKS.pop()()


HOOKS: list[Callable[[], object]] = []


def test_what_a_leader_has_found_is_not_for_those_who_come_after_its_deletion(
    store: StoreServer,
) -> None:
    """A leader that finds another's value has no claim whose loss would show the change."""
    with (
        Proxy(store.port) as proxy,
        cache_manager(store, cache_addr=proxy.addr) as manager,
        cache_manager(store) as other,
        ExitStack() as stack,
    ):
        newcomers: list[Caller] = []

        def load(number: int) -> Hooked | None:
            return manager.service.get_or_load(KEY, Hooked, lambda: Hooked(number=number), 60)

        def delete_and_come() -> None:
            other.service.delete(KEY)
            before = reads(other.client)
            newcomers.append(stack.enter_context(Caller(lambda: load(9))))
            wait_until(lambda: reads(other.client) > before, what="a newcomer who has looked")
            time.sleep(
                0.05
            )  # from its look to its flight: nothing that a test could see happens there

        def set_before_the_claim() -> None:
            other.service.set(KEY, {"number": 7}, 60)
            HOOKS.append(delete_and_come)

        load(0)
        other.service.delete(KEY)
        proxy.before(scripts.digest("load_claim").encode(), set_before_the_claim)
        assert load(1) == Hooked(number=7)
        assert newcomers[0].result() == Hooked(number=9)
        assert other.service.get(KEY, Hooked) == Hooked(number=9)


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
@pytest.mark.parametrize("kind", ["two processes", "a client-side cache"])
def test_load_started_before_delete_is_not_served_after_it(
    store: StoreServer, connect: Connect, kind: str, early: float
) -> None:
    if kind == "a client-side cache":
        managers = [connect(store, cache_client_side_entries=10, cache_budget=10)]
    else:
        managers = [connect(store, cache_budget=10) for _ in range(2)]
    source, over = Source(), threading.Event()
    began = time.monotonic()

    def write() -> None:
        while time.monotonic() - began < (SECONDS if source.published > CHANGES else PATIENCE):
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
    assert source.published > CHANGES
    assert sum(done) > source.loads
