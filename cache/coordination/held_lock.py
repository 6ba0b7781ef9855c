"""Holding a lock for as long as a block of code runs: acquired, renewed, released."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any

from cache import arguments
from cache.clock import lease_clock
from cache.coordination.lock import Caller, LockHandle
from cache.coordination.renewal import Renewal
from cache.store.aio import AsyncStore
from cache.store.flow import Flow, Sleep, WaitFor
from cache.store.fork import reset_after_fork
from cache.store.operation import Operations, S
from cache.store.sync import SyncStore
from domain.backoff import Backoff
from domain.errors import LeaseLostError, LockTakenError, StoreReplyError, StoreUnavailableError

logger = logging.getLogger(__name__)

#: Three renewals in one TTL, so that two of them may fail.
RENEWALS_PER_TTL = 3
#: Between two tries to acquire a lock that another holder has.
POLLING = Backoff(first=0.015, longest=0.375, jitter=2 / 3)


class LockLease(Operations[S]):
    """What ``with cache.session.lock(…) as held`` gives: one entry into the lock, renewed meanwhile.

    Any thread may ask it, but no forked child: the lock is its parent's.
    """

    def __init__(self, store: S, lock: LockHandle[S]) -> None:
        super().__init__(store)
        self.lock = lock
        self._renewal = Renewal(lock.ttl, per_ttl=RENEWALS_PER_TTL)
        self._stopping: Future[None] = Future()
        self._process = os.getpid()
        self.join: Callable[[], Any] = lambda: None

    def is_alive(self) -> bool:
        """Say whether the lock is still held, for certain."""
        return self._renewal.is_valid() and self._process == os.getpid()

    def check(self) -> None:
        """Raise LeaseLostError if it is not: another holder may be at work."""
        if not self.is_alive():
            raise lost(self.lock.key)

    def acquire(self) -> Flow[bool]:
        """Acquire the lock; False when another holder has it."""
        sent_at = lease_clock()
        acquired = yield from self.lock.take()
        self._renewal.record(sent_at, acquired)
        return acquired

    def stop_renewing(self) -> None:
        """End `keep`; `join` waits for that."""
        self._stopping.set_result(None)

    def keep(self) -> Flow[None]:
        """Renew the lock until `stop_renewing`."""
        interval = self._renewal.interval
        while not (yield WaitFor(self._stopping, interval)):
            sent_at = lease_clock()
            extended = yield from self._extend()
            interval = self._renewal.record(sent_at, extended)
            if extended is False:
                return

    def _extend(self) -> Flow[bool | None]:
        """Extend the lock; None when the store did not answer."""
        try:
            return (yield from LockHandle.extend.flow(self.lock))
        except StoreUnavailableError as error:
            logger.warning("%s could not be renewed, trying again: %s", self.lock.key, error)
            return None
        except StoreReplyError:
            return False  # the key holds something that is no lock

    def release(self) -> Flow[bool]:
        """Release the lock; say whether it was held to the end."""
        kept = self.is_alive()
        self._renewal.end()
        try:
            released = yield from LockHandle.release.flow(self.lock, once=True)
        except StoreUnavailableError as error:
            logger.warning("%s was not released and expires by itself: %s", self.lock.key, error)
            return kept
        except StoreReplyError:
            return False
        return kept and released


class HeldLock(Operations[S]):
    """``with cache.session.lock("report:7") as held: …`` (``async with`` on an `AsyncStore`).

    The lock is renewed in the background until the block ends. A lock that cannot be renewed is lost
    before it expires: `is_alive` says so by the clock, `check` raises, and so does the end of the
    block.

    Threads, tasks and forked processes may share one object: each block is an entry of its own, and only
    one of them is inside. `is_alive` and `check` speak of the caller's own block.

    Args:
        store: where the lock is kept.
        key: the key of the resource.
        ttl: life in seconds between renewals.
        wait: seconds to wait while another holder has it; 0 tries once.

    Raises, on entering:
        LockTakenError: another holder has it, or the caller itself, in a block around this one.
        StoreUnavailableError: the store does not answer; nothing is held.
    """

    def __init__(self, store: S, key: str, *, ttl: float, wait: float = 0.0) -> None:
        super().__init__(store)
        self.key = key
        self._ttl = ttl
        self._wait = arguments.number("wait", wait)
        arguments.milliseconds(ttl)  # a wrong one is refused here, not at the first block
        reset_after_fork(self, HeldLock._reset)

    def _reset(self) -> None:
        # The open blocks, the oldest first: all but the last have lost their lock. A forked child
        # is in none of its parent's.
        self._blocks: list[tuple[Caller, LockLease[S]]] = []

    def is_alive(self) -> bool:
        """Say whether the caller is in a block of this lock that still holds it, for certain."""
        held = self._own_block() or self._ended_block()
        return held is not None and held.is_alive()

    def check(self) -> None:
        """Raise LeaseLostError if it is not: another holder may be at work."""
        if not self.is_alive():
            raise lost(self.key)

    # ── blocking ────────────────────────────────────────────────────────────────────────────────

    def __enter__(self: HeldLock[SyncStore]) -> LockLease[SyncStore]:
        held = self.store.run(self._acquire())
        try:
            held.join = self.store.spawn(held.keep(), name=f"hold {self.key}")
        except BaseException:  # no room for another thread
            self.store.run(held.release())
            raise
        self._blocks.append((Caller(), held))
        return held

    def __exit__(
        self: HeldLock[SyncStore],
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        held, kept = self._leave(), False
        if held is not None:
            held.stop_renewing()
            try:
                held.join()
            finally:
                kept = self.store.run(held.release())
        if error is None and not kept:
            raise lost(self.key)

    # ── asyncio ─────────────────────────────────────────────────────────────────────────────────

    async def __aenter__(self: HeldLock[AsyncStore]) -> LockLease[AsyncStore]:
        held = await self.store.run(self._acquire())
        held.join = self.store.spawn(held.keep(), name=f"hold {self.key}")
        self._blocks.append((Caller(), held))
        return held

    async def __aexit__(
        self: HeldLock[AsyncStore],
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        held, kept = self._leave(), False
        if held is not None:
            held.stop_renewing()
            try:
                await held.join()
            finally:
                kept = await self.store.run(held.release())
        if error is None and not kept:
            raise lost(self.key)

    # ── blocks ──────────────────────────────────────────────────────────────────────────────────

    def _own_block(self) -> LockLease[S] | None:
        """Return the block that the caller entered."""
        blocks = (held for caller, held in list(self._blocks) if caller.is_me())
        return next(blocks, None)

    def _ended_block(self) -> LockLease[S] | None:
        """Return the newest block whose thread or task has ended: it is for other callers to close."""
        blocks = (held for caller, held in reversed(list(self._blocks)) if caller.is_finished())
        return next(blocks, None)

    def _leave(self) -> LockLease[S] | None:
        """Close the caller's block, or the oldest one; None in a child forked within a block.

        A block may end in another thread or task than it began in: frameworks run both ends of a
        generator wherever there is room. The oldest block never is another caller's that holds the lock,
        unless it is the only one.
        """
        blocks = self._blocks
        own = (block for block in list(blocks) if block[0].is_me())
        block = next(own, blocks[0] if blocks else None)
        if block is None:
            return None
        blocks.remove(block)
        return block[1]

    def _acquire(self) -> Flow[LockLease[S]]:
        if self._own_block() is not None:
            raise LockTakenError(self.key, by_caller=True)
        held = LockLease(self.store, LockHandle(self.store, self.key, ttl=self._ttl))
        deadline, tries = time.monotonic() + self._wait, 0
        while True:
            if (yield from held.acquire()):
                return held
            left = deadline - time.monotonic()
            if left <= 0:
                raise LockTakenError(self.key)
            tries += 1
            yield Sleep(min(left, POLLING.delay(tries)))


def lost(key: str) -> LeaseLostError:
    """Return what the holder of a lock is told that could not keep it."""
    return LeaseLostError(f"The lock {key} could not be kept; another holder may have it by now.")
