"""Which requests are sent again, after which failures, and when.

README.md has the table; `tests/integration/client/test_repeating.py` holds it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from seen_client.answers import whole
from seen_client.errors import NoAnswerError, ProblemError
from seen_client.service import Service
from seen_client.steps import Answer, Flow, Pause, Request

T = TypeVar("T")

#: The service, or a proxy before it, did nothing: it is too busy, or not there.
_PASSING = frozenset({429, 502, 503, 504})
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0


def answer_of(service: Service, request: Request) -> Flow[Answer]:
    """Send a request, again if that is allowed and helps, and return a good answer."""
    return (yield from repeated(service, request, lambda: whole(service, request)))


def repeated(service: Service, request: Request, exchange: Callable[[], Flow[T]]) -> Flow[T]:
    """Do an exchange until it succeeds, fails for good, or `retry_for` is over."""
    end = time.monotonic() + service.retry_for
    number = 0
    while True:
        try:
            return (yield from exchange())
        except (NoAnswerError, ProblemError) as error:
            if not may_repeat(request, error):
                raise
            pause = pause_after(number, error)
            if time.monotonic() + pause > end:
                raise
        number += 1
        yield Pause(pause)


def may_repeat(request: Request, error: NoAnswerError | ProblemError) -> bool:
    """Return whether a request is sent again after a failure."""
    if isinstance(error, ProblemError):
        return request.is_repeatable and error.status in _PASSING
    return not error.is_final and (request.is_repeatable or error.is_unsent)


def pause_after(number: int, error: Exception | None = None) -> float:
    """Return the seconds before another attempt.

    Args:
        number: of attempts that failed before this one.
        error: of this one. What the service asks for in Retry-After is respected.
    """
    wanted = error.retry_after if isinstance(error, ProblemError) else None
    if wanted is not None:
        return wanted * random.uniform(1, 1.1)  # noqa: S311 - so that not all come back at once
    longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * (1 << min(number, 10)))
    return longest * random.uniform(0.5, 1)  # noqa: S311 - see above
