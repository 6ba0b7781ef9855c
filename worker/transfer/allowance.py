"""What a transfer may use of what is shared: connections to a host, and bytes a second."""

from __future__ import annotations

from typing import Protocol


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
