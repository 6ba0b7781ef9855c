"""A smoothed speed."""

from __future__ import annotations


class SpeedMeter:
    """An exponentially weighted average of bytes a second, told in megabits (10^6 bits) a second.

    Old samples lose half their weight every `half_life` seconds; dividing by the weight gathered so
    far keeps the first samples from being drawn towards zero (bias correction, as in Adam).
    """

    def __init__(self, now: float, size: int, *, half_life: float = 2.0) -> None:
        self._half_life = half_life
        self._time, self._size = now, size
        self._sum = self._weight = 0.0

    def sample(self, now: float, size: int) -> float:
        """Note that `size` bytes are there at `now` (seconds) and return the speed.

        A size that fell (a transfer that began anew) counts as no bytes.
        """
        elapsed = now - self._time
        if elapsed > 0:
            rate = max(0, size - self._size) * 8 / 1e6 / elapsed
            keep = 0.5 ** (elapsed / self._half_life)
            self._sum = self._sum * keep + rate * (1 - keep)
            self._weight = self._weight * keep + (1 - keep)
            self._time, self._size = now, size
        speed = self._sum / self._weight if self._weight else 0.0
        return speed if speed >= 0.001 else 0.0
