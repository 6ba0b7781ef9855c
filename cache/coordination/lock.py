"""A lock with one holder: `SET NX PX` with a random token; only that token extends or releases it."""

from __future__ import annotations

import asyncio
import secrets
import threading
import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

from cache import arguments
from cache.arguments import Duration
from cache.store import scripts
from cache.store.flow import Batch, Flow
from cache.store.fork import reset_after_fork
from cache.store.operation import Operations, S, operation
from cache.store.sync import SyncStore
from domain.errors import SeenError, StoreUnavailableError


class Caller:
    """The thread or asyncio task that created this object."""

    __slots__ = ("_running",)

    def __init__(self) -> None:
        self._running = weakref.ref(_running())

    def is_me(self) -> bool:
        """Return whether the same thread or task calls this method."""
        return self._running() is _running()

    def is_finished(self) -> bool:
        """Return whether it has ended; other callers may then release its lock."""
        running = self._running()
        if isinstance(running, asyncio.Task):
            return running.done()
        return running is None or not running.is_alive()


def _running() -> Any:
    # `current_task` raises in a thread without an event loop.
    with suppress(RuntimeError):
        task = asyncio.current_task()
        if task is not None:
            return task
    return threading.current_thread()


class LockHandle(Operations[S]):
    """One acquisition of a lock, identified by its token. Any thread may extend or release it.

    The lock expires `ttl` seconds after it was acquired or last extended. A holder that works longer
    must extend it, and if that fails must stop before the lock expires (`held_lock` and `worker.leases`
    do both). A lock alone does not make writes safe, because a process can be stopped until its lock has
    expired: compare a fencing token as well.

    Args:
        store: the store that keeps the lock.
        key: the lock's key.
        ttl: how long until it expires unless it is extended.
        token: the token of an existing acquisition; None for a new one.

    All methods raise StoreUnavailableError if the store does not answer: the lock is then not granted.
    """

    def __init__(self, store: S, key: str, *, ttl: Duration, token: str | None = None) -> None:
        self.ttl_ms = arguments.milliseconds(ttl)
        super().__init__(store)
        self.key = key
        self.ttl = arguments.seconds("ttl", ttl)
        self.token = (
            secrets.token_urlsafe(16) if token is None else arguments.string("lock_id", token)
        )

    def take(self) -> Flow[bool]:
        """Acquire the lock if it is free; return whether this token holds it.

        If an exception such as KeyboardInterrupt comes in between, the lock is released.
        """
        try:
            return (yield from self._take())
        except (GeneratorExit, SeenError):
            raise
        except BaseException:
            with suppress(SeenError):
                yield from LockHandle.release.flow(self, once=True)
            raise

    def _take(self) -> Flow[bool]:
        take = ("SET", self.key, self.token, "NX", "PX", self.ttl_ms)
        (taken,) = yield Batch(take, await_reply=True)
        if taken is not None:
            return True
        # If the reply was lost and the client retried, the key already has this token.
        (holder,) = yield Batch(("GET", self.key))
        if holder != self.token.encode():
            return False
        return (yield from LockHandle.extend.flow(self))

    @operation
    def extend(self) -> Flow[bool]:
        """Renew the TTL; return False if this token no longer holds the lock."""
        reply = yield from scripts.run("lock_extend", self.key, self.token, self.ttl_ms)
        return bool(reply)

    @operation
    def release(self, *, once: bool = False) -> Flow[bool]:
        """Release the lock; return False if this token no longer held it.

        Args:
            once: do not retry. After a lost reply, a retry would find no lock and return False.
        """
        reply = yield from scripts.run("lock_release", self.key, self.token, once=once)
        return bool(reply)


