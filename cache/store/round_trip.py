"""One round trip: a batch of commands, its retries, and the meaning of its replies.

`SyncStore` and `AsyncStore` share it; they differ only in how they send and receive.
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
from domain.errors import InvalidInputError, StoreRefusesError

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


def _executed(received: list[Any], commands: Sequence[Command]) -> list[Any]:
    """Return the results of a transaction; raise the reason if the server did not run it."""
    result = received[-1]
    if not isinstance(result, Exception):
        return list(result)
    queued = zip(commands, received[1:-1], strict=True)
    refused = (pair for pair in queued if isinstance(pair[1], Exception))
    command, error = next(refused, (_EXEC, result))
    raise reply_error(error, command)
