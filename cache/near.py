"""The near cache: values in this process's memory, which the server itself takes back when they change.

Off unless it is asked for. Its reads go through one connection on which the server tracks them (RESP3,
CLIENT TRACKING in its default mode, which Dragonfly, Redis and Valkey all have). When such a key
changes, expires or is evicted, the server says so on that connection; every lookup first takes in
what has arrived.

How stale a hit can be: by the time an invalidation travels, usually well under a millisecond. Should the
connection die unnoticed (a pulled cable), by `TRUST` seconds: without a sign of life that recent
nothing is served. Never past the key's own TTL.

redis-py has a cache of its own. It keeps replies, not values, behind locks of its pool and
connection, has no asyncio side, and does not notice a half-open connection; a hit there costs about a
third of a round trip.

Values are handed out as they are, the same object to every caller: treat them as read-only.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import select
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from redis.exceptions import RedisError, ResponseError

from cache.store.breaker import Breaker
from cache.store.connection import is_unavailable, store_errors

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds after the connection's last sign of life during which its silence means "nothing has changed".
TRUST = 1.0
#: Longest life of an entry in seconds, whatever its TTL: a bound should a server forget to tell.
LONGEST = 60.0


class Fetched:
    """What the server said about one key, and its place, which goes if the key changes."""

    __slots__ = ("ends", "raw")

    def __init__(self) -> None:
        self.raw: bytes | None = None
        self.ends = 0.0


@dataclass(slots=True)
class _Entry:
    ends: float
    values: dict[Any, Any]
    """The value as each model it has been read as."""


class NearCache:
    """A bounded map from key to value; safe for threads.

    Args:
        connect: makes an unconnected RESP3 connection.
        prefixes: keys that it keeps.
        entries: how many at most; the oldest goes first.
        breaker: that of the store behind it.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        prefixes: Iterable[str],
        *,
        entries: int,
        breaker: Breaker,
    ) -> None:
        self._connect = connect
        self._prefixes = tuple(prefixes)
        self._limit = entries
        self._breaker = breaker
        # Held by whoever reads the connection or changes the entries on its account.
        self._mutex = threading.RLock()
        self._entries: dict[str, _Entry | Fetched] = {}
        self._connection: Any | None = None
        self._poll: select.epoll | None = None
        self._trusted_until = 0.0
        self._supported = True
        self._pid = os.getpid()

    def covers(self, key: str) -> bool:
        """Say whether a key is kept here."""
        return key.startswith(self._prefixes) and self._supported

    def doubtful(self) -> bool:
        """Say whether the connection must show that it lives before anything is served (`check`)."""
        return self._connection is not None and time.monotonic() >= self._trusted_until

    def lookup(self, key: str, model: type[T]) -> T | None:
        """Return the value, or None; does not block."""
        entry = self._entries.get(key)
        if type(entry) is not _Entry:
            return None
        poll = self._poll
        if poll is None or self._pid != os.getpid():
            self._lose()
            return None
        try:
            spoken = poll.poll(0)
        except ValueError:  # another thread has just lost the connection
            return None
        if spoken:
            self._take_in()
            entry = self._entries.get(key)
            if type(entry) is not _Entry:
                return None
        now = time.monotonic()
        if now >= self._trusted_until or now >= entry.ends:
            return None
        return cast("T | None", entry.values.get(model))

    def check(self) -> None:
        """Ask the connection for a sign of life; without one everything here is forgotten. Blocks."""
        with self._mutex:
            if not self.doubtful() or self._connection is None:
                return
            try:
                self._ask(self._connection, ("PING",))
            except (RedisError, OSError):
                self._lose()

    def fetch(self, key: str) -> Fetched | None:
        """Read a key and have the server track it; None when the server cannot do that. Blocks.

        Raises:
            StoreUnavailableError: no answer.
        """
        ticket = self._breaker.enter()
        with self._mutex, store_errors():
            try:
                connection = self._connected()
                fetched = self._entries[key] = Fetched()
                asked_at = time.monotonic()
                fetched.raw, left = self._ask(connection, ("GET", key), ("PTTL", key))
            except (RedisError, OSError) as error:
                self._lose()
                if isinstance(error, ResponseError) and not is_unavailable(error):
                    self._give_up(error)
                    return None
                self._breaker.unanswered(ticket)
                raise
            self._breaker.answered()
            fetched.ends = asked_at + (min(LONGEST, left / 1000) if left >= 0 else LONGEST)
            if fetched.raw is None:
                self._forget(key, fetched)
            return fetched

    def keep(
        self, key: str, model: Any, value: Any, fetched: Fetched, seconds: float = math.inf
    ) -> None:
        """Keep the value of a key as it was fetched, unless the key has changed since.

        Args:
            seconds: no longer than this from now, whatever the key's TTL.
        """
        with self._mutex:
            if self._entries.get(key) is fetched:
                ends = min(fetched.ends, time.monotonic() + seconds)
                self._entries[key] = _Entry(ends, {model: value})
                self._shed()

    def forget(self, keys: Sequence[str]) -> None:
        """Let go of keys that this process has changed itself: it need not wait to be told."""
        with self._mutex:
            for key in keys:
                self._entries.pop(key, None)

    def close(self) -> None:
        """Close the connection and forget everything; the next fetch connects again."""
        self._lose()

    # ── the connection ──────────────────────────────────────────────────────────────────────────

    def _connected(self) -> Any:
        if self._connection is not None and self._pid == os.getpid():
            return self._connection
        # A forked child must not read from its parent's connection, nor close it for both.
        self._lose()
        self._pid = os.getpid()
        connection = self._connect()
        connection.connect()
        connection.send_command("CLIENT", "TRACKING", "ON")
        connection.read_response()
        connection._parser.set_invalidation_push_handler(self._invalidated)
        self._poll = select.epoll()
        self._poll.register(connection._sock.fileno(), select.EPOLLIN | select.EPOLLRDHUP)
        self._connection = connection
        return connection

    def _ask(self, connection: Any, *commands: tuple[str, ...]) -> list[Any]:
        asked_at = time.monotonic()
        connection.send_packed_command(connection.pack_commands(commands), check_health=False)
        replies = [connection.read_response() for _ in commands]
        self._trusted_until = asked_at + TRUST
        return replies

    def _take_in(self) -> None:
        """Read what the server has said by itself."""
        with self._mutex:
            connection = self._connection
            try:
                while connection is not None and connection.can_read():
                    connection.read_response(push_request=True)
            except (RedisError, OSError):
                self._lose()

    def _invalidated(self, message: list[Any]) -> None:
        """Called by the parser, while we hold the mutex: these keys have changed (None: all of them)."""
        keys = message[1]
        if keys is None:
            self._entries.clear()
            return
        for key in keys:
            self._entries.pop(key.decode(), None)

    def _lose(self) -> None:
        """Forget everything: nobody would tell us what changes from now on."""
        with self._mutex:
            self._entries.clear()
            self._trusted_until = 0.0
            connection, self._connection = self._connection, None
            poll, self._poll = self._poll, None
            if poll is not None:
                poll.close()
            if connection is not None and self._pid == os.getpid():
                with contextlib.suppress(RedisError, OSError):
                    connection.disconnect()

    def _give_up(self, error: ResponseError) -> None:
        self._supported = False
        logger.warning("This server cannot track keys, so there is no near cache: %s", error)

    def _forget(self, key: str, fetched: Fetched) -> None:
        if self._entries.get(key) is fetched:
            del self._entries[key]

    def _shed(self) -> None:
        while len(self._entries) > self._limit:
            self._entries.pop(next(iter(self._entries)))
