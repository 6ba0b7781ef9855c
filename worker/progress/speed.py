"""The smoothed speed of a transfer."""

from __future__ import annotations

#: Less than this is shown as zero. Bytes per second.
_STANDSTILL = 125.0


class SpeedMeter:
    """An exponentially weighted moving average of bytes per second.

    Samples lose half their weight every `half_life` seconds. Dividing by the sum of weights keeps the
    first samples from being drawn towards zero (bias correction).
    """

    def __init__(self, now: float, size: int, *, half_life: float = 2.0) -> None:
        self._half_life = half_life
        self._time, self._size = now, size
        self._sum = self._weight = 0.0

    def sample(self, now: float, size: int) -> float:
        """Add a sample, `size` bytes at `now` (seconds), and return the speed in bytes per second.

        A lower size than before (a transfer that restarted) counts as no bytes.
        """
        elapsed = now - self._time
        if elapsed > 0:
            rate = max(0, size - self._size) / elapsed
            keep = 0.5 ** (elapsed / self._half_life)
            self._sum = self._sum * keep + rate * (1 - keep)
            self._weight = self._weight * keep + (1 - keep)
            self._time, self._size = now, size
        speed = self._sum / self._weight if self._weight else 0.0
        return speed if speed >= _STANDSTILL else 0.0
