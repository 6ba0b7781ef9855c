"""Decides when another connection is worth opening, and which one is too slow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from worker.transfer.connection import Connection
from worker.transfer.interfaces import TransferOptions, TransferQuota

#: A speed measured over a shorter time means nothing. Seconds.
MIN_MEASURE_TIME = 0.05
#: The quota is requested again after this time. Seconds.
_GRANT_INTERVAL = 1.0
#: A connection is slow if the best speed seen is more than this many times higher.
_SLOW_FACTOR = 4


class ConnectionPolicy:
    """The rules for the connections of one transfer.

    Args:
        wake: called when the quota has answered.

    Attributes:
        can_split: the origin supports ranges, and a validator proves what they belong to.
        max_connections: the limit; lowered when the origin refuses a connection.
    """

    def __init__(
        self,
        options: TransferOptions,
        quota: TransferQuota,
        max_connections: int,
        *,
        wake: Callable[[], None],
    ) -> None:
        self._options, self._quota = options, quota
        self._wake = wake
        self._request: asyncio.Task[int] | None = None
        self.can_split = False
        self.max_connections = max_connections
        self._granted = 1
        self._requested_at = -_GRANT_INTERVAL
        self._best_speed = 0.0

    def may_add(self, running: int) -> bool:
        """Return whether one connection more than `running` may be opened."""
        return self.can_split and running < self.max_connections

    def granted(self) -> int:
        """Return how many connections the quota grants by its last answer.

        It is requested at most once a second; `wake` is called when it has answered.
        """
        if self._request is not None and self._request.done():
            self._granted, self._request = self._request.result(), None
        now = time.monotonic()
        if self._request is None and now - self._requested_at >= _GRANT_INTERVAL:
            self._requested_at = now
            asking = self._quota.request_connections(self.max_connections)
            self._request = asyncio.get_running_loop().create_task(asking)
            self._request.add_done_callback(lambda _: self._wake())
        return self._granted

    async def wait(self) -> None:
        """Wait for the quota's answer if one is outstanding; nothing is acquired after this."""
        if self._request is not None:
            await asyncio.wait([self._request])

    def slowest_to_finish(self, connections: Sequence[Connection]) -> Connection | None:
        """Return the connection whose segment takes longest, if it is worth splitting; else None."""
        now = time.monotonic()
        slowest, longest = None, self._options.split_after
        for one in connections:
            remaining = one.segment.remaining
            if not one.is_accepted or remaining is None or now - one.accepted_at < MIN_MEASURE_TIME:
                continue
            seconds = remaining / max(one.stall.average(now, one.received), 1.0)
            if seconds > longest and self.is_worth_splitting(one):
                slowest, longest = one, seconds
        return slowest

    def is_worth_splitting(self, connection: Connection) -> bool:
        """Return whether so much of its segment is missing that two connections may fetch it."""
        remaining = connection.segment.remaining
        return remaining is not None and remaining >= 2 * self._options.min_segment_size

    def slow_connection(self, connections: Sequence[Connection]) -> Connection | None:
        """Return the connection that is so slow that a new one would finish sooner, or None."""
        speeds = {one: one.stall.speed for one in connections if one.stall.speed is not None}
        # Not while one has no sample yet: its first bytes arrive in a burst.
        if len(speeds) < len(connections) or not speeds:
            return None
        self._best_speed = max(self._best_speed, *speeds.values())
        slowest = min(speeds, key=speeds.__getitem__)
        remaining = slowest.segment.remaining
        if remaining is None or slowest.received == 0:
            return None
        seconds = remaining / max(speeds[slowest], 1.0)
        is_slow = speeds[slowest] * _SLOW_FACTOR < self._best_speed
        if not is_slow or seconds <= 2 * self._options.split_after:
            return None
        # The next connection is not compared with a speed that may no longer be reached.
        self._best_speed = 0.0
        return slowest

    def timeout(self, connection: Connection, running: int) -> float:
        """Return after how many seconds below the low-speed limit a connection is closed."""
        if connection.received == 0 and running > 1:
            # It has not sent anything and others have: its segment need not wait as long as a file.
            return min(self._options.low_speed_time, self._options.connect_timeout)
        return self._options.low_speed_time
