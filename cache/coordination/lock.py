"""A lock with one holder: SET NX PX with a new token for each entry, extended and released by that."""

from __future__ import annotations

import asyncio
import secrets
import threading
import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

from cache import arguments
from cache.store import scripts
from cache.store.flow import Batch, Flow
from cache.store.fork import reset_after_fork
from cache.store.operation import Operations, S, operation
from cache.store.sync import SyncStore
from domain.errors import SeenError, StoreUnavailableError


class Caller:
    """The thread or asyncio task that runs now."""

    __slots__ = ("_running",)

    def __init__(self) -> None:
        self._running = weakref.ref(_running())

    def is_me(self) -> bool:
        """Say whether it is the caller of this method."""
        return self._running() is _running()

    def is_finished(self) -> bool:
        """Say whether it has ended, so that what it held is for other callers to release."""
        running = self._running()
        if isinstance(running, asyncio.Task):
            return running.done()
        return running is None or not running.is_alive()


def _running() -> Any:
    # Threads that run no event loop have no current task.
    with suppress(RuntimeError):
        task = asyncio.current_task()
        if task is not None:
            return task
    return threading.current_thread()


class LockHandle(Operations[S]):
    """One entry into a lock, told from all others by its token; any thread may extend or release it.

    The store drops the lock `ttl` seconds after it was acquired or last extended. A holder that works
    longer must extend it, and must stop before it expires when that fails (`held_lock` and `leases`
    do both). A lock alone does not make writes safe, since a holder may be paused past its end; pair it
    with a fencing number.

    Args:
        store: where the lock is kept.
        key: the key of the resource.
        ttl: life in seconds without extension.
        token: of an entry that exists; else a new one.

    Every method raises StoreUnavailableError when the store does not answer: never a granted lock.
    """

    def __init__(self, store: S, key: str, *, ttl: float, token: str | None = None) -> None:
        self.ttl_ms = arguments.milliseconds(ttl)
        super().__init__(store)
        self.key = key
        self.ttl = ttl
        self.token = (
            secrets.token_urlsafe(16) if token is None else arguments.string("lock_id", token)
        )

    def take(self) -> Flow[bool]:
        """Take the lock if it is free; True when this entry holds it. Interrupted, it holds nothing."""
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
        # A repeated SET NX finds the first one, whose answer was lost, in its way.
        (holder,) = yield Batch(("GET", self.key))
        if holder != self.token.encode():
            return False
        return (yield from LockHandle.extend.flow(self))

    @operation
    def extend(self) -> Flow[bool]:
        """Give the lock its full life from now on; False when this entry no longer holds it."""
        reply = yield from scripts.run("lock_extend", self.key, self.token, self.ttl_ms)
        return bool(reply)

    @operation
    def release(self, *, once: bool = False) -> Flow[bool]:
        """Release the lock; False when this entry no longer held it (no other holder loses it).

        Args:
            once: do not try again when the answer gets lost: a second try would find it gone.
        """
        reply = yield from scripts.run("lock_release", self.key, self.token, once=once)
        return bool(reply)


class Lock(Operations[S]):
    """The lock of one resource; threads, tasks and forked processes may share the object.

    Each `acquire` that succeeds is an entry of its own. It belongs to the thread or asyncio task that
    acquired it: `extend` and `release` by another one answer False, while that one ttls. To hand an
    entry to another thread, give it what `handle_of` returns.

    Args:
        store: where the lock is kept.
        key: the key of the resource.
        ttl: life in seconds without extension.

    Every method raises StoreUnavailableError when the store does not answer: never a granted lock.
    """

    def __init__(self, store: S, key: str, *, ttl: float) -> None:
        super().__init__(store)
        self.key = key
        self.ttl = ttl
        reset_after_fork(self, Lock._reset)

    def _reset(self) -> None:
        # Taken out by each attempt and put back when it was not granted: one whose answer got lost is
        # recognised by its token when it is made again. One that was interrupted is not put back: what
        # undoes it may still be on its way. A forked child has tokens of its own.
        self._unused: list[LockHandle[S]] = [self._new_entry()]
        self._held: tuple[Caller, LockHandle[S]] | None = None

    def _latest(self) -> LockHandle[S]:
        """Return the entry that was granted last; before the first, the one that is asked for next."""
        if self._held is not None:
            return self._held[1]
        return self._unused[-1] if self._unused else self._new_entry()

    @property
    def token(self) -> str:
        """The token that was granted last; before the first, the one that is asked for next."""
        return self._latest().token

    @property
    def ttl_ms(self) -> int:
        """The life in whole milliseconds, as the store counts it."""
        return arguments.milliseconds(self.ttl)

    @operation
    def acquire(self) -> Flow[bool]:
        """Take the lock if it is free; False while it is held, be it by the caller itself."""
        try:
            entry = self._unused.pop()
        except IndexError:
            entry = self._new_entry()
        try:
            acquired = yield from entry.take()
        except StoreUnavailableError:
            self._unused.append(entry)
            raise
        if acquired:
            self._held = Caller(), entry
        else:
            self._unused.append(entry)
        return acquired

    @operation
    def extend(self) -> Flow[bool]:
        """Give the lock its full life from now on; False when the caller does not hold it (any more)."""
        # Looked up when it runs, not when it is called: a task may be made of it.
        return (yield from LockHandle.extend.flow(self._entry_of_caller()))

    @operation
    def release(self, *, once: bool = False) -> Flow[bool]:
        """Release the lock; False when the caller did not hold it (any more).

        Args:
            once: do not try again when the answer gets lost: a second try would find it gone.
        """
        entry = self._entry_of_caller()
        released = yield from LockHandle.release.flow(entry, once=once)
        if self._held is not None and self._held[1] is entry:
            self._held = None
        return released

    def _entry_of_caller(self) -> LockHandle[S]:
        """Return the caller's entry, or one that holds nothing."""
        if self._held is not None:
            caller, entry = self._held
            if caller.is_me() or caller.is_finished():
                return entry
        return self._new_entry()

    def _new_entry(self) -> LockHandle[S]:
        return LockHandle(self.store, self.key, ttl=self.ttl)


def handle_of(lock: Lock[S]) -> LockHandle[S]:
    """Return the entry that the caller has just acquired, for any thread to extend and release."""
    return lock._latest()


class _Entry(Protocol):
    """What `extend_all` asks of a lock or of an entry into one."""

    @property
    def key(self) -> str: ...
    @property
    def token(self) -> str: ...
    @property
    def ttl_ms(self) -> int: ...
    @property
    def store(self) -> SyncStore: ...


def extend_all(locks: Sequence[_Entry]) -> list[bool]:
    """Extend several locks of one store in one round trip; answers come in the same order.

    A lock whose key holds something else now is not extended.
    """
    if not locks:
        return []
    commands = [scripts.call("lock_extend", lock.key, lock.token, lock.ttl_ms) for lock in locks]
    extending = scripts.run_pipeline(["lock_extend"], commands, keep_reply_errors=True)
    return [reply == 1 for reply in locks[0].store.run(extending)]
