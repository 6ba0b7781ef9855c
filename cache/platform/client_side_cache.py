"""Client-side cache: values in this process's memory that the server invalidates (Redis' term).

Off by default. It reads through one connection on which the server tracks the keys that were read
(RESP3, CLIENT TRACKING in its default mode, the only mode that Dragonfly, Redis and Valkey share). When
such a key changes, expires or is evicted, the server sends an invalidation on that connection. Each
lookup first reads the invalidations that have arrived.

A hit can be stale for as long as an invalidation travels, usually well under a millisecond; after an
unnoticed loss of the connection (a pulled cable) for `MAX_SILENCE` seconds, because nothing is served
without a reply that recent. It is never served after the key's own TTL.

Callers get the same object, not a copy: treat values as read-only.
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

#: Seconds after the last reply during which no invalidation means that nothing has changed.
MAX_SILENCE = 1.0
#: Longest time in seconds that an entry is kept, whatever its TTL, in case an invalidation is lost.
MAX_ENTRY_SECONDS = 60.0


class Fetched:
    """A key's reply, and its reserved entry, which an invalidation of the key removes."""

    __slots__ = ("expires_at", "raw")

    def __init__(self) -> None:
        self.raw: bytes | None = None
        self.expires_at = 0.0


@dataclass(slots=True)
class _Entry:
    expires_at: float
    values: dict[Any, Any]
    """The decoded value by model."""


class ClientSideCache:
    """A bounded map from key to value. Thread-safe; a forked child starts with an empty one.

    Only `fetch` and `ping` wait for the server. No thread waits for another one's request: while the
    connection is in use, a caller reads the key in the ordinary way.

    Args:
        connect: returns a new, unconnected RESP3 connection.
        prefixes: prefixes of the keys to keep.
        entries: maximum number of entries; the oldest is evicted first.
        breaker: the circuit breaker of the store.
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
        # Held while a thread sends or reads on the connection.
        self._connection_lock = threading.Lock()
        self._connection: Any | None = None
        self._poll: select.epoll | None = None
        self._valid_until = 0.0
        # Held only while the entries change.
        self._mutex = threading.RLock()
        self._entries: dict[str, _Entry | Fetched] = {}

    def covers(self, key: str) -> bool:
        """Return whether a key is kept here."""
        return key.startswith(self._prefixes) and self._supported

    def needs_ping(self) -> bool:
        """Return whether the last reply is too old, so that `ping` must come before a lookup."""
        return self._connection is not None and time.monotonic() >= self._valid_until

    def lookup(self, key: str, model: type[T]) -> T | None:
        """Return the value, or None. Does not block."""
        entry = self._entries.get(key)
        poll = self._poll
        if type(entry) is not _Entry or poll is None:
            return None
        try:
            readable = poll.poll(0)
        except (ValueError, OSError):  # another thread has closed the connection
            return None
        if readable:
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
        """Send a PING if `needs_ping`; without a reply all entries are discarded. Blocks.

        Raises:
            StoreUnavailableError: no reply.
        """
        with self._try_lock_connection() as locked, self._translate_timeout():
            if locked and self.needs_ping():
                self._request(("PING",))

    def fetch(self, key: str) -> Fetched | None:
        """Read a key so that the server tracks it. Blocks.

        Returns None when the caller must read the key in the ordinary way: the connection is in use or
        broken, the server does not track keys, or it refused to read this one.

        Raises:
            StoreUnavailableError: no reply.
        """
        with self._try_lock_connection() as locked, self._translate_timeout():
            if locked and not self._breaker.is_open and self._ensure_connected():
                return self._read(key)
        return None

    def store(
        self, key: str, model: Any, value: Any, fetched: Fetched, seconds: float = math.inf
    ) -> None:
        """Keep the value of a key, unless the key has been invalidated since `fetched`.

        Args:
            seconds: the longest time to keep it, besides the key's TTL.
        """
        expires_at = min(fetched.expires_at, time.monotonic() + seconds)
        with self._mutex:
            if self._entries.get(key) is fetched:
                self._entries[key] = _Entry(expires_at, {model: value})

    def discard(self, keys: Iterable[str]) -> None:
        """Remove keys that this process has changed, without waiting for the invalidation."""
        with self._mutex:
            for key in keys:
                self._entries.pop(key, None)

    def close(self) -> None:
        """Close the connection and remove all entries; the next fetch connects again."""
        with self._connection_lock:
            self._disconnect()

    # ── the connection; the caller holds its lock ────────────────────────────────────────────────

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
        """Raise StoreUnavailableError on a timeout, which has used up the caller's time budget."""
        try:
            yield
        except TimeoutError as error:
            self._breaker.record_failure(0)
            raise unavailable_error(error) from error
        except (RedisError, OSError):
            pass

    def _ensure_connected(self) -> bool:
        """Connect if not connected; return False if the server does not track keys."""
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
                    raise  # it refuses all commands at present
                self._supported = False
                logger.warning(
                    "The server does not support CLIENT TRACKING; the client-side cache is off: %s",
                    error,
                )
                return False
            connection._parser.set_invalidation_push_handler(self._on_invalidation)
            self._poll = select.epoll()
            self._poll.register(connection._sock.fileno(), select.EPOLLIN | select.EPOLLRDHUP)
            self._connection = connection
        return self._supported

    def _read(self, key: str) -> Fetched | None:
        fetched = Fetched()
        # Before the entry is reserved: an invalidation of an earlier change would remove it.
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
            # Invalidations that arrived with the replies are already buffered, so poll() misses them.
            self._read_invalidations()
        self._valid_until = sent_at + MAX_SILENCE
        return replies

    def _process_invalidations(self) -> bool:
        """Read the invalidations that have arrived; return False if that was not possible."""
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
        """Remove the invalidated keys; None means all. redis-py's parser calls this."""
        keys = message[1]
        if keys is None:
            with self._mutex:
                self._entries.clear()
        else:
            self.discard(key.decode() for key in keys)

    @contextlib.contextmanager
    def _reset_on_error(self) -> Iterator[None]:
        """Disconnect on any exception, also one that a signal raises (a task's time limit).

        A reply that was not read would be taken for the reply to the next command.
        """
        try:
            yield
        except BaseException:
            self._disconnect()
            raise

    def _disconnect(self) -> None:
        """Close the connection and remove all entries: without it there are no invalidations."""
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
