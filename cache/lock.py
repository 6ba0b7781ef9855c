"""A lock with one holder: SET NX PX with a token of its own, compare-and-delete, compare-and-extend."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from redis import Redis
from redis.client import Pipeline

from cache import scripts
from cache.connection import store_errors


class Lock:
    """One attempt to hold one resource.

    The store lets the lock go by itself after `ttl` seconds: who works longer must extend it, and must
    stop before it runs out when that fails (`worker.lease` does both). A lock alone does not make
    writes safe, since a holder may be paused past its end; pair it with a fencing number.

    Args:
        client: connection to the store.
        key: the key of the resource.
        ttl: life in seconds without extension.

    Every method raises StoreUnavailableError when the store does not answer: never a granted lock.
    """

    def __init__(self, client: Redis, key: str, *, ttl: float) -> None:
        self.client = client
        self.key = key
        self.ttl = ttl
        self.token = secrets.token_urlsafe(16)

    @property
    def ttl_ms(self) -> int:
        """The life in whole milliseconds, as the store counts it."""
        return max(1, round(self.ttl * 1000))

    def acquire(self) -> bool:
        """Take the lock if nobody holds it; True when it is ours."""
        with store_errors():
            if self.client.set(self.key, self.token, nx=True, px=self.ttl_ms):
                return True
            # A repeated SET NX finds the first one's success in its way: then the token is ours.
            return self.client.get(self.key) == self.token.encode()

    def extend(self) -> bool:
        """Give it a new life from now on; False when it is no longer ours."""
        with store_errors():
            return bool(
                scripts.run(self.client, "lock_extend", [self.key], [self.token, self.ttl_ms])
            )

    def release(self) -> bool:
        """Let it go; False when it was no longer ours (another holder's lock is never touched)."""
        with store_errors():
            return bool(scripts.run(self.client, "lock_release", [self.key], [self.token]))


def extend_all(locks: Sequence[Lock]) -> list[bool]:
    """Extend several locks of one store in one round trip; answers come in the same order."""
    if not locks:
        return []

    def fill(pipe: Pipeline) -> None:
        for lock in locks:
            scripts.add(pipe, "lock_extend", [lock.key], [lock.token, lock.ttl_ms])

    with store_errors():
        return [bool(reply) for reply in scripts.pipelined(locks[0].client, ["lock_extend"], fill)]
