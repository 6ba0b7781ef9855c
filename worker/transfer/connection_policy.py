"""When another connection is worth its handshake, and whose piece it takes."""

from __future__ import annotations

import time
from collections.abc import Sequence

from worker.transfer.connection import Exchange
from worker.transfer.http.curl_options import TransferOptions
from worker.transfer.quota import Allowance

#: A speed measured over less than this says nothing. Seconds.
MEASURE = 0.05
#: An answer to "how many connections may I have" is good for so many seconds.
_ASK_AGAIN = 1.0
#: A connection this many times slower than the fastest one gives its piece to another.
_SLOWER = 4


class Sharing:
    """How one transfer is shared out among connections.

    Attributes:
        is_possible: the origin does ranges, and something vouches for what they are of.
        most: no more connections than this; it falls when the origin refuses one.
    """

    def __init__(self, options: TransferOptions, allowance: Allowance, most: int) -> None:
        self._options, self._allowance = options, allowance
        self.is_possible = False
        self.most = most
        self._allowed = 1
        self._asked_at = -_ASK_AGAIN
        self._best_speed = 0.0

    def has_place(self, running: int) -> bool:
        """Say whether one more connection than the `running` ones may be opened."""
        return self.is_possible and running < self.most

    def allowed(self) -> int:
        """Return how many connections all workers together leave us. Asked of the store now and then."""
        now = time.monotonic()
        if now - self._asked_at >= _ASK_AGAIN:
            self._asked_at, self._allowed = now, self._allowance.connections(self.most)
        return self._allowed

    def busiest(self, exchanges: Sequence[Exchange]) -> Exchange | None:
        """Return the one that would be busy for the longest time, if another is worth it; else None."""
        now = time.monotonic()
        best, longest = None, self._options.split_after
        for one in exchanges:
            left = one.piece.left
            if not one.is_accepted or left is None or now - one.accepted_at < MEASURE:
                continue
            seconds = left / max(one.watch.average(now, one.received), 1.0)
            if seconds > longest and left >= 2 * self._options.smallest_piece:
                best, longest = one, seconds
        return best

    def crawler(self, exchanges: Sequence[Exchange]) -> Exchange | None:
        """Return the one that is so slow that a fresh connection would be done sooner, or None."""
        speeds = {one: one.watch.speed for one in exchanges if one.watch.speed is not None}
        # What has only just begun is not judged: its first bytes come in a burst.
        if len(speeds) < len(exchanges) or not speeds:
            return None
        self._best_speed = max(self._best_speed, *speeds.values())
        slowest = min(speeds, key=speeds.__getitem__)
        left = slowest.piece.left
        if left is None or slowest.received == 0:
            return None
        seconds = left / max(speeds[slowest], 1.0)
        crawls = speeds[slowest] * _SLOWER < self._best_speed
        if not crawls or seconds <= 2 * self._options.split_after:
            return None
        # The next one is not measured by a time that may be over.
        self._best_speed = 0.0
        return slowest
