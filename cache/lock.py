"""A lock with one holder: SET NX PX with a token of its own, compare-and-delete, compare-and-extend."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from cache.store import scripts
from cache.store.operation import Operations, S, operation
from cache.store.plan import Batch, Plan
from cache.store.sync import SyncStore
from domain.errors import InvalidInputError


class Lock(Operations[S]):
    """One attempt to hold one resource.

    The store lets the lock go by itself after `ttl` seconds: who works longer must extend it, and must
    stop before it runs out when that fails (`cache.hold` and `worker.lease` do both). A lock alone
    does not make writes safe, since a holder may be paused past its end; pair it with a fencing
    number.

    Args:
        store: where it is kept.
        key: the key of the resource.
        ttl: life in seconds without extension.
        token: that of an earlier attempt, to extend or release what it has acquired; else a new one.

    Every method raises StoreUnavailableError when the store does not answer: never a granted lock.
    """

    def __init__(self, store: S, key: str, *, ttl: float, token: str | None = None) -> None:
        if not ttl > 0:
            raise InvalidInputError("ttl", ttl, "A life is more than 0 seconds.")
        super().__init__(store)
        self.key = key
        self.ttl = ttl
        self.token = secrets.token_urlsafe(16) if token is None else token

    @property
    def ttl_ms(self) -> int:
        """The life in whole milliseconds, as the store counts it."""
        return max(1, round(self.ttl * 1000))

    @operation
    def acquire(self) -> Plan[bool]:
        """Take the lock if nobody holds it; True when it is ours."""
        (taken,) = yield Batch(("SET", self.key, self.token, "NX", "PX", self.ttl_ms))
        if taken is not None:
            return True
        # A repeated SET NX finds the first one's success in its way: then the token is ours.
        (holder,) = yield Batch(("GET", self.key))
        return bool(holder == self.token.encode())

    @operation
    def extend(self) -> Plan[bool]:
        """Give it a new life from now on; False when it is no longer ours."""
        reply = yield from scripts.run("lock_extend", self.key, self.token, self.ttl_ms)
        return bool(reply)

    @operation
    def release(self, *, once: bool = False) -> Plan[bool]:
        """Let it go; False when it was no longer ours (another holder's lock is never touched).

        Args:
            once: do not try again when the answer gets lost: a second try would find it gone.
        """
        reply = yield from scripts.run("lock_release", self.key, self.token, once=once)
        return bool(reply)


def extend_all(locks: Sequence[Lock[SyncStore]]) -> list[bool]:
    """Extend several locks of one store in one round trip; answers come in the same order."""
    if not locks:
        return []
    commands = [scripts.call("lock_extend", lock.key, lock.token, lock.ttl_ms) for lock in locks]
    replies = locks[0].store.run(scripts.pipelined(["lock_extend"], commands))
    return [bool(reply) for reply in replies]
