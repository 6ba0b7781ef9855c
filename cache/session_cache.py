"""Sessions, users, rate limits and locks by name."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeVar

from cache import codec, rate_limit, ttl
from cache.hold import LockHold
from cache.lock import Lock
from cache.models import LockGrant, RateDecision, RateLimit, SessionData, UserData
from cache.rate_limit import Failing
from cache.store import scripts
from cache.store.plan import Batch, Operations, Plan, S, operation
from cache.values import Values, milliseconds
from domain.errors import InvalidInputError, StoreUnavailableError

T = TypeVar("T")

#: A session that others change at the same time is read anew this often before a touch gives up.
TRIES = 5


class SessionCache(Operations[S]):
    """Sessions and users in front of the database that has them, rate limits, and locks.

    Ids and tokens stand in no log line. On an `AsyncStore` every method is a coroutine.

    When the store does not answer, `get_session` and `get_user` are misses and `set_session`, `set_user`
    drop what they were given; a rate limit fails as it is told; everything else raises
    StoreUnavailableError, deletions above all: a session that was not deleted is still good.
    """

    def __init__(self, store: S, values: Values) -> None:
        super().__init__(store)
        self._values = values
        self._keys = values.keys

    # ── sessions ────────────────────────────────────────────────────────────────────────────────

    @operation
    def set_session(self, session: SessionData) -> Plan[bool]:
        """Store a session, until it expires or for 24 h, whichever is sooner; False when it was dropped.

        Raises:
            InvalidInputError: it has expired already.
        """
        life_ms = _life_ms(session)
        commands = [
            (
                "SET",
                self._keys.session_key(session.session_id),
                codec.encode(session),
                "PX",
                life_ms,
            ),
            scripts.call("index_add", *self._index(session), life_ms),
        ]
        try:
            yield from scripts.pipelined(["index_add"], commands)
        except StoreUnavailableError:
            self._values.counter.add("dropped_writes")
            return False
        return True

    @operation
    def get_session(self, session_id: str) -> Plan[SessionData | None]:
        """Return a session, or None when there is none or it has expired, whatever its TTL says."""
        key = self._keys.session_key(session_id)
        return _unexpired((yield from self._values.get(key, SessionData)))

    @operation
    def touch(self, session_id: str, *, expires_at: datetime | None = None) -> Plan[bool]:
        """Give a session its full life in the cache again; False when there is none.

        Args:
            expires_at: also let it expire then. A session that is deleted or changed at the same time
                stays deleted or changed.
        """
        key = self._keys.session_key(session_id)
        for _ in range(TRIES):
            (raw,) = yield Batch(("GET", key))
            session = _unexpired((yield from self._values.read(key, raw, SessionData)))
            if session is None or raw is None:
                return False
            if expires_at is not None:
                session = session.model_copy(update={"expires_at": expires_at})
            life_ms = _life_ms(session)
            swapped = yield from scripts.run("value_swap", key, raw, codec.encode(session), life_ms)
            if swapped:
                yield from scripts.run("index_add", *self._index(session), life_ms)
                return True
        return False

    @operation
    def delete_session(self, session_id: str) -> Plan[bool]:
        """Forget a session; False when there was none."""
        key = self._keys.session_key(session_id)
        (raw,) = yield Batch(("GET", key))
        deleted = yield from self._values.delete(key)
        session = yield from self._values.read(key, raw, SessionData)
        if session is not None:
            index, member = self._index(session)
            yield Batch(("ZREM", index, member))
        return deleted > 0

    @operation
    def list_sessions(self, user_id: str) -> Plan[list[SessionData]]:
        """Return a user's sessions, the one that expires last first. Raises without a store."""
        ids = yield from self._session_ids(user_id)
        if not ids:
            return []
        keys = [self._keys.session_key(one) for one in ids]
        (raws,) = yield Batch(("MGET", *keys))
        found = []
        for key, raw in zip(keys, raws, strict=True):
            found.append(_unexpired((yield from self._values.read(key, raw, SessionData))))
        gone = [one for one, session in zip(ids, found, strict=True) if session is None]
        if gone:
            yield Batch(("ZREM", self._keys.user_sessions_key(user_id), *gone))
        return [session for session in found if session is not None]

    @operation
    def count_sessions(self, user_id: str) -> Plan[int]:
        """Return how many sessions a user has. Raises without a store."""
        ids = yield from self._session_ids(user_id)
        if not ids:
            return 0
        (count,) = yield Batch(("EXISTS", *(self._keys.session_key(one) for one in ids)))
        return int(count)

    @operation
    def invalidate_user_sessions(self, user_id: str, *, keep: str | None = None) -> Plan[int]:
        """Forget a user's sessions, or all but `keep`; return how many. Raises without a store."""
        index = self._keys.user_sessions_key(user_id)
        (members,) = yield Batch(("ZRANGE", index, 0, -1))
        ids = [member.decode() for member in members if member.decode() != keep]
        if not ids:
            return 0
        deleted = yield from self._values.delete(*(self._keys.session_key(one) for one in ids))
        # Not the whole index: a session that began meanwhile must stay in it.
        yield Batch(("ZREM", index, *ids))
        return deleted

    # ── users ───────────────────────────────────────────────────────────────────────────────────

    @operation
    def set_user(self, user: UserData) -> Plan[bool]:
        """Store a user's profile for 15 minutes; False when it was dropped."""
        return self._values.set(self._keys.user_key(user.id), user, ttl.USER)

    @operation
    def get_user(self, user_id: str) -> Plan[UserData | None]:
        """Return a user's profile, or None when there is none."""
        return self._values.get(self._keys.user_key(user_id), UserData)

    @operation
    def invalidate_user(self, user_id: str) -> Plan[bool]:
        """Forget a user's profile; False when there was none. Raises without a store."""
        return (yield from self._values.delete(self._keys.user_key(user_id))) > 0

    # ── rate limits ─────────────────────────────────────────────────────────────────────────────

    @operation
    def rate_limit_check(
        self,
        user_id: str,
        action: str,
        limit: int,
        window: float = ttl.RATE_LIMIT,
        *,
        cost: int = 1,
        fail: Failing = "open",
    ) -> Plan[RateDecision]:
        """Take `cost` from a user's limit for an action: at most `limit` in any `window` seconds.

        Exact under concurrency, by the server's clock, in one round trip. What is refused takes nothing.

        Args:
            cost: units to take; 0 only looks.
            fail: what happens when the store does not answer: "open" allows, "closed" refuses.
        """
        limits = [RateLimit(limit=limit, window=window)]
        return rate_limit.check(self._keys.rate_limit_key(user_id, action), limits, cost, fail)

    @operation
    def rate_limits_check(
        self,
        user_id: str,
        action: str,
        limits: Sequence[RateLimit],
        *,
        cost: int = 1,
        fail: Failing = "open",
    ) -> Plan[RateDecision]:
        """Take `cost` from several limits of one action at once, or from none of them.

        One action always comes with the same limits: they share one log.
        """
        return rate_limit.check(self._keys.rate_limit_key(user_id, action), limits, cost, fail)

    # ── locks ───────────────────────────────────────────────────────────────────────────────────

    @operation
    def acquire_lock(self, resource: str, ttl: float = ttl.LOCK) -> Plan[LockGrant]:
        """Take the lock of a resource for `ttl` seconds if nobody holds it. Raises without a store."""
        lock = self._lock(resource, ttl)
        return LockGrant(lock.token, (yield from Lock.acquire.plan(lock)))

    @operation
    def extend_lock(self, resource: str, lock_id: str, ttl: float = ttl.LOCK) -> Plan[bool]:
        """Give one's own lock a new life from now on; False when it is no longer one's own."""
        return Lock.extend.plan(self._lock(resource, ttl, lock_id))

    @operation
    def release_lock(self, resource: str, lock_id: str) -> Plan[bool]:
        """Let one's own lock go; False when it was no longer one's own."""
        return Lock.release.plan(self._lock(resource, ttl.LOCK, lock_id))

    def lock(self, resource: str, *, ttl: float = ttl.LOCK, wait: float = 0.0) -> LockHold[S]:
        """Return a context manager that holds the lock of a resource and renews it until its block ends.

        Args:
            wait: seconds to wait while somebody else holds it; then, or at once with 0, LockTakenError.
        """
        return LockHold(self.store, self._lock(resource, ttl), wait=wait)

    def _lock(self, resource: str, ttl: float, token: str | None = None) -> Lock[S]:
        return Lock(self.store, self._keys.lock_key(resource), ttl=ttl, token=token)

    # ── helpers ─────────────────────────────────────────────────────────────────────────────────

    def _index(self, session: SessionData) -> tuple[str, str]:
        return self._keys.user_sessions_key(session.user_id), session.session_id

    def _session_ids(self, user_id: str) -> Plan[list[str]]:
        (members,) = yield Batch(("ZREVRANGE", self._keys.user_sessions_key(user_id), 0, -1))
        return [member.decode() for member in members]


def _unexpired(session: SessionData | None) -> SessionData | None:
    if session is None or session.expires_at <= datetime.now(UTC):
        return None
    return session


def _life_ms(session: SessionData) -> int:
    left = (session.expires_at - datetime.now(UTC)).total_seconds()
    if left <= 0:
        raise InvalidInputError(
            "expires_at", session.expires_at.isoformat(), "It is in the past; nothing was stored."
        )
    return milliseconds(min(ttl.SESSION, left))
