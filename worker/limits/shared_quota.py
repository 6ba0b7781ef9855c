"""A transfer's part of the limits that all workers share."""

from __future__ import annotations

from worker.limits.slots import HeldSlots
from worker.limits.transfer_rate import TransferRate


class SharedQuota:
    """The `TransferQuota` of one job: connection slots of its host, and a rate."""

    def __init__(self, slots: HeldSlots, rate: TransferRate) -> None:
        self._slots, self._rate = slots, rate
        self.record_bytes = rate.count

    @property
    def rate(self) -> float | None:
        """Bytes per second, as the rate controller divides them; None for unlimited."""
        return self._rate.rate

    def request_connections(self, wanted: int) -> int:
        """Request or release slots of the host; return at once how many connections are held so far.

        A later call sees what this one was granted.
        """
        return self._slots.request_connections(wanted)
