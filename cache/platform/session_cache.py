"""Sessions, users, rate limits and locks by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from cache import arguments, ttl
from cache.accounts import SessionData, UserData
from cache.arguments import Duration
from cache.coordination import rate_limit
from cache.coordination.held_lock import HeldLock
from cache.coordination.lock import LockHandle
from cache.coordination.rate_limit import FailMode
from cache.keys import check_application_lock, possible_key
from cache.models import LockGrant, RateDecision, RateLimit
from cache.platform import codec
from cache.platform.values import BATCH, Values
from cache.store import scripts
from cache.store.flow import Batch, Command, Flow
from cache.store.operation import Operations, S, operation
from domain.errors import InvalidInputError, StoreUnavailableError

#: Attempts of `touch` while other callers change the session.
MAX_ATTEMPTS = 5


class SessionCache(Operations[S]):
    """A cache of sessions and users in front of a database; rate limits; locks by name.

    An id may be whatever a client has sent. Nothing is stored under one that no key can have, so a read
    is a miss, and a deletion returns False or 0. `set_session` and `set_user` refuse it.

    Ids and tokens appear in no log line. On an `AsyncStore` every method is a coroutine.

    While the store does not answer, `get_session` and `get_user` are misses, `set_session` and
    `set_user` are dropped, and a rate limit follows its `fail`. All other methods raise
    StoreUnavailableError: a session that was not deleted, for example, is still valid.
    """

    def __init__(self, store: S, values: Values) -> None:
        super().__init__(store)
        self._values = values
        self._keys = values.keys

    # ── sessions ─────────────────────────────────────────────────────────────────────────────────

    @operation
    def set_session(self, session: SessionData) -> Flow[bool]:
        """Store a session until it expires, at most 24 h; return False if it was dropped.

        Raises:
            InvalidInputError: it has expired.
        """
        arguments.instance("session", session, SessionData)
        key, ttl_ms = self._keys.session_key(session.session_id), _ttl_ms(session)
        indexed = self._add_to_index(session, ttl_ms)
        stored = ("SET", key, codec.encode(session), "PX", ttl_ms)
        try:
            # An error reply (a key of another type) is ignored: SET overwrites any type.
            (former,) = yield Batch(("GET", key), errors_as_replies=True)
            # Atomic: an invalidation would not find a session that is missing in the index.
            yield Batch(
                stored,
                indexed,
                *self._remove_from_former_index(session, former),
                atomic=True,
            )
        except StoreUnavailableError:
            self._values.counter.add("dropped_writes")
            return False
        finally:
            self._values.discard_local(key)
        return True

    @operation
    def get_session(self, session_id: str | None) -> Flow[SessionData | None]:
        """Return a session, or None if it does not exist or `expires_at` has passed.

        The id may be a request's cookie as it is, also a missing one.
        """
        key = possible_key(self._keys.session_key, session_id)
        return _unexpired((yield from self._values.get_possible(key, SessionData)))

    @operation
    def touch(self, session_id: str | None, *, expires_at: datetime | None = None) -> Flow[bool]:
        """Renew a session's TTL; return False if the session does not exist.

        Args:
            expires_at: the session's new expiry. A concurrent deletion or change of the session wins.
        """
        if expires_at is not None:
            arguments.aware_datetime("expires_at", expires_at)
        key = possible_key(self._keys.session_key, session_id)
        if key is None:
            return False
        for _ in range(MAX_ATTEMPTS):
            (raw,) = yield Batch(("GET", key))
            session = _unexpired((yield from self._values.read(key, raw, SessionData)))
            if session is None or raw is None:
                return False
            renewed = raw  # with the fields of a newer version, if any
            if expires_at is not None:
                session = session.model_copy(update={"expires_at": expires_at})
                renewed = codec.encode(session)
            ttl_ms = _ttl_ms(session)
            swap = scripts.call_with_source("value_swap", key, raw, renewed, ttl_ms)
            # The index entry of a session that has just been deleted is harmless and expires.
            swapped, _ = yield Batch(swap, self._add_to_index(session, ttl_ms), atomic=True)
            self._values.discard_local(key)
            if swapped:
                return True
        return False

    @operation
    def delete_session(self, session_id: str | None) -> Flow[bool]:
        """Delete a session; return False if it did not exist."""
        key = possible_key(self._keys.session_key, session_id)
        if key is None:
            return False
        (raw,) = yield Batch(("GET", key))
        session = yield from self._values.read(key, raw, SessionData)
        commands: list[Command] = [("UNLINK", key)]
        if session is not None:
            commands.append(("ZREM", *self._index(session)))
        # Atomic: a session that is set in between would be missing in the index.
        deleted, *_ = yield Batch(*commands, atomic=True)
        self._values.discard_local(key)
        return bool(deleted)

    @operation
    def list_sessions(self, user_id: str) -> Flow[list[SessionData]]:
        """Return a user's sessions, ordered from the latest expiry. Raises without a store."""
        ids = yield from self._session_ids(user_id)
        if not ids:
            return []
        keys = [self._keys.session_key(one) for one in ids]
        (raws,) = yield Batch(("MGET", *keys))
        found = []
        for key, raw in zip(keys, raws, strict=True):
            session = _unexpired((yield from self._values.read(key, raw, SessionData)))
            # The index may contain a session that now belongs to another user.
            if session is not None and session.user_id == user_id:
                found.append(session)
        return found

    @operation
    def invalidate_user_sessions(self, user_id: str, *, keep: str | None = None) -> Flow[int]:
        """Delete a user's sessions, except `keep`; return how many. Raises without a store."""
        if keep is not None:
            arguments.text("keep", keep)
        ids = [one for one in (yield from self._session_ids(user_id)) if one != keep]
        deleted = 0
        for start in range(0, len(ids), BATCH):
            some = yield from self._without_other_users(user_id, ids[start : start + BATCH])
            if not some:
                continue
            keys = [self._keys.session_key(one) for one in some]
            # Atomic, and not the whole index: a session that is set meanwhile must stay in it.
            index = self._keys.user_sessions_key(user_id)
            count, _ = yield Batch(("UNLINK", *keys), ("ZREM", index, *some), atomic=True)
            self._values.discard_local(*keys)
            deleted += count
        return deleted

    # ── users ────────────────────────────────────────────────────────────────────────────────────

    @operation
    def set_user(self, user: UserData) -> Flow[bool]:
        """Store a user's profile for 15 minutes; return False if it was dropped."""
        arguments.instance("user", user, UserData)
        return self._values.set(self._keys.user_key(user.id), user, ttl.USER)

    @operation
    def get_user(self, user_id: str) -> Flow[UserData | None]:
        """Return a user's profile, or None."""
        return self._values.get_possible(possible_key(self._keys.user_key, user_id), UserData)

    @operation
    def invalidate_user(self, user_id: str) -> Flow[bool]:
        """Delete a user's profile; return False if there was none. Raises without a store."""
        key = possible_key(self._keys.user_key, user_id)
        return key is not None and (yield from self._values.delete(key)) > 0

    # ── rate limits ──────────────────────────────────────────────────────────────────────────────

    @operation
    def rate_limit_check(
        self,
        user_id: str,
        action: str,
        limit: int,
        window: Duration = ttl.RATE_LIMIT,
        *,
        cost: int = 1,
        fail: FailMode = "open",
    ) -> Flow[RateDecision]:
        """Take `cost` from a user's limit for an action: at most `limit` in any `window` seconds.

        Exact under concurrency, by the server's clock, in one round trip. A refused call takes nothing.

        Args:
            cost: units to take; 0 only reads the state.
            fail: the decision while the store does not answer: "open" allows, "closed" refuses.
        """
        arguments.integer("limit", limit, least=1)
        limits = _one_limit(limit, arguments.seconds("window", window))
        return self._check_limits(user_id, action, limits, cost, fail)

    @operation
    def rate_limits_check(
        self,
        user_id: str,
        action: str,
        limits: Sequence[RateLimit],
        *,
        cost: int = 1,
        fail: FailMode = "open",
    ) -> Flow[RateDecision]:
        """Take `cost` from all limits of one action, or from none of them.

        Pass the same limits in every call of an action: they share one log.
        """
        return self._check_limits(user_id, action, limits, cost, fail)

    def _check_limits(
        self, user_id: str, action: str, limits: Sequence[RateLimit], cost: int, fail: FailMode
    ) -> Flow[RateDecision]:
        key = self._keys.rate_limit_key(user_id, action)
        decision = yield from rate_limit.check(key, limits, cost, fail)
        if not decision.states:
            self._values.counter.add("undecided_rate_limits")
        return decision

    # ── locks ────────────────────────────────────────────────────────────────────────────────────

    @operation
    def acquire_lock(self, resource: str, ttl: Duration = ttl.LOCK) -> Flow[LockGrant]:
        """Acquire the lock of a resource for `ttl` if it is free. Raises without a store.

        Raises:
            InvalidInputError: the service has a lock of that name (`cache.keys.RESERVED_LOCKS`).
        """
        entry = self._entry(resource, ttl)
        return LockGrant(entry.token, (yield from entry.take()))

    @operation
    def extend_lock(self, resource: str, lock_id: str, ttl: Duration = ttl.LOCK) -> Flow[bool]:
        """Renew the TTL of a lock; return False if `lock_id` no longer holds it."""
        return LockHandle.extend.flow(self._entry(resource, ttl, _lock_id(lock_id)))

    @operation
    def release_lock(self, resource: str, lock_id: str) -> Flow[bool]:
        """Release a lock; return False if `lock_id` no longer held it."""
        return LockHandle.release.flow(self._entry(resource, ttl.LOCK, _lock_id(lock_id)))

    def lock(self, resource: str, *, ttl: Duration = ttl.LOCK, wait: Duration = 0.0) -> HeldLock[S]:
        """Return a context manager that holds the lock of a resource and renews it until its block ends.

        Args:
            wait: how long to wait while another holder has it (0: not at all) before LockTakenError.
        """
        return HeldLock(self.store, self._lock_key(resource), ttl=ttl, wait=wait)

    def _entry(self, resource: str, ttl: Duration, token: str | None = None) -> LockHandle[S]:
        return LockHandle(self.store, self._lock_key(resource), ttl=ttl, token=token)

    def _lock_key(self, resource: str) -> str:
        return self._keys.lock_key(check_application_lock(resource))

    # ── helpers ──────────────────────────────────────────────────────────────────────────────────

    def _index(self, session: SessionData) -> tuple[str, str]:
        return self._keys.user_sessions_key(session.user_id), session.session_id

    def _add_to_index(self, session: SessionData, ttl_ms: int) -> Command:
        # With its source: a transaction cannot react to NOSCRIPT.
        return scripts.call_with_source("index_add", *self._index(session), ttl_ms)

    def _remove_from_former_index(self, session: SessionData, former: Any) -> Iterator[Command]:
        """Remove a session from the index of its previous user."""
        user_id = _user_of(former)
        if user_id is not None and user_id != session.user_id:
            yield ("ZREM", self._keys.user_sessions_key(user_id), session.session_id)

    def _without_other_users(self, user_id: str, ids: Sequence[str]) -> Flow[list[str]]:
        """Return the ids without those of other users' sessions; an unreadable session has no user."""
        (raws,) = yield Batch(("MGET", *(self._keys.session_key(one) for one in ids)))
        users = (_user_of(raw) for raw in raws)
        return [one for one, user in zip(ids, users, strict=True) if user in (None, user_id)]

    def _session_ids(self, user_id: str) -> Flow[list[str]]:
        index = possible_key(self._keys.user_sessions_key, user_id)
        if index is None:
            return []
        (members,) = yield Batch(("ZREVRANGE", index, 0, -1))
        return [member.decode() for member in members]


def _lock_id(value: str) -> str:
    return arguments.string("lock_id", value)


def _user_of(raw: Any) -> str | None:
    """Return the user of a stored session; None if it cannot be decoded."""
    if not isinstance(raw, bytes):
        return None
    with suppress(codec.UnreadableValueError):
        session = codec.decode(raw, SessionData)
        return None if session is None else session.user_id
    return None


@lru_cache(maxsize=1024)
def _one_limit(limit: int, window: float) -> tuple[RateLimit]:
    return (RateLimit(limit=limit, window=window),)


def _unexpired(session: SessionData | None) -> SessionData | None:
    if session is None or session.expires_at <= datetime.now(UTC):
        return None
    return session


def _ttl_ms(session: SessionData) -> int:
    left = (session.expires_at - datetime.now(UTC)).total_seconds()
    if left <= 0:
        raise InvalidInputError(
            "expires_at", session.expires_at.isoformat(), "It is in the past; nothing was stored."
        )
    return arguments.milliseconds(min(ttl.SESSION, left))
