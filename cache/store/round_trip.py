"""One round trip: a batch of commands, its retries, and the meaning of its replies.

`RoundTrip` is that of one batch, `GroupTrip` that of several batches in one pipeline. `SyncStore` and
`AsyncStore` share them; they differ only in how they send and receive.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hiredis import pack_command
from redis.exceptions import ConnectionError, RedisError, ResponseError, TimeoutError

from cache.store.circuit_breaker import CircuitBreaker
from cache.store.connection import TimeoutPolicy, is_unavailable, reply_error, unavailable_error
from cache.store.flow import Batch, Command
from cache.store.refusals import server_message
from domain.backoff import Backoff
from domain.errors import InvalidInputError, StoreRefusesError, StoreUnavailableError

_MULTI: Command = ("MULTI",)
_EXEC: Command = ("EXEC",)
_REFUSED_CONNECTION = "It refuses the connection: check the SEEN_CACHE_ settings and its version."

#: The delays between the attempts of a batch.
RETRY_BACKOFF = Backoff(first=0.02, longest=0.2)


def pack(commands: Sequence[Command]) -> list[bytes]:
    """Return commands in the wire format, as one block: each block costs a system call."""
    try:
        return [b"".join(pack_command(command) for command in commands)]  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        # An argument that no check has caught; nothing has been sent.
        raise InvalidInputError(
            "argument", None, f"It cannot be sent to the store: {error}."
        ) from None


def is_interruption(error: BaseException) -> bool:
    """Return whether the caller was interrupted (cancelled, or by a signal), not the server's fault."""
    return not isinstance(error, RedisError | OSError)


class RoundTrip:
    """One batch, sent once or, unless it says `once`, with retries.

    Attributes:
        commands: what is sent: the batch's commands, within MULTI and EXEC when it is atomic.

    Raises, when created:
        StoreUnavailableError: the circuit breaker is open.
    """

    __slots__ = ("_attempts", "_batch", "_breaker", "_policy", "_ticket", "commands")

    def __init__(self, batch: Batch, policy: TimeoutPolicy, breaker: CircuitBreaker | None) -> None:
        self._batch = batch
        self._policy = policy
        self._breaker = breaker
        self._ticket = breaker.before_call() if breaker else 0
        self._attempts = 0
        self.commands: Sequence[Command] = (
            (_MULTI, *batch.commands, _EXEC) if batch.atomic else batch.commands
        )

    @property
    def takes_replies_as_they_are(self) -> bool:
        """Whether `replies` returns replies unchanged if none is an error; without a breaker."""
        return not self._batch.atomic

    def delay_before_retry(self, error: RedisError) -> float:
        """Return the seconds to wait before the next attempt; raise if there is none.

        Args:
            error: why there was no reply.
        """
        self._attempts += 1
        if self._may_retry(error):
            # A budget leaves no time to wait; a broken connection is replaced at once.
            return RETRY_BACKOFF.delay(self._attempts) if self._policy.retry_timeouts else 0.0
        if isinstance(error, ResponseError) and not is_unavailable(error):
            # A command's error is a reply. This error refused the connection.
            raise StoreRefusesError(server_message(error), _REFUSED_CONNECTION) from error
        if not is_unavailable(error):
            raise error
        if self._breaker:
            self._breaker.record_failure(self._ticket)
        raise unavailable_error(error) from error

    def _may_retry(self, error: RedisError) -> bool:
        if self._batch.once or self._attempts > self._policy.retries:
            return False
        if isinstance(error, TimeoutError):
            return self._policy.retry_timeouts
        return isinstance(error, ConnectionError)

    def replies(self, received: list[Any]) -> list[Any]:
        """Return the replies to the batch's own commands.

        Raises the first error among them, unless the batch says `errors_as_replies`.
        """
        if self._breaker:
            self._breaker.record_success()
        if self._batch.atomic:
            received = _executed(received, self._batch.commands)
        if not self._batch.errors_as_replies:
            for command, reply in zip(self._batch.commands, received, strict=True):
                if isinstance(reply, Exception):
                    raise reply_error(reply, command)
        return received


