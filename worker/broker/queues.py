"""The download queues: one for each priority, one for what was begun, and in which order a worker looks.

A job that its worker had to leave (it was stopped, or fell) goes before all that nobody has begun: at
the end of a long queue it would lie half done for hours.
"""

from __future__ import annotations

from collections.abc import Sequence

from domain.job import Priority

BEGUN_QUEUE = "downloads.begun"
#: The first one is looked into first.
DOWNLOAD_QUEUES = (BEGUN_QUEUE, *(f"downloads.{priority}" for priority in Priority))
MAINTENANCE_QUEUE = "maintenance"

#: Which priority's queue is looked into first at which of so many messages; at all others it is the
#: queue of what was begun.
_ROUND = 12
_FAVOURED = {
    3: Priority.NORMAL,
    4: Priority.HIGH,
    6: Priority.NORMAL,
    7: Priority.HIGH,
    9: Priority.NORMAL,
    10: Priority.HIGH,
    0: Priority.LOW,
}


def queue_of(priority: Priority) -> str:
    """Return the queue for jobs of this priority."""
    return f"downloads.{priority}"


def priority_of(queue: str) -> Priority | None:
    """Return the priority whose queue this is, or None when it is none of those."""
    return next((priority for priority in Priority if queue_of(priority) == queue), None)


class PriorityOrder:
    """The order in which one consumer asks its queues for the next message: begun, high, normal, low.

    However many wait in the first queues, some messages are looked for elsewhere first, so that none
    waits for ever: of twelve, three go to high, three to normal and one to low, where there are any.
    kombu makes one of these a connection (its option ``queue_order_strategy``) and calls `rotate` for
    each message.
    """

    def __init__(self, queues: Sequence[str] | None = None) -> None:
        self._queues: list[str] = []
        self._taken = 0
        self.update(queues or ())

    def update(self, queues: Sequence[str]) -> None:
        """Set which queues there are; those of no priority come last, in their own order."""
        self._queues = sorted(queues, key=_rank)

    def consume(self, n: int) -> list[str]:
        """Return the queues in the order in which the next message is looked for."""
        priority = _FAVOURED.get((self._taken + 1) % _ROUND)
        if priority is None:
            return self._queues[:n]
        favoured = queue_of(priority)
        return sorted(self._queues, key=lambda queue: queue != favoured)[:n]

    def rotate(self, last_used: str) -> str:
        """Note that a message was taken."""
        self._taken += 1
        return last_used


def _rank(queue: str) -> int:
    return DOWNLOAD_QUEUES.index(queue) if queue in DOWNLOAD_QUEUES else len(DOWNLOAD_QUEUES)
