"""What the engine needs from its surroundings: interfaces that it calls, and shared resources."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Protocol

from domain.byte_counts import ByteCounts
from worker.transfer.spec import TransferOptions


class StopFlag(Protocol):
    """Set from another thread to stop a transfer."""

    def raise_if_set(self) -> None:
        """Raise the reason to stop, if there is one. Called many times a second."""

    def wait(self, seconds: float) -> bool:
        """Sleep until the flag is set or `seconds` have passed; return whether it is set."""


class ProgressSink(Protocol):
    """Receives the byte counts of one transfer, and holds its stop flag.

    A new record replaces the last one as a whole, so another thread never reads a count together with
    the total of another file.
    """

    @property
    def job_id(self) -> str:
        """The job's id, for log messages."""

    @property
    def stop(self) -> StopFlag:
        """Set when the transfer must stop."""

    def update(self, counts: ByteCounts) -> None:
        """Replace the counts. Called for every block that is written, so it must be cheap."""

    def restart(self, counts: ByteCounts) -> None:
        """Replace the counts by those from which the transfer starts: they may be lower, or resumed.

        The difference to the last counts is not bytes received.
        """


class AddressPolicy(Protocol):
    """Decides which addresses may be connected to."""

    def allows(self, address: str) -> bool:
        """Return whether an IP address may be connected to."""

    def allows_host(self, host: str) -> bool:
        """Return whether a host may be requested through a proxy."""


class TransferQuota(Protocol):
    """Limits that transfers share. Called by the thread of one transfer, many times a second."""

    @property
    def rate(self) -> float | None:
        """Bytes per second that the transfer may receive now; None for unlimited."""

    def record_bytes(self, size: int) -> None:
        """Count `size` more bytes received."""

    def request_connections(self, wanted: int) -> int:
        """Hold at most `wanted` connections from now on; return how many are granted, at least 1."""


class UnlimitedQuota:
    """A quota without limits."""

    rate: float | None = None

    def record_bytes(self, size: int) -> None:
        """Do nothing."""

    def request_connections(self, wanted: int) -> int:
        """Grant all."""
        return wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineResources:
    """What all transfers of a process share; built once.

    Attributes:
        options: how transfers behave.
        address_policy: which addresses they may connect to.
        checkpoint_pool: runs fsyncs.
        hashing_pool: computes digests.
        parse_file_name: returns the file name in a Content-Disposition header, or None.
    """

    options: TransferOptions
    address_policy: AddressPolicy
    checkpoint_pool: Executor
    hashing_pool: Executor
    parse_file_name: Callable[[str | None], str | None]