class GroupTrip:
    """Several batches, sent as one pipeline. Each has its own retries, and an outcome of its own.

    A lost connection or a timeout concerns the batches that lack replies: those that may be repeated
    are sent again together, the others fail. For the circuit breaker all are one call.

    Attributes:
        outcomes: for each batch its replies, or the exception that it raises; None without one yet.
        blocks: what to send next.
        count: how many replies that has; 0 when each batch has its outcome.
        await_reply: whether one of the batches says so.
    """

    __slots__ = ("_breaker", "_open", "_ticket", "await_reply", "blocks", "count", "outcomes")

    def __init__(
        self, batches: Sequence[Batch], policy: TimeoutPolicy, breaker: CircuitBreaker | None
    ) -> None:
        self._breaker = breaker
        self._open: list[_Open] = []
        self.outcomes: list[Any] = [None] * len(batches)
        try:
            self._ticket = breaker.before_call() if breaker else 0
        except StoreUnavailableError as error:
            self.outcomes = [error] * len(batches)
            batches = ()
        for index, batch in enumerate(batches):
            trip = RoundTrip(batch, policy, None)
            try:
                (block,) = pack(trip.commands)
            except InvalidInputError as error:
                self.outcomes[index] = error
                continue
            if trip.commands:
                self._open.append((index, trip, block))
            else:
                self.outcomes[index] = []
        self.await_reply = any(batch.await_reply for batch in batches)
        self._join()

    def _join(self) -> None:
        self.blocks = [b"".join(block for _, _, block in self._open)]
        self.count = sum(len(trip.commands) for _, trip, _ in self._open)

    def receive(self, replies: list[Any], lost: RedisError | None) -> float:
        """Set the outcomes of this attempt; return the seconds to wait before the next one.

        Args:
            replies: in the order of sending. With one that says that the server does not serve (such as
                LOADING) its batch lacks its replies.
            lost: why further replies are missing; None if none are.
        """
        end, delay, again, failure = 0, 0.0, [], None
        # The usual case: no reply is an error, so none needs to be looked at again.
        has_error = any(isinstance(reply, Exception) for reply in replies)
        for index, trip, block in self._open:
            start, end = end, end + len(trip.commands)
            own = replies[start:end]
            error = None
            if end > len(replies):
                error = lost
            elif has_error:
                error = _connection_error(own)
            elif trip.takes_replies_as_they_are:
                self.outcomes[index] = own
                continue
            try:
                if error is None:
                    self.outcomes[index] = trip.replies(own)
                else:
                    delay = max(delay, trip.delay_before_retry(error))
                    again.append((index, trip, block))
            except Exception as raised:
                self.outcomes[index] = raised
                failure = failure or error
        self._record(failure, is_done=not again)
        self._open = again
        self._join()
        return delay

    def _record(self, failure: RedisError | None, *, is_done: bool) -> None:
        """Report this attempt to the circuit breaker."""
        if self._breaker is None:
            return
        if failure is not None and is_unavailable(failure):
            self._breaker.record_failure(self._ticket)
        elif is_done:
            self._breaker.record_success()


#: A batch without an outcome: its place, its round trip, and its commands in the wire format.
_Open = tuple[int, RoundTrip, bytes]


def _connection_error(replies: list[Any]) -> ConnectionError | None:
    return next((reply for reply in replies if isinstance(reply, ConnectionError)), None)


def _executed(received: list[Any], commands: Sequence[Command]) -> list[Any]:
    """Return the results of a transaction; raise the reason if the server did not run it."""
    result = received[-1]
    if not isinstance(result, Exception):
        return list(result)
    queued = zip(commands, received[1:-1], strict=True)
    refused = (pair for pair in queued if isinstance(pair[1], Exception))
    command, error = next(refused, (_EXEC, result))
    raise reply_error(error, command)
