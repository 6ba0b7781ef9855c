"""What follows from an attempt: delivered, tried again at some time, or given up."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta

from database.webhooks import DeliveryState
from worker.transfer.http import statuses
from worker.webhooks.http_sender import Reply

#: The pauses after the first failure, the second one and so on, as Standard Webhooks proposes. Seconds.
PAUSES = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
#: Attempts before a delivery is given up: over three days.
MAX_ATTEMPTS = len(PAUSES) + 1
#: A pause is up to this part longer, so that deliveries that failed together are not repeated together.
_JITTER = 0.2
#: A receiver cannot ask for a longer pause than this. Seconds.
MAX_RETRY_AFTER = 86_400.0
#: No delivery waits for longer.
LONGEST_PAUSE = timedelta(seconds=max(*PAUSES, MAX_RETRY_AFTER) * (1 + _JITTER))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from an attempt.

    Attributes:
        state: of the delivery.
        error: why the attempt failed; None for a success.
        pause: until the next attempt, where it stays pending.
    """

    state: DeliveryState
    error: str | None = None
    pause: timedelta | None = None


def verdict_of_reply(reply: Reply, attempts: int) -> Verdict:
    """Return what follows from an HTTP request; `attempts` were made before it."""
    if 200 <= reply.status < 300 and reply.error is None:
        return Verdict(DeliveryState.DELIVERED)
    if reply.status == 410:
        error = f"The receiver answered {statuses.describe(410)}: it wants no more deliveries."
        return Verdict(DeliveryState.GIVEN_UP, error)
    return failed(reply.error or _meaning(reply.status), attempts, reply.retry_after)


def failed(error: str, attempts: int, retry_after: float | None = None) -> Verdict:
    """Return what follows from a failure that may pass."""
    if attempts + 1 >= MAX_ATTEMPTS:
        return Verdict(DeliveryState.GIVEN_UP, error)
    pause = max(PAUSES[attempts], min(retry_after or 0.0, MAX_RETRY_AFTER))
    jitter = random.uniform(1, 1 + _JITTER)  # noqa: S311 - not used for security
    return Verdict(DeliveryState.PENDING, error, timedelta(seconds=pause * jitter))


def _meaning(status: int) -> str:
    text = f"The receiver answered {statuses.describe(status)}."
    return f"{text} Redirects are not followed." if 300 <= status < 400 else text
