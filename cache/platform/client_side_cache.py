"""Values in the memory of this process; the server sends a message when one of them changes.

Off unless it is asked for. Its reads go through one connection on which the server tracks them (RESP3,
CLIENT TRACKING in its default mode, which Dragonfly, Redis and Valkey all have). When such a key
changes, expires or is evicted, the server says so on that connection; every lookup first takes in
what has arrived.

How stale a hit can be: by the time an invalidation travels, usually well under a millisecond. Should the
connection die unnoticed (a pulled cable), by `MAX_SILENCE` seconds: without a sign of life that recent
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

from cache.store.circuit_breaker import CircuitBreaker
from cache.store.connection import unavailable_error
from cache.store.fork import reset_after_fork
from cache.store.refusals import find_refusal

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds after the connection's last sign of life during which its silence means "nothing has changed".
MAX_SILENCE = 1.0
#: Longest life of an entry in seconds, whatever its TTL: a bound should a server forget to tell.
MAX_ENTRY_SECONDS = 60.0


class Fetched:
    """What the server said about one key, and its place, which goes if the key changes."""

    __slots__ = ("expires_at", "raw")

    def __init__(self) -> None:
        self.raw: bytes | None = None
        self.expires_at = 0.0


@dataclass(slots=True)
class _Entry:
    expires_at: float
    values: dict[Any, Any]
    """The value as each model it has been read as."""


class ClientSideCache:
    """A bounded map from key to value; safe for threads, and for children that are forked.

    Only `fetch` and `ping` wait for the server, and nobody waits for another thread that does: whoever
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
        breaker: CircuitBreaker,
    ) -> None:
        self._connect = connect
        self._prefixes = tuple(prefixes)
        self._limit = entries
        self._breaker = breaker
        self._supported = True
        reset_after_fork(self, ClientSideCache._reset)

    def _reset(self) -> None:
        # Held by whoever speaks or listens on the connection, however long the server takes.
        self._connection_lock = threading.Lock()
        self._connection: Any | None = None
        self._poll: select.epoll | None = None
        self._valid_until = 0.0
        # Held to change the entries, and no longer.
        self._mutex = threading.RLock()
        self._entries: dict[str, _Entry | Fetched] = {}

    def covers(self, key: str) -> bool:
        """Say whether a key is kept here."""
        return key.startswith(self._prefixes) and self._supported

    def needs_ping(self) -> bool:
        """Say whether the connection must show that it lives before anything is served (`ping`)."""
        return self._connection is not None and time.monotonic() >= self._valid_until

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
            if not self._process_invalidations():
                return None
            entry = self._entries.get(key)
            if type(entry) is not _Entry:
                return None
        now = time.monotonic()
        if now >= self._valid_until or now >= entry.expires_at:
            return None
        return cast("T | None", entry.values.get(model))

    def ping(self) -> None:
        """Ask the connection for a sign of life; without one everything here is forgotten. Blocks.

        Raises:
            StoreUnavailableError: no answer.
        """
        with self._try_lock_connection() as locked, self._translate_timeout():
            if locked and self.needs_ping():
                self._request(("PING",))

    def fetch(self, key: str) -> Fetched | None:
        """Read a key and have the server track it. Blocks.

        None when it must be read in the ordinary way, which tells what is wrong if anything is: the
        connection is in use or broken, or the server does not track keys, or refuses to read this one.

        Raises:
            StoreUnavailableError: no answer.
        """
        with self._try_lock_connection() as locked, self._translate_timeout():
            if locked and not self._breaker.is_open and self._ensure_connected():
                return self._read(key)
        return None

    def store(
        self, key: str, model: Any, value: Any, fetched: Fetched, seconds: float = math.inf
    ) -> None:
        """Keep the value of a key as it was fetched, unless the key has changed since.

        Args:
            seconds: no longer than this from now, whatever the key's TTL.
        """
        expires_at = min(fetched.expires_at, time.monotonic() + seconds)
        with self._mutex:
            if self._entries.get(key) is fetched:
                self._entries[key] = _Entry(expires_at, {model: value})

    def discard(self, keys: Iterable[str]) -> None:
        """Let go of keys that this process has changed itself: it need not wait to be told."""
        with self._mutex:
            for key in keys:
                self._entries.pop(key, None)

    def close(self) -> None:
        """Close the connection and forget everything; the next fetch connects again."""
        with self._connection_lock:
            self._disconnect()

    # ── the connection, for whose turn it is ────────────────────────────────────────────────────

    @contextlib.contextmanager
    def _try_lock_connection(self) -> Iterator[bool]:
        locked = self._connection_lock.acquire(blocking=False)
        try:
            yield locked
        finally:
            if locked:
                self._connection_lock.release()

    @contextlib.contextmanager
    def _translate_timeout(self) -> Iterator[None]:
        """Tell silence, which has cost the time that a caller has, from a line that is broken."""
        try:
            yield
        except TimeoutError as error:
            self._breaker.record_failure(0)
            raise unavailable_error(error) from error
        except (RedisError, OSError):
            pass

    def _ensure_connected(self) -> bool:
        """Connect if need be; False when the server does not track keys."""
        if self._connection is None and self._supported:
            connection = self._connect()
            try:
                connection.connect()
                connection.send_command("CLIENT", "TRACKING", "ON")
                connection.read_response()
            except ResponseError as error:
                connection.disconnect()
                refusal = find_refusal(error)
                if refusal is not None and not refusal.denies_command:
                    raise  # it refuses everything for now
                self._supported = False
                logger.warning(
                    "This server tracks no keys, so there is no client-side cache: %s", error
                )
                return False
            connection._parser.set_invalidation_push_handler(self._on_invalidation)
            self._poll = select.epoll()
            self._poll.register(connection._sock.fileno(), select.EPOLLIN | select.EPOLLRDHUP)
            self._connection = connection
        return self._supported

    def _read(self, key: str) -> Fetched | None:
        fetched = Fetched()
        # Word of a change that came before our question would cost the answer its place.
        with self._reset_on_error():
            self._read_invalidations()
        with self._mutex:
            self._entries.pop(key, None)
            self._entries[key] = fetched
            if len(self._entries) > self._limit:
                del self._entries[next(iter(self._entries))]
        sent_at = time.monotonic()
        raw, left = self._request(("GET", key), ("PTTL", key))
        self._breaker.record_success()
        refused = isinstance(raw, ResponseError) or isinstance(left, ResponseError)
        if refused or raw is None:
            self.discard([key])
        if refused:
            return None
        fetched.raw = raw
        fetched.expires_at = sent_at + (
            MAX_ENTRY_SECONDS if left == -1 else min(MAX_ENTRY_SECONDS, left / 1000)
        )
        return fetched

    def _request(self, *commands: tuple[str, ...]) -> list[Any]:
        connection: Any = self._connection
        sent_at = time.monotonic()
        with self._reset_on_error():
            connection.send_packed_command(connection.pack_commands(commands), check_health=False)
            replies = [_reply(connection) for _ in commands]
            # What has come together with them will not make the connection readable again.
            self._read_invalidations()
        self._valid_until = sent_at + MAX_SILENCE
        return replies

    def _process_invalidations(self) -> bool:
        """Read what the server has said by itself; False when that is not known."""
        with self._try_lock_connection() as locked, contextlib.suppress(RedisError, OSError):
            if locked and self._connection is not None:
                with self._reset_on_error():
                    self._read_invalidations()
                return True
        return False

    def _read_invalidations(self) -> None:
        connection: Any = self._connection
        while connection.can_read():
            connection.read_response(push_request=True)

    def _on_invalidation(self, message: list[Any]) -> None:
        """Called by the parser: these keys have changed (None: all of them)."""
        keys = message[1]
        if keys is None:
            with self._mutex:
                self._entries.clear()
        else:
            self.discard(key.decode() for key in keys)

    @contextlib.contextmanager
    def _reset_on_error(self) -> Iterator[None]:
        """Lose the connection over whatever is raised, be it by a signal, such as a task's time limit.

        An answer that nobody has read would be taken for that to the next question.
        """
        try:
            yield
        except BaseException:
            self._disconnect()
            raise

    def _disconnect(self) -> None:
        """Forget everything: nobody would tell us what changes from now on."""
        self._valid_until = 0.0
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
