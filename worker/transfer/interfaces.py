"""What a transfer is given: the file to fetch, its options, and the interfaces that it calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from domain.byte_counts import ByteCounts


def _no_cookies(_: str) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferSpec:
    """One file to fetch.

    Attributes:
        urls: the file's URL, then its mirrors; all validated.
        checksum: the one the caller expects, as ``algorithm:hex``.
        headers, cookies, username, password: sent to the origin of the first URL only.
        other_cookies: returns the cookies for a URL of another origin.
        connections: the largest number of simultaneous connections.
        max_bytes: a larger file is refused; None for any size.
        decode: undo a Content-Encoding that the origin sends although none was requested.
        ignore_origin_digests: do not check the digests that the origin sends.
        secret_url: no error shows more of a URL than scheme and host.
    """

    urls: tuple[str, ...] = field(repr=False)
    checksum: str | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    cookies: str | None = field(default=None, repr=False)
    other_cookies: Callable[[str], str | None] = field(default=_no_cookies, repr=False)
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    connections: int = 4
    max_bytes: int | None = None
    decode: bool = False
    ignore_origin_digests: bool = False
    secret_url: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferOptions:
    """How all transfers of a process behave. Times in seconds, sizes in bytes."""

    connect_timeout: float
    low_speed_time: float
    low_speed_limit: int
    max_redirects: int
    user_agent: str
    checkpoint_interval: float
    min_bytes_per_minute: int = 0
    """A transfer that receives less in a minute of waiting for bytes fails; 0 for no minimum."""
    max_bytes: int | None = None
    """The largest file allowed; None for any size."""
    connections: int = 4
    """Connections of one transfer whose job does not set a number."""
    min_segment_size: int = 1 << 20
    """No segment is split into parts smaller than this."""
    split_after: float = 1.0
    """Another connection is opened when the rest of the file would take longer than this."""
    short_retries: int = 3
    """Failures in a row without progress after which the job waits in the database."""
    retry_pause: float = 0.5
    """The delay before the first retry within a transfer; it doubles with every failure in a row."""
    proxy: str = field(default="", repr=False)
    """The proxy's URL, empty for none; may contain a password."""
    netrc: Path | None = None
    ca_file: Path | None = None


class StopFlag(Protocol):
    """Set from another thread to stop a transfer."""

    def raise_if_set(self) -> None:
        """Raise the reason to stop, if there is one. Called many times a second."""


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
    """Limits that transfers share. Called on the event loop, many times a second."""

    @property
    def rate(self) -> float | None:
        """Bytes per second that the transfer may receive now; None for unlimited."""

    def record_bytes(self, size: int) -> None:
        """Count `size` more bytes received."""

    async def request_connections(self, wanted: int) -> int:
        """Hold at most `wanted` connections from now on; return how many are granted, at least 1.

        Called at most once a second.
        """


class DiskCalls(Protocol):
    """Makes the calls of one transfer that wait for its disk, one after another."""

    def start(
        self,
        function: Callable[[], Any],
        on_end: Callable[[Any, BaseException | None], None],
        /,
        *,
        takes_long: bool = False,
        progress: Callable[[], object] | None = None,
    ) -> None:
        """Call a function in a thread, then `on_end` with its result or error on this event loop.

        Args:
            function: to call.
            on_end: as above.
            takes_long: the call reads a whole file, or makes it durable.
            progress: returns how far the call is, in any form; None if that cannot be seen.
        """

    def watch_sync(self, sync: Future[None], /) -> None:
        """Watch also what makes bytes durable in the background, until the next one."""


class UnlimitedQuota:
    """A quota without limits."""

    rate: float | None = None

    def record_bytes(self, size: int) -> None:
        """Do nothing."""

    async def request_connections(self, wanted: int) -> int:
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
        on_retry: called with the code of an error after which a transfer sends a request once more.
    """

    options: TransferOptions
    address_policy: AddressPolicy
    checkpoint_pool: Executor
    hashing_pool: Executor
    parse_file_name: Callable[[str | None], str | None]
    on_retry: Callable[[str], None]
