"""Holding a lock for as long as a block of code runs: acquired, renewed, given back."""

from __future__ import annotations

import logging
import random
import time
from asyncio import CancelledError
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any

from cache.clock import lease_clock
from cache.lock import Lock
from cache.store.aio import AsyncStore
from cache.store.operation import Operations, S
from cache.store.plan import Await, Pause, Plan
from cache.store.sync import SyncStore
from domain.errors import LeaseLostError, LockTakenError, StoreUnavailableError

logger = logging.getLogger(__name__)

#: A lock is renewed three times in its life, so that two renewals may fail.
RENEWALS_PER_LIFE = 3
#: This part of a life is kept for stopping: the holder knows before the lock can expire.
STOPPING_SHARE = 1 / 6
#: Seconds between two attempts to acquire a lock that somebody holds: first and longest.
FIRST_LOOK = 0.01
LONGEST_LOOK = 0.25


class LockHold(Operations[S]):
    """``with cache.session.lock("report:7") as hold: …`` (``async with`` on an `AsyncStore`).

    Renewed in the background until the block ends. A lock that cannot be renewed is lost before it
    expires: `is_alive` says so by the clock, `check` raises, and so does the end of the block.

    Args:
        lock: the lock, not yet acquired.
        wait: seconds to wait while somebody else holds it; 0 tries once.

    Raises, on entering:
        LockTakenError: somebody else holds it.
        StoreUnavailableError: the store does not answer; nothing is held.
    """

    def __init__(self, store: S, lock: Lock[S], *, wait: float) -> None:
        super().__init__(store)
        self.lock = lock
        self._wait = wait
        self._ends = 0.0
        self._lost = False
        self._over: Future[None] = Future()
        self._join: Callable[[], Any] = lambda: None

    def is_alive(self) -> bool:
        """Say whether the lock is still ours, for certain."""
        return not self._lost and lease_clock() < self._ends

    def check(self) -> None:
        """Raise LeaseLostError if it is not: another holder may be at work."""
        if not self.is_alive():
            raise self._error()

    def _error(self) -> LeaseLostError:
        return LeaseLostError(
            f"The lock {self.lock.key} could not be kept; somebody else may hold it by now."
        )

    # ── blocking ────────────────────────────────────────────────────────────────────────────────

    def __enter__(self: LockHold[SyncStore]) -> LockHold[SyncStore]:
        self.store.run(self._acquire())
        self._join = self.store.spawn(self._keep(), name=f"hold {self.lock.key}")
        return self

    def __exit__(
        self: LockHold[SyncStore],
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set_result(None)
        self._join()
        kept = self.store.run(self._let_go())
        if error is None and not kept:
            raise self._error()

    # ── asyncio ─────────────────────────────────────────────────────────────────────────────────

    async def __aenter__(self: LockHold[AsyncStore]) -> LockHold[AsyncStore]:
        await self.store.run(self._acquire())
        self._join = self.store.spawn(self._keep(), name=f"hold {self.lock.key}")
        return self

    async def __aexit__(
        self: LockHold[AsyncStore],
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set_result(None)
        await self._join()
        kept = await self.store.run(self._let_go())
        if error is None and not kept:
            raise self._error()

    # ── plans ───────────────────────────────────────────────────────────────────────────────────

    def _acquire(self) -> Plan[None]:
        ends, pause = time.monotonic() + self._wait, FIRST_LOOK
        while True:
            asked_at = lease_clock()
            try:
                acquired = yield from Lock.acquire.plan(self.lock)
            except (CancelledError, KeyboardInterrupt):
                # The answer was still on its way: it may be ours, and nobody else would let it go.
                yield from self._let_go()
                raise
            if acquired:
                self._over, self._lost = Future(), False
                self._renewed(asked_at)
                return
            left = ends - time.monotonic()
            if left <= 0:
                raise LockTakenError(self.lock.key)
            yield Pause(min(left, pause * (0.5 + random.random())))  # noqa: S311 - no secret
            pause = min(LONGEST_LOOK, pause * 2)

    def _keep(self) -> Plan[None]:
        interval = self.lock.ttl / RENEWALS_PER_LIFE
        while not (yield Await(self._over, interval)):
            asked_at = lease_clock()
            try:
                extended = yield from Lock.extend.plan(self.lock)
            except StoreUnavailableError as error:
                logger.warning("%s could not be renewed, trying again: %s", self.lock.key, error)
                interval = self.lock.ttl / RENEWALS_PER_LIFE / 10
                continue
            if not extended:
                self._lost = True
                return
            self._renewed(asked_at)
            interval = self.lock.ttl / RENEWALS_PER_LIFE

    def _let_go(self) -> Plan[bool]:
        """Release the lock; say whether it was ours to the end."""
        kept, self._ends = self.is_alive(), 0.0
        try:
            released = yield from Lock.release.plan(self.lock, once=True)
        except StoreUnavailableError as error:
            logger.warning("%s was not released and expires by itself: %s", self.lock.key, error)
            return kept
        return kept and released

    def _renewed(self, asked_at: float) -> None:
        """Count the new life from when it was asked for: it cannot have begun earlier."""
        self._ends = asked_at + self.lock.ttl * (1 - STOPPING_SHARE)
