"""What a transfer may use of what is shared: connections to a host, and bytes a second."""

from __future__ import annotations

from typing import Protocol

from worker.limits.slots import Admission
from worker.limits.transfer_rate import Pace


class Allowance(Protocol):
    """Asked by one transfer, from its own thread, many times a second."""

    @property
    def rate(self) -> float | None:
        """Bytes a second that the transfer may move now; None for as fast as it goes."""

    def count(self, size: int) -> None:
        """Note that `size` more bytes have come."""

    def connections(self, want: int) -> int:
        """Hold at most `want` connections from now on, and return how many there may be: 1 or more."""


class Unlimited:
    """Everything is allowed."""

    rate: float | None = None

    def count(self, size: int) -> None:
        """Nobody counts."""

    def connections(self, want: int) -> int:
        """Return what was asked for."""
        return want


class SharedAllowance:
    """A job's part of what all workers share."""

    def __init__(self, admission: Admission, pace: Pace) -> None:
        self._admission, self._pace = admission, pace
        self.count = pace.count

    @property
    def rate(self) -> float | None:
        """Bytes a second, as the pacer divides them."""
        return self._pace.rate

    def connections(self, want: int) -> int:
        """Take or give back slots of the host."""
        return self._admission.connections(want)
