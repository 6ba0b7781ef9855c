"""Keeps one transfer within the rate it may have."""

from __future__ import annotations

from worker.transfer.quota import Allowance

#: So many seconds' bytes may be saved up: a rate is reached although nobody looks all the time.
_BURST = 0.25
#: What libcurl hands out at once: less than this is not worth waking up for.
_CHUNK = 16 * 1024


class Throttle:
    """A token bucket of bytes, filled at the rate that the allowance names.

    Not libcurl's own limit: that one counts anew whenever it is changed, and rates change all the time.
    """

    def __init__(self, allowance: Allowance, now: float) -> None:
        self._allowance = allowance
        self._tokens = 0.0
        self._filled = now

    def fill(self, now: float) -> None:
        """Add what the time since the last call is worth."""
        rate = self._allowance.rate
        elapsed, self._filled = now - self._filled, now
        if rate is None:
            self._tokens = 0.0
        else:
            self._tokens = min(self._tokens + rate * elapsed, max(rate * _BURST, _CHUNK))

    def take(self, size: int) -> bool:
        """Take `size` bytes if any may be taken now; the last of them are borrowed from later."""
        if self._allowance.rate is None:
            return True
        if self._tokens <= 0:
            return False
        self._tokens -= size
        return True

    def pause(self) -> float:
        """Return the seconds until bytes may be taken again; 0 when they may now."""
        rate = self._allowance.rate
        if rate is None or self._tokens > 0:
            return 0.0
        return (_CHUNK - self._tokens) / rate
