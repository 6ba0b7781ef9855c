"""How fast one connection is, and since when it is too slow."""

from __future__ import annotations

#: Seconds between two looks.
TICK = 0.25
#: The weight of the newest look in the speed.
_NEWEST = 0.4


class StallWatch:
    """The speed of one response's body.

    Attributes:
        speed: bytes a second, smoothed; None before the first look.
        slow_since: when it last was fast enough, or when it began. Monotonic seconds.
    """

    def __init__(self, now: float) -> None:
        self._began = self._looked = self.slow_since = now
        self._received = 0
        self.speed: float | None = None

    def look(self, now: float, received: int, slow: float, *, waits: bool = False) -> None:
        """Note that `received` bytes have come by now; less than `slow` bytes a second are too slow.

        It is not slow while it `waits` for us.
        """
        if waits:
            self.slow_since = now
        elapsed = now - self._looked
        if elapsed < TICK:
            return
        moved = received - self._received
        self._looked, self._received = now, received
        latest = moved / elapsed
        if self.speed is None:
            self.speed = latest
        else:
            self.speed += _NEWEST * (latest - self.speed)
        if moved > 0 and latest >= slow:
            self.slow_since = now

    def average(self, now: float, received: int) -> float:
        """Return bytes a second: lately, or from the beginning while there is no look yet."""
        if self.speed is not None:
            return self.speed
        return received / max(now - self._began, 1e-3)
