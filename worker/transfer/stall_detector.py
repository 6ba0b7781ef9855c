"""How fast a connection is, since when it is too slow, and whether a download gets on at all."""

from __future__ import annotations

#: Seconds between two looks.
SAMPLE_INTERVAL = 0.25
#: The weight of the newest look in the speed.
_SMOOTHING = 0.4


#: Seconds of waiting for an origin after which a download is looked at.
THROUGHPUT_WINDOW = 60.0


class MinimumThroughput:
    """The least that a download has to get in a minute of waiting for its origin.

    Only time counts in which the transfer waits for bytes: neither what a rate limit holds back, nor the
    time of the disk, makes an origin slow.

    Args:
        least: bytes in a minute; 0 for no floor.
    """

    def __init__(self, least: int) -> None:
        self._least = least
        self._waited = 0.0
        self._count = 0

    def add_wait(self, seconds: float, count: int) -> int | None:
        """Note a wait, after which the file has `count` bytes.

        Returns the bytes of the minute that this ends, if they are too few; else None.
        """
        self._waited += seconds
        if self._waited < THROUGHPUT_WINDOW:
            return None
        moved = count - self._count
        self._waited, self._count = 0.0, count
        return max(0, moved) if moved < self._least else None


class StallDetector:
    """The speed of one response's body.

    Attributes:
        speed: bytes a second, smoothed; None before the first look.
        slow_since: when it last was fast enough, or when it began. Monotonic seconds.
    """

    def __init__(self, now: float) -> None:
        self._started_at = self._sampled_at = self.slow_since = now
        self._received = 0
        self.speed: float | None = None

    def sample(self, now: float, received: int, slow: float, *, is_waiting: bool = False) -> None:
        """Note that `received` bytes have come by now; less than `slow` bytes a second are too slow.

        It is not slow while it `is_waiting` for us.
        """
        if is_waiting:
            self.slow_since = now
        elapsed = now - self._sampled_at
        if elapsed < SAMPLE_INTERVAL:
            return
        moved = received - self._received
        self._sampled_at, self._received = now, received
        latest = moved / elapsed
        if self.speed is None:
            self.speed = latest
        else:
            self.speed += _SMOOTHING * (latest - self.speed)
        if moved > 0 and latest >= slow:
            self.slow_since = now

    def average(self, now: float, received: int) -> float:
        """Return bytes a second: lately, or from the beginning while there is no look yet."""
        if self.speed is not None:
            return self.speed
        return received / max(now - self._started_at, 1e-3)
