"""The names of the queues, and the order in which a download worker reads them.

There is a queue for each priority, and one for jobs that were requeued after a drain, a lost lease, a
dead worker or a wait for a slot. That one is usually read first (`PriorityOrder`): behind a long queue,
the part file of such a job, or its slot, would wait for hours.
"""

from __future__ import annotations

from collections.abc import Sequence

from domain.job import Priority

REQUEUED_QUEUE = "downloads.requeued"
#: Its name in the release before, whose processes still publish to it. Read, never published to.
FORMER_REQUEUED_QUEUE = "downloads.begun"
REQUEUED_QUEUES = (REQUEUED_QUEUE, FORMER_REQUEUED_QUEUE)
#: In the order in which a worker reads them.
DOWNLOAD_QUEUES = (*REQUEUED_QUEUES, *(f"downloads.{priority}" for priority in Priority))
MAINTENANCE_QUEUE = "maintenance"
#: The queues of each kind of worker, as ``seen worker --queue`` names the kinds.
QUEUES = {"downloads": DOWNLOAD_QUEUES, MAINTENANCE_QUEUE: (MAINTENANCE_QUEUE,)}

#: Messages in a round.
_ROUND = 12
#: The position of a message in its round, and the queue that is read first for it. For the other
#: positions the queue of requeued jobs is.
_READ_FIRST = {
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
    """Return the priority of a queue; None for the queue of requeued jobs and all others."""
    return next((priority for priority in Priority if queue_of(priority) == queue), None)


class PriorityOrder:
    """The order in which one consumer reads its queues: requeued, high, normal, low.

    However many messages the first queues hold, every queue is read: of twelve messages, three are
    looked for in high first, three in normal and one in low. kombu makes an instance for each connection
    (its option ``queue_order_strategy``) and calls `rotate` after each message.
    """

    def __init__(self, queues: Sequence[str] | None = None) -> None:
        self._queues: list[str] = []
        self._taken = 0
        self.update(queues or ())

    def update(self, queues: Sequence[str]) -> None:
        """Set the queues; those that hold no downloads come last, in their own order."""
        self._queues = sorted(queues, key=_rank)

    def consume(self, n: int) -> list[str]:
        """Return the queues in the order in which the next message is looked for."""
        priority = _READ_FIRST.get((self._taken + 1) % _ROUND)
        if priority is None:
            return self._queues[:n]
        first = queue_of(priority)
        return sorted(self._queues, key=lambda queue: queue != first)[:n]

    def rotate(self, last_used: str) -> str:
        """Count a consumed message."""
        self._taken += 1
        return last_used


def _rank(queue: str) -> int:
    return DOWNLOAD_QUEUES.index(queue) if queue in DOWNLOAD_QUEUES else len(DOWNLOAD_QUEUES)
