"""Keeps one transfer within the rate it may have."""

from __future__ import annotations

from worker.transfer.interfaces import TransferQuota

#: So many seconds' bytes may be saved up: a rate is reached although nobody looks all the time.
_BURST_SECONDS = 0.25
#: What libcurl hands out at once: less than this is not worth waking up for.
_CHUNK = 16 * 1024


class TokenBucket:
    """A token bucket of bytes, filled at the rate that the quota names.

    Not libcurl's own limit: that one counts anew whenever it is changed, and rates change all the time.
    """

    def __init__(self, quota: TransferQuota, now: float) -> None:
        self._quota = quota
        self._tokens = 0.0
        self._refilled_at = now

    def refill(self, now: float) -> None:
        """Add what the time since the last call is worth."""
        rate = self._quota.rate
        elapsed, self._refilled_at = now - self._refilled_at, now
        if rate is None:
            self._tokens = 0.0
        else:
            self._tokens = min(self._tokens + rate * elapsed, max(rate * _BURST_SECONDS, _CHUNK))

    def try_consume(self, size: int) -> bool:
        """Take `size` bytes if any may be taken now; the last of them are borrowed from later."""
        if self._quota.rate is None:
            return True
        if self._tokens <= 0:
            return False
        self._tokens -= size
        return True

    def seconds_until_ready(self) -> float:
        """Return the seconds until bytes may be taken again; 0 when they may now."""
        rate = self._quota.rate
        if rate is None or self._tokens > 0:
            return 0.0
        return (_CHUNK - self._tokens) / rate
