"""What both ways of running a flow share: one batch on its way, and what its answer or silence means."""

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

#: Between the tries of a batch that may be repeated.
RETRYING = Backoff(first=0.02, longest=0.2)


def pack(commands: Sequence[Command]) -> list[bytes]:
    """Return commands as they go over the wire, in one piece: each piece costs a call of the system."""
    try:
        return [b"".join(pack_command(command) for command in commands)]  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        # What no check of an argument has caught: nothing has been sent.
        raise InvalidInputError(
            "argument", None, f"It cannot be sent to the store: {error}."
        ) from None


def is_interruption(error: BaseException) -> bool:
    """Say whether an exchange ended because its caller was interrupted, not because of the server."""
    return not isinstance(error, RedisError | OSError)


class RoundTrip:
    """One batch, sent once or, where it may be repeated, several times.

    Attributes:
        commands: what goes over the wire.

    Raises, when made:
        StoreUnavailableError: the breaker lets nobody through.
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
        """Return the seconds to wait before it is sent again; raise when it is not to be.

        Args:
            error: why there was no answer.
        """
        self._attempts += 1
        if self._may_repeat(error):
            # A budget leaves no time for pauses; a broken connection is replaced at once.
            return RETRYING.delay(self._attempts) if self._policy.retry_timeouts else 0.0
        if isinstance(error, ResponseError) and not is_unavailable(error):
            # Errors of commands are replies; this one refused the connection.
            raise StoreRefusesError(server_message(error), _REFUSED_CONNECTION) from error
        if not is_unavailable(error):
            raise error
        if self._breaker:
            self._breaker.record_failure(self._ticket)
        raise unavailable_error(error) from error

    def _may_repeat(self, error: RedisError) -> bool:
        if self._batch.once or self._attempts > self._policy.retries:
            return False
        if isinstance(error, TimeoutError):
            return self._policy.retry_timeouts
        return isinstance(error, ConnectionError)

    def replies(self, received: list[Any]) -> list[Any]:
        """Return the replies to the batch's own commands; raise the first error, as the batch says."""
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
    """Return the results of a transaction, or raise why it was not run."""
    result = received[-1]
    if not isinstance(result, Exception):
        return list(result)
    queued = zip(commands, received[1:-1], strict=True)
    refused = (pair for pair in queued if isinstance(pair[1], Exception))
    command, error = next(refused, (_EXEC, result))
    raise reply_error(error, command)
