"""When a held lock is renewed, and until when its holder may act on it. No I/O.

Both self-renewing locks use it: `cache.coordination.held_lock` (a lock around a block of code) and
`worker.leases.lease` (the locks of all running downloads, renewed by one thread).
"""

from __future__ import annotations

from cache.clock import lease_clock

#: This part of a TTL is kept for stopping: the holder stops before the key can expire.
SAFETY_MARGIN = 1 / 6
#: A failed renewal is tried again after this part of the renewal interval.
_RETRY_PART = 1 / 10


class Renewal:
    """The renewals of one lock, by the holder's own clock.

    Time counts from when a command was sent: the server cannot have started the TTL earlier.

    Args:
        ttl: seconds that each acquire or renewal lasts.
        per_ttl: renewals in one TTL. With fewer, the lock of a dead holder expires sooner; with more,
            more renewals in a row may fail.

    Attributes:
        interval: seconds between a renewal and the next.
        retry_interval: seconds between a failed renewal and the next try.
    """

    def __init__(self, ttl: float, *, per_ttl: int) -> None:
        self._ttl = ttl
        self.interval = ttl / per_ttl
        self.retry_interval = self.interval * _RETRY_PART
        self._valid_until = self._expires_at = 0.0

    def record(self, sent_at: float, extended: bool | None) -> float:
        """Record the reply to an acquire or a renewal; return the seconds until the next renewal.

        Args:
            sent_at: when the command was sent, by `lease_clock`.
            extended: whether the key was still the holder's; None when the store did not answer.
        """
        if extended is None:
            return self.retry_interval
        if extended:
            self._valid_until = sent_at + self._ttl * (1 - SAFETY_MARGIN)
            self._expires_at = sent_at + self._ttl
        else:
            self.end()
        return self.interval

    def end(self) -> None:
        """Make the lock invalid at once: it was lost or released."""
        self._valid_until = 0.0

    def is_valid(self) -> bool:
        """Return whether the holder may still write.

        It compares clocks and reads no flag, so a process that was stopped and continues knows at once.
        """
        return lease_clock() < self._valid_until

    def is_expired(self) -> bool:
        """Return whether the key may have expired and another holder may have the lock."""
        return lease_clock() >= self._expires_at