class Lock(Operations[S]):
    """The lock of one resource. Threads, tasks and forked processes may share the object.

    An acquired lock belongs to the thread or asyncio task that acquired it. While that one runs,
    `extend` and `release` return False to others. To use the lock in another thread, pass it the result
    of `handle_of`.

    Args:
        store: the store that keeps the lock.
        key: the lock's key.
        ttl: how long until it expires unless it is extended.

    All methods raise StoreUnavailableError if the store does not answer: the lock is then not granted.
    """

    def __init__(self, store: S, key: str, *, ttl: Duration) -> None:
        super().__init__(store)
        self.key = key
        self.ttl = arguments.seconds("ttl", ttl)
        reset_after_fork(self, Lock._reset)

    def _reset(self) -> None:
        # After a failed `acquire` the next one uses the same handle, so that a retry after a lost reply
        # sends the same token. After an interruption it uses a new handle, because the release of the
        # old one may still be under way. A forked child starts with new handles.
        self._unused: list[LockHandle[S]] = [self._new_handle()]
        self._held: tuple[Caller, LockHandle[S]] | None = None

    def _latest(self) -> LockHandle[S]:
        """Return the handle that holds or last held the lock; before, the one for the next `acquire`."""
        if self._held is not None:
            return self._held[1]
        return self._unused[-1] if self._unused else self._new_handle()

    @property
    def token(self) -> str:
        """The token that holds or last held the lock; before, the one for the next `acquire`."""
        return self._latest().token

    @property
    def ttl_ms(self) -> int:
        """The TTL in milliseconds."""
        return arguments.milliseconds(self.ttl)

    @operation
    def acquire(self) -> Flow[bool]:
        """Acquire the lock if it is free; return False if it is held, also if by the caller itself."""
        try:
            handle = self._unused.pop()
        except IndexError:
            handle = self._new_handle()
        try:
            acquired = yield from handle.take()
        except StoreUnavailableError:
            self._unused.append(handle)
            raise
        if acquired:
            self._held = Caller(), handle
        else:
            self._unused.append(handle)
        return acquired

    @operation
    def extend(self) -> Flow[bool]:
        """Renew the TTL; return False if the caller does not hold the lock (any more)."""
        # Called inside the flow on purpose: there the current task is the caller's.
        return (yield from LockHandle.extend.flow(self._handle_of_caller()))

    @operation
    def release(self, *, once: bool = False) -> Flow[bool]:
        """Release the lock; return False if the caller did not hold it (any more).

        Args:
            once: do not retry. After a lost reply, a retry would find no lock and return False.
        """
        handle = self._handle_of_caller()
        released = yield from LockHandle.release.flow(handle, once=once)
        if self._held is not None and self._held[1] is handle:
            self._held = None
        return released

    def _handle_of_caller(self) -> LockHandle[S]:
        """Return the caller's handle, or a new one, which holds nothing."""
        if self._held is not None:
            caller, handle = self._held
            if caller.is_me() or caller.is_finished():
                return handle
        return self._new_handle()

    def _new_handle(self) -> LockHandle[S]:
        return LockHandle(self.store, self.key, ttl=self.ttl)


def handle_of(lock: Lock[S]) -> LockHandle[S]:
    """Return the handle of the lock that the caller has just acquired, for use in any thread."""
    return lock._latest()


class _Extendable(Protocol):
    """A `Lock` or a `LockHandle`."""

    @property
    def key(self) -> str: ...
    @property
    def token(self) -> str: ...
    @property
    def ttl_ms(self) -> int: ...
    @property
    def store(self) -> SyncStore: ...


def extend_all(locks: Sequence[_Extendable]) -> list[bool]:
    """Extend several locks of one store in one round trip; return whether each one was extended.

    A lock whose key holds something else was not.
    """
    if not locks:
        return []
    commands = [scripts.call("lock_extend", lock.key, lock.token, lock.ttl_ms) for lock in locks]
    extending = scripts.run_pipeline(["lock_extend"], commands, keep_reply_errors=True)
    return [reply == 1 for reply in locks[0].store.run(extending)]
