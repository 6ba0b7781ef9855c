"""Measures speeds in bytes per second, and detects those that are too low."""

from __future__ import annotations

from domain.errors import TransientError

#: Seconds between two samples.
SAMPLE_INTERVAL = 0.25
#: The weight of the newest sample in the smoothed speed.
_SMOOTHING = 0.4
#: Seconds of waiting for an origin after which the bytes received are counted.
THROUGHPUT_WINDOW = 60.0


class MinimumThroughput:
    """The fewest bytes that a transfer must receive in a minute of waiting for its origin.

    Only time spent waiting for bytes counts: neither a rate limit nor the disk makes an origin slow.

    Args:
        least: bytes per minute; 0 for no minimum.
    """

    def __init__(self, least: int) -> None:
        self._least = least
        self._waited = 0.0
        self._downloaded = 0

    def add_wait(self, seconds: float, downloaded: int) -> None:
        """Count a wait, after which `downloaded` bytes of the file are written.

        Raises:
            TransientError: this completes a minute in which too few bytes were received.
        """
        self._waited += seconds
        if self._waited < THROUGHPUT_WINDOW:
            return
        received = downloaded - self._downloaded
        self._waited, self._downloaded = 0.0, downloaded
        if received < self._least:
            raise TransientError(
                f"The origin sent {max(0, received):,} bytes in {THROUGHPUT_WINDOW:g} seconds; the "
                f"minimum is {self._least:,} (SEEN_MIN_BYTES_PER_MINUTE).",
                code="too_slow",
            )


class StallDetector:
    """The speed of one response's body, or of a whole transfer.

    Attributes:
        speed: smoothed, in bytes per second; None before the first sample.
        slow_since: monotonic time at which it last was fast enough, or started.
    """

    def __init__(self, now: float) -> None:
        self.restart(now)

    def restart(self, now: float) -> None:
        """Forget all samples and start at `now`."""
        self._started_at = self._sampled_at = self.slow_since = now
        self._received = 0
        self.speed: float | None = None

    def sample(
        self, now: float, received: int, low_speed_limit: float, *, is_held_back: bool = False
    ) -> None:
        """Record that `received` bytes have arrived by `now`.

        Args:
            low_speed_limit: bytes per second below which it is too slow.
            is_held_back: this worker holds the body back, so the speed says nothing about the origin.
        """
        if is_held_back:
            self.slow_since = now
        elapsed = now - self._sampled_at
        if elapsed < SAMPLE_INTERVAL:
            return
        new_bytes = received - self._received
        self._sampled_at, self._received = now, received
        latest = new_bytes / elapsed
        if self.speed is None:
            self.speed = latest
        else:
            self.speed += _SMOOTHING * (latest - self.speed)
        if new_bytes > 0 and latest >= low_speed_limit:
            self.slow_since = now

    def average(self, now: float, received: int) -> float:
        """Return the smoothed speed, or before the first sample the average since the start."""
        if self.speed is not None:
            return self.speed
        return received / max(now - self._started_at, 1e-3)


def stall_error(low_speed_limit: float, seconds: float) -> TransientError:
    """Return the error of a body that was too slow for this many seconds."""
    return TransientError(
        f"The origin sent less than {low_speed_limit:g} bytes a second for {seconds:g} seconds.",
        code="timeout",
    )
