"""What a transfer may use of what is shared: connections to a host, and bytes a second."""

from __future__ import annotations

from typing import Protocol

from worker.limits.slots import HeldSlots
from worker.limits.transfer_rate import TransferRate


class TransferQuota(Protocol):
    """Asked by one transfer, from its own thread, many times a second."""

    @property
    def rate(self) -> float | None:
        """Bytes a second that the transfer may move now; None for as fast as it goes."""

    def record_bytes(self, size: int) -> None:
        """Note that `size` more bytes have come."""

    def request_connections(self, wanted: int) -> int:
        """Hold at most `wanted` connections from now on, and return how many there may be: 1 or more."""


class UnlimitedQuota:
    """Everything is allowed."""

    rate: float | None = None

    def record_bytes(self, size: int) -> None:
        """Nobody counts."""

    def request_connections(self, wanted: int) -> int:
        """Return what was asked for."""
        return wanted


class SharedQuota:
    """A job's part of what all workers share."""

    def __init__(self, held: HeldSlots, rate: TransferRate) -> None:
        self._slots, self._rate = held, rate
        self.record_bytes = rate.count

    @property
    def rate(self) -> float | None:
        """Bytes a second, as the rate controller divides them."""
        return self._rate.rate

    def request_connections(self, wanted: int) -> int:
        """Take or give back slots of the host."""
        return self._slots.connections(wanted)
