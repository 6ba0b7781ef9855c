"""What both ways of running a plan share: one batch on its way, and what its answer or silence means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hiredis import pack_command
from redis.exceptions import ConnectionError, RedisError, ResponseError, TimeoutError

from cache.store.breaker import Breaker
from cache.store.connection import Patience, in_our_words, is_unavailable, unavailable
from cache.store.plan import Batch, Command
from cache.store.refusals import words_of
from domain.errors import InvalidInputError, StoreRefusesError

_MULTI: Command = ("MULTI",)
_EXEC: Command = ("EXEC",)
_REFUSED_CONNECTION = "It refuses the connection: check the SEEN_CACHE_ settings and its version."

#: Seconds before the first repetition; doubles with every further one.
FIRST_PAUSE = 0.02
LONGEST_PAUSE = 0.2


def packed(commands: Sequence[Command]) -> list[bytes]:
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


class Attempt:
    """One batch, sent once or, where it may be repeated, several times.

    Attributes:
        commands: what goes over the wire.

    Raises, when made:
        StoreUnavailableError: the breaker lets nobody through.
    """

    __slots__ = ("_batch", "_breaker", "_patience", "_ticket", "_tried", "commands")

    def __init__(self, batch: Batch, patience: Patience, breaker: Breaker | None) -> None:
        self._batch = batch
        self._patience = patience
        self._breaker = breaker
        self._ticket = breaker.enter() if breaker else 0
        self._tried = 0
        self.commands: Sequence[Command] = (
            (_MULTI, *batch.commands, _EXEC) if batch.atomic else batch.commands
        )

    def pause(self, error: RedisError) -> float:
        """Return the seconds to wait before it is sent again; raise when it is not to be.

        Args:
            error: why there was no answer.
        """
        self._tried += 1
        if self._may_repeat(error):
            # A budget leaves no time for pauses; a broken connection is replaced at once.
            patient = self._patience.retry_timeouts
            return min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (self._tried - 1)) if patient else 0.0
        if isinstance(error, ResponseError) and not is_unavailable(error):
            # Errors of commands are replies; this one refused the connection.
            raise StoreRefusesError(words_of(error), _REFUSED_CONNECTION) from error
        if not is_unavailable(error):
            raise error
        if self._breaker:
            self._breaker.unanswered(self._ticket)
        raise unavailable(error) from error

    def _may_repeat(self, error: RedisError) -> bool:
        if self._batch.once or self._tried > self._patience.retries:
            return False
        if isinstance(error, TimeoutError):
            return self._patience.retry_timeouts
        return isinstance(error, ConnectionError)

    def replies(self, received: list[Any]) -> list[Any]:
        """Return the replies to the batch's own commands; raise the first error, as the batch says."""
        if self._breaker:
            self._breaker.answered()
        if self._batch.atomic:
            received = _executed(received, self._batch.commands)
        if not self._batch.errors_as_replies:
            for command, reply in zip(self._batch.commands, received, strict=True):
                if isinstance(reply, Exception):
                    raise in_our_words(reply, command)
        return received


def _executed(received: list[Any], commands: Sequence[Command]) -> list[Any]:
    """Return the results of a transaction, or raise why it was not run."""
    result = received[-1]
    if not isinstance(result, Exception):
        return list(result)
    queued = zip(commands, received[1:-1], strict=True)
    refused = (pair for pair in queued if isinstance(pair[1], Exception))
    command, error = next(refused, (_EXEC, result))
    raise in_our_words(error, command)
