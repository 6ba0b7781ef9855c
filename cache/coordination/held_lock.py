"""A lock as a context manager: acquired for a block of code, renewed in the background, released."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any

from cache import arguments
from cache.arguments import Duration
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
    """The lock within its block: ``with cache.session.lock(…) as lease``.

    Any thread may use it. A forked child may not: the lock is its parent's.
    """

    def __init__(self, store: S, lock: LockHandle[S]) -> None:
        super().__init__(store)
        self.lock = lock
        self._renewal = Renewal(lock.ttl, per_ttl=RENEWALS_PER_TTL)
        self._stopping: Future[None] = Future()
        self._process = os.getpid()
        self.join: Callable[[], Any] = lambda: None

    def is_alive(self) -> bool:
        """Return whether the lock is certainly still held."""
        return self._renewal.is_valid() and self._process == os.getpid()

    def check(self) -> None:
        """Raise LeaseLostError if the lock may have another holder."""
        if not self.is_alive():
            raise lost(self.lock.key)

    def acquire(self) -> Flow[bool]:
        """Acquire the lock; return False if another holder has it."""
        sent_at = lease_clock()
        acquired = yield from self.lock.take()
        self._renewal.record(sent_at, acquired)
        return acquired

    def stop_renewing(self) -> None:
        """Stop `keep`; `join` waits for its end."""
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
        """Extend the lock; return None if the store did not answer."""
        try:
            return (yield from LockHandle.extend.flow(self.lock))
        except StoreUnavailableError as error:
            logger.warning("%s could not be renewed, trying again: %s", self.lock.key, error)
            return None
        except StoreReplyError:
            return False  # the key holds another type

    def release(self) -> Flow[bool]:
        """Release the lock; return whether it was held until now."""
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
    """``with cache.session.lock("report:7") as lease: …`` (``async with`` on an `AsyncStore`).

    The lock is renewed in the background until the block ends. If it cannot be renewed, it is lost
    shortly before it expires: `is_alive` returns False, and `check` and the end of the block raise
    LeaseLostError.

    Threads, tasks and forked processes may share one object; one of their blocks holds the lock at a
    time. `is_alive` and `check` refer to the caller's own block.

    Args:
        store: the store that keeps the lock.
        key: the lock's key.
        ttl: how long until the lock expires unless it is renewed.
        wait: how long to wait while another holder has it; 0 tries once.

    Raises, on entering:
        LockTakenError: another holder has it, or an outer block of the caller.
        StoreUnavailableError: the store does not answer; the lock is not held.
    """

    def __init__(self, store: S, key: str, *, ttl: Duration, wait: Duration = 0.0) -> None:
        super().__init__(store)
        self.key = key
        self._ttl = ttl
        self._wait = arguments.seconds("wait", wait)
        arguments.milliseconds(ttl)  # an invalid TTL is refused here, not at the first block
        reset_after_fork(self, HeldLock._reset)

    def _reset(self) -> None:
        # The open blocks, from the oldest: all but the last one have lost the lock. A forked child is
        # in no block of its parent.
        self._blocks: list[tuple[Caller, LockLease[S]]] = []

    def is_alive(self) -> bool:
        """Return whether the caller is in a block that certainly still holds the lock."""
        held = self._own_block() or self._ended_block()
        return held is not None and held.is_alive()

    def check(self) -> None:
        """Raise LeaseLostError if the lock may have another holder."""
        if not self.is_alive():
            raise lost(self.key)

    # ── blocking ─────────────────────────────────────────────────────────────────────────────────

    def __enter__(self: HeldLock[SyncStore]) -> LockLease[SyncStore]:
        self._check_side(SyncStore)
        held = self.store.run(self._acquire())
        try:
            held.join = self.store.spawn(held.keep(), name=f"hold {self.key}")
        except BaseException:  # the thread could not be started
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

    # ── asyncio ──────────────────────────────────────────────────────────────────────────────────

    async def __aenter__(self: HeldLock[AsyncStore]) -> LockLease[AsyncStore]:
        self._check_side(AsyncStore)
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

    # ── blocks ───────────────────────────────────────────────────────────────────────────────────

    def _own_block(self) -> LockLease[S] | None:
        """Return the block that the caller entered."""
        blocks = (held for caller, held in list(self._blocks) if caller.is_me())
        return next(blocks, None)

    def _ended_block(self) -> LockLease[S] | None:
        """Return the newest block whose thread or task has ended: other callers may close it."""
        blocks = (held for caller, held in reversed(list(self._blocks)) if caller.is_finished())
        return next(blocks, None)

    def _leave(self) -> LockLease[S] | None:
        """Remove and return the caller's block, or else the oldest one; None in a forked child.

        A block may end in another thread or task than it started in, as frameworks do with generators.
        The oldest block is then the right one: other callers' blocks are newer, or have lost the lock.
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
    """Return the error for a holder that may have lost the lock."""
    return LeaseLostError(f"The lock {key} could not be renewed; another holder may have it.")
