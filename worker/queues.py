"""The download queues: one for each priority, and in which order a worker looks into them."""

from __future__ import annotations

from collections.abc import Sequence

from domain.job import Priority

#: The first one is looked into first.
DOWNLOAD_QUEUES = tuple(f"downloads.{priority}" for priority in Priority)
MAINTENANCE_QUEUE = "maintenance"

#: Of so many messages one is looked for in the low queue first, and three others in the normal one.
_ROUND = 12
_NORMAL_FIRST, _LOW_FIRST = (3, 6, 9), 0


def queue_of(priority: Priority) -> str:
    """Return the queue for jobs of this priority."""
    return f"downloads.{priority}"


def priority_of(queue: str) -> Priority | None:
    """Return whose queue this is, or None when it is none of the download queues."""
    return Priority(queue.partition(".")[2]) if queue in DOWNLOAD_QUEUES else None


class PriorityOrder:
    """The order in which one consumer asks its queues for the next message: high, normal, low.

    However many wait in the high queue, every fourth message is looked for elsewhere first, so that
    none waits for ever: of twelve, three go to normal and one to low, where there are any. kombu makes
    one of these a connection (its option ``queue_order_strategy``) and calls `rotate` for each message.
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
        turn = (self._taken + 1) % _ROUND
        if turn == _LOW_FIRST:
            favoured = queue_of(Priority.LOW)
        elif turn in _NORMAL_FIRST:
            favoured = queue_of(Priority.NORMAL)
        else:
            return self._queues[:n]
        return sorted(self._queues, key=lambda queue: queue != favoured)[:n]

    def rotate(self, last_used: str) -> str:
        """Note that a message was taken."""
        self._taken += 1
        return last_used


def _rank(queue: str) -> int:
    return DOWNLOAD_QUEUES.index(queue) if queue in DOWNLOAD_QUEUES else len(DOWNLOAD_QUEUES)
