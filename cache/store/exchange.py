"""What both ways of running a plan share: what is sent for a batch, and what its replies mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.exceptions import ConnectionError, TimeoutError

from cache.store.connection import Patience, is_unavailable, unavailable
from cache.store.plan import Batch, Command

_MULTI: Command = ("MULTI",)
_EXEC: Command = ("EXEC",)

#: Seconds before the first repetition; doubles with every further one.
FIRST_PAUSE = 0.02
LONGEST_PAUSE = 0.2


def commands_of(batch: Batch) -> Sequence[Command]:
    """Return what goes over the wire for a batch."""
    return (_MULTI, *batch.commands, _EXEC) if batch.atomic else batch.commands


def replies_of(batch: Batch, received: list[Any]) -> list[Any]:
    """Return the replies to the batch's own commands; raise the first error unless they are wanted."""
    if batch.atomic:
        received = _executed(received)
    if not batch.errors_as_replies:
        for reply in received:
            if isinstance(reply, Exception):
                raise unavailable(reply) if is_unavailable(reply) else reply
    return received


def _executed(received: list[Any]) -> list[Any]:
    """Return the results of a transaction, or raise why it was not run."""
    result = received[-1]
    if not isinstance(result, Exception):
        return list(result)
    refused = (reply for reply in received[1:-1] if isinstance(reply, Exception))
    error = next(refused, result)
    raise unavailable(error) if is_unavailable(error) else error


def pause_before_repeating(
    batch: Batch, error: Exception, tried: int, patience: Patience
) -> float | None:
    """Return the seconds to wait before a batch is sent again, or None when it must not be.

    Args:
        error: what became of the last try.
        tried: how many there have been.
    """
    if batch.once or tried > patience.retries:
        return None
    if isinstance(error, TimeoutError):
        repeat = patience.retry_timeouts
    else:
        repeat = isinstance(error, ConnectionError)
    if not repeat:
        return None
    # A budget leaves no time for pauses; a broken connection is replaced at once.
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (tried - 1)) if patience.retry_timeouts else 0.0
