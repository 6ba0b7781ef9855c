"""When another connection is worth its handshake, and whose segment it takes."""

from __future__ import annotations

import time
from collections.abc import Sequence

from worker.transfer.connection import Connection
from worker.transfer.interfaces import TransferQuota
from worker.transfer.spec import TransferOptions

#: A speed measured over less than this says nothing. Seconds.
MIN_MEASURE_TIME = 0.05
#: An answer to "how many connections may I have" is good for so many seconds.
_GRANT_INTERVAL = 1.0
#: A connection this many times slower than the fastest one gives its segment to another.
_STALL_FACTOR = 4


class ConnectionPolicy:
    """How one transfer is shared out among connections.

    Attributes:
        can_split: the origin does ranges, and something vouches for what they are of.
        max_connections: no more connections than this; it falls when the origin refuses one.
    """

    def __init__(
        self, options: TransferOptions, quota: TransferQuota, max_connections: int
    ) -> None:
        self._options, self._quota = options, quota
        self.can_split = False
        self.max_connections = max_connections
        self._granted = 1
        self._requested_at = -_GRANT_INTERVAL
        self._best_speed = 0.0

    def may_add(self, running: int) -> bool:
        """Say whether one more connection than the `running` ones may be opened."""
        return self.can_split and running < self.max_connections

    def granted(self) -> int:
        """Return how many connections all workers together leave us. Asked of the store now and then."""
        now = time.monotonic()
        if now - self._requested_at >= _GRANT_INTERVAL:
            self._requested_at, self._granted = (
                now,
                self._quota.request_connections(self.max_connections),
            )
        return self._granted

    def slowest_to_finish(self, connections: Sequence[Connection]) -> Connection | None:
        """Return the one that would be busy for the longest time, if another is worth it; else None."""
        now = time.monotonic()
        best, longest = None, self._options.split_after
        for one in connections:
            left = one.segment.remaining
            if not one.is_accepted or left is None or now - one.accepted_at < MIN_MEASURE_TIME:
                continue
            seconds = left / max(one.stall.average(now, one.received), 1.0)
            if seconds > longest and left >= 2 * self._options.min_segment_size:
                best, longest = one, seconds
        return best

    def stalled(self, connections: Sequence[Connection]) -> Connection | None:
        """Return the one that is so slow that a fresh connection would be done sooner, or None."""
        speeds = {one: one.stall.speed for one in connections if one.stall.speed is not None}
        # What has only just begun is not judged: its first bytes come in a burst.
        if len(speeds) < len(connections) or not speeds:
            return None
        self._best_speed = max(self._best_speed, *speeds.values())
        slowest = min(speeds, key=speeds.__getitem__)
        left = slowest.segment.remaining
        if left is None or slowest.received == 0:
            return None
        seconds = left / max(speeds[slowest], 1.0)
        crawls = speeds[slowest] * _STALL_FACTOR < self._best_speed
        if not crawls or seconds <= 2 * self._options.split_after:
            return None
        # The next one is not measured by a time that may be over.
        self._best_speed = 0.0
        return slowest
