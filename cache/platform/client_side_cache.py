"""The near cache: values in this process's memory, which the server itself takes back when they change.

Off unless it is asked for. Its reads go through one connection on which the server tracks them (RESP3,
CLIENT TRACKING in its default mode, which Dragonfly, Redis and Valkey all have). When such a key
changes, expires or is evicted, the server says so on that connection; every lookup first takes in
what has arrived.

How stale a hit can be: by the time an invalidation travels, usually well under a millisecond. Should the
connection die unnoticed (a pulled cable), by `TRUST` seconds: without a sign of life that recent
nothing is served. Never past the key's own TTL.

redis-py has a cache of its own. It refuses a server that does not call itself Redis 7.4 or newer (the
embedded one is 6.2), has no asyncio side, and keeps replies, so that every hit is read into its model
anew.

Values are handed out as they are, the same object to every caller: treat them as read-only.
"""

from __future__ import annotations

import contextlib
import logging
import math
import select
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from redis.exceptions import RedisError, ResponseError, TimeoutError

from cache.store.breaker import Breaker
from cache.store.connection import unavailable
from cache.store.fork import begin_in_each_process
from cache.store.refusals import refusal_in

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
    """A bounded map from key to value; safe for threads, and for children that are forked.

    Only `fetch` and `check` wait for the server, and nobody waits for another thread that does: whoever
    finds the connection in use goes without.

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
        self._supported = True
        begin_in_each_process(self, NearCache._begin)

    def _begin(self) -> None:
        # Held by whoever speaks or listens on the connection, however long the server takes.
        self._turn = threading.Lock()
        self._connection: Any | None = None
        self._poll: select.epoll | None = None
        self._trusted_until = 0.0
        # Held to change the entries, and no longer.
        self._mutex = threading.RLock()
        self._entries: dict[str, _Entry | Fetched] = {}

    def covers(self, key: str) -> bool:
        """Say whether a key is kept here."""
        return key.startswith(self._prefixes) and self._supported

    def doubtful(self) -> bool:
        """Say whether the connection must show that it lives before anything is served (`check`)."""
        return self._connection is not None and time.monotonic() >= self._trusted_until

    def lookup(self, key: str, model: type[T]) -> T | None:
        """Return the value, or None; does not block."""
        entry = self._entries.get(key)
        poll = self._poll
        if type(entry) is not _Entry or poll is None:
            return None
        try:
            spoken = poll.poll(0)
        except (ValueError, OSError):  # another thread has just lost the connection
            return None
        if spoken:
            if not self._take_in():
                return None
            entry = self._entries.get(key)
            if type(entry) is not _Entry:
                return None
        now = time.monotonic()
        if now >= self._trusted_until or now >= entry.ends:
            return None
        return cast("T | None", entry.values.get(model))

    def check(self) -> None:
        """Ask the connection for a sign of life; without one everything here is forgotten. Blocks.

        Raises:
            StoreUnavailableError: no answer.
        """
        with self._my_turn() as mine, self._answering():
            if mine and self.doubtful():
                self._ask(("PING",))

    def fetch(self, key: str) -> Fetched | None:
        """Read a key and have the server track it. Blocks.

        None when it must be read in the ordinary way, which tells what is wrong if anything is: the
        connection is in use or broken, or the server does not track keys, or refuses to read this one.

        Raises:
            StoreUnavailableError: no answer.
        """
        with self._my_turn() as mine, self._answering():
            if mine and not self._breaker.is_open and self._connected():
                return self._read(key)
        return None

    def keep(
        self, key: str, model: Any, value: Any, fetched: Fetched, seconds: float = math.inf
    ) -> None:
        """Keep the value of a key as it was fetched, unless the key has changed since.

        Args:
            seconds: no longer than this from now, whatever the key's TTL.
        """
        ends = min(fetched.ends, time.monotonic() + seconds)
        with self._mutex:
            if self._entries.get(key) is fetched:
                self._entries[key] = _Entry(ends, {model: value})

    def forget(self, keys: Iterable[str]) -> None:
        """Let go of keys that this process has changed itself: it need not wait to be told."""
        with self._mutex:
            for key in keys:
                self._entries.pop(key, None)

    def close(self) -> None:
        """Close the connection and forget everything; the next fetch connects again."""
        with self._turn:
            self._lose()

    # ── the connection, for whose turn it is ────────────────────────────────────────────────────

    @contextlib.contextmanager
    def _my_turn(self) -> Iterator[bool]:
        mine = self._turn.acquire(blocking=False)
        try:
            yield mine
        finally:
            if mine:
                self._turn.release()

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        """Tell silence, which has cost the time that a caller has, from a line that is broken."""
        try:
            yield
        except TimeoutError as error:
            self._breaker.unanswered(0)
            raise unavailable(error) from error
        except (RedisError, OSError):
            pass

    def _connected(self) -> bool:
        """Connect if need be; False when the server does not track keys."""
        if self._connection is None and self._supported:
            connection = self._connect()
            try:
                connection.connect()
                connection.send_command("CLIENT", "TRACKING", "ON")
                connection.read_response()
            except ResponseError as error:
                connection.disconnect()
                refusal = refusal_in(error)
                if refusal is not None and not refusal.is_denied:
                    raise  # it refuses everything for now
                self._supported = False
                logger.warning("This server tracks no keys, so there is no near cache: %s", error)
                return False
            connection._parser.set_invalidation_push_handler(self._invalidated)
            self._poll = select.epoll()
            self._poll.register(connection._sock.fileno(), select.EPOLLIN | select.EPOLLRDHUP)
            self._connection = connection
        return self._supported

    def _read(self, key: str) -> Fetched | None:
        fetched = Fetched()
        # Word of a change that came before our question would cost the answer its place.
        with self._losing():
            self._listen()
        with self._mutex:
            self._entries.pop(key, None)
            self._entries[key] = fetched
            if len(self._entries) > self._limit:
                del self._entries[next(iter(self._entries))]
        asked_at = time.monotonic()
        raw, left = self._ask(("GET", key), ("PTTL", key))
        self._breaker.answered()
        refused = isinstance(raw, ResponseError) or isinstance(left, ResponseError)
        if refused or raw is None:
            self.forget([key])
        if refused:
            return None
        fetched.raw = raw
        fetched.ends = asked_at + (LONGEST if left == -1 else min(LONGEST, left / 1000))
        return fetched

    def _ask(self, *commands: tuple[str, ...]) -> list[Any]:
        connection: Any = self._connection
        asked_at = time.monotonic()
        with self._losing():
            connection.send_packed_command(connection.pack_commands(commands), check_health=False)
            replies = [_reply(connection) for _ in commands]
            # What has come together with them will not make the connection readable again.
            self._listen()
        self._trusted_until = asked_at + TRUST
        return replies

    def _take_in(self) -> bool:
        """Read what the server has said by itself; False when that is not known."""
        with self._my_turn() as mine, contextlib.suppress(RedisError, OSError):
            if mine and self._connection is not None:
                with self._losing():
                    self._listen()
                return True
        return False

    def _listen(self) -> None:
        connection: Any = self._connection
        while connection.can_read():
            connection.read_response(push_request=True)

    def _invalidated(self, message: list[Any]) -> None:
        """Called by the parser: these keys have changed (None: all of them)."""
        keys = message[1]
        if keys is None:
            with self._mutex:
                self._entries.clear()
        else:
            self.forget(key.decode() for key in keys)

    @contextlib.contextmanager
    def _losing(self) -> Iterator[None]:
        """Lose the connection over whatever is raised, be it by a signal, such as a task's time limit.

        An answer that nobody has read would be taken for that to the next question.
        """
        try:
            yield
        except BaseException:
            self._lose()
            raise

    def _lose(self) -> None:
        """Forget everything: nobody would tell us what changes from now on."""
        self._trusted_until = 0.0
        with self._mutex:
            self._entries.clear()
        connection, self._connection = self._connection, None
        poll, self._poll = self._poll, None
        if poll is not None:
            poll.close()
        if connection is not None:
            with contextlib.suppress(RedisError, OSError):
                connection.disconnect()


def _reply(connection: Any) -> Any:
    try:
        return connection.read_response()
    except ResponseError as error:
        return error
