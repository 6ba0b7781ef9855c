"""Several flows as one: what a lost connection, and an interruption of the caller, mean for each."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cache import CacheManager
from cache.coordination.lock import LockHandle
from cache.store.aio import AsyncStore
from cache.store.connection import async_client, reliable_policy
from cache.store.flow import (
    Batch,
    Command,
    Flow,
    lockstep,
)
from domain.errors import (
    StoreUnavailableError,
)
from settings import Settings
from tests.support.build import Connect, cache_settings
from tests.support.stores.server import StoreServer

_INTERRUPTIONS = (KeyboardInterrupt, SystemExit, asyncio.CancelledError)


def _batch(*commands: Command, **options: bool) -> Flow[list[Any]]:
    replies: list[Any] = yield Batch(*commands, **options)
    return replies


# ── lost connections ────────────────────────────────────────────────────────────────────────────


def test_a_connection_that_closes_in_the_middle(store: StoreServer, connect: Connect) -> None:
    """What was answered stays; of the rest, each batch is sent again if it may be."""
    manager = connect(store, retries=1)
    results = manager.store.run_together(
        [
            _batch(("INCR", "seen:before"), once=True),
            _batch(("QUIT",), once=True),  # the server reads no further
            _batch(("INCR", "seen:once"), once=True),
            _batch(("INCR", "seen:again")),
            _batch(("INCR", "seen:atomic"), ("INCR", "seen:atomic"), atomic=True),
        ]
    )
    assert results[:2] == [[1], [b"OK"]]
    assert isinstance(results[2], StoreUnavailableError)
    assert results[3:] == [[1], [1, 2]]
    with store.client() as client:
        assert client.mget("seen:before", "seen:once", "seen:again") == [b"1", None, b"1"]


@pytest.mark.parametrize("retries", [0, 1])
def test_a_reply_that_does_not_come(store: StoreServer, connect: Connect, retries: int) -> None:
    """Given a command in the middle that is not answered in time."""
    manager = connect(store, retries=retries, cache_timeout=0.2)
    results = manager.store.run_together(
        [
            _batch(("INCR", "seen:before"), once=True),
            _batch(("BLPOP", "seen:empty", 0.3), once=True),
            _batch(("GET", "seen:before")),
        ]
    )
    assert results[0] == [1]
    assert isinstance(results[1], StoreUnavailableError)
    assert results[2] == [b"1"] if retries else isinstance(results[2], StoreUnavailableError)


def test_a_dead_store_is_the_error_of_every_flow(
    private_store: StoreServer, connect: Connect
) -> None:
    manager = connect(private_store, retries=1)
    manager.ping()
    private_store.kill()
    results = manager.store.run_together([_batch(("PING",)), _batch(("PING",), once=True)])
    assert [type(one) for one in results] == [StoreUnavailableError] * 2


def test_a_broken_pipeline_is_one_failure_for_the_circuit_breaker(free_port: int) -> None:
    """Given a limit of five failures, and pipelines of ten batches."""
    with CacheManager.connect(cache_settings_of(free_port)) as manager:
        store = manager.service.store
        assert store.breaker is not None
        for _ in range(4):
            results = store.run_together([_batch(("PING",)) for _ in range(10)])
            assert {type(one) for one in results} == {StoreUnavailableError}
            assert not store.breaker.is_open
        store.run_together([_batch(("PING",))])
        assert store.breaker.is_open
        (error,) = store.run_together([_batch(("PING",))])
        assert "the next attempt is in" in str(error)


def cache_settings_of(port: int) -> Settings:
    """Settings for a store that is not there."""
    return Settings(cache_addr=f"127.0.0.1:{port}", cache_budget=0.2)


# ── interruptions ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("interruption", _INTERRUPTIONS)
def test_an_interruption_reaches_every_flow_and_then_the_caller(
    interruption: type[BaseException],
) -> None:
    """The flows are run by hand: what `run` would perform is answered here."""
    undone: list[str] = []

    def flow(name: str) -> Flow[None]:
        try:
            yield Batch(("SET", name, 1))
        except interruption:
            yield Batch(("DEL", name))
            undone.append(name)
            raise

    together = lockstep([flow("a"), flow("b")])
    next(together)
    step: Any = together.throw(interruption())
    assert [batch.commands for batch in step.batches] == [(("DEL", "a"),), (("DEL", "b"),)]
    with pytest.raises(interruption):
        together.send([[1], [1]])
    assert undone == ["a", "b"]


def test_a_cancelled_caller_holds_no_lock_on_asyncio(store: StoreServer) -> None:
    """Given a server that answers late, and ten locks acquired in one pipeline."""
    settings = cache_settings(store)

    async def cancelled() -> None:
        aio = AsyncStore(async_client(settings, policy := reliable_policy(settings)), policy)
        handles = [LockHandle(aio, f"seen:lock:{n}", ttl=30) for n in range(10)]
        slow = _batch(("BLPOP", "seen:empty", 0.2))
        task = asyncio.create_task(aio.run_together([slow, *(one.take() for one in handles)]))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await aio.close()

    asyncio.run(cancelled())
    with store.client() as client:
        assert client.keys("seen:lock:*") == []


def test_flows_that_are_dropped_are_closed() -> None:
    closed: list[int] = []

    def flow(number: int) -> Flow[None]:
        try:
            yield Batch(("PING",))
        finally:
            closed.append(number)

    together = lockstep([flow(1), flow(2)])
    next(together)
    together.close()
    assert closed == [1, 2]
