"""Limits one transfer to its rate."""

from __future__ import annotations

from worker.transfer.interfaces import TransferQuota

#: The bucket holds the bytes of this many seconds, so that the rate is reached between two iterations.
_BURST_SECONDS = 0.25
#: libcurl passes this many bytes at once; waiting for fewer is not worth an iteration.
_CHUNK = 16 * 1024


class TokenBucket:
    """A token bucket of bytes, refilled at the rate of a quota.

    libcurl's own limit is not used: it restarts its accounting whenever the rate changes.
    """

    def __init__(self, quota: TransferQuota, now: float) -> None:
        self._quota = quota
        self._tokens = 0.0
        self._refilled_at = now

    def refill(self, now: float) -> None:
        """Add the tokens of the time since the last call."""
        rate = self._quota.rate
        elapsed, self._refilled_at = now - self._refilled_at, now
        if rate is None:
            self._tokens = 0.0
        else:
            self._tokens = min(self._tokens + rate * elapsed, max(rate * _BURST_SECONDS, _CHUNK))

    def try_consume(self, size: int) -> bool:
        """Take `size` tokens if there are any; missing ones are taken from later refills."""
        if self._quota.rate is None:
            return True
        if self._tokens <= 0:
            return False
        self._tokens -= size
        return True

    def seconds_until_ready(self) -> float:
        """Return the seconds until `try_consume` succeeds; 0 when it does now."""
        rate = self._quota.rate
        if rate is None or self._tokens > 0:
            return 0.0
        return (_CHUNK - self._tokens) / rate
