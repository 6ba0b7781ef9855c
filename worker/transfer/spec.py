"""What a transfer fetches, and how it behaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferSpec:
    """One file to fetch.

    Attributes:
        urls: the file's URL, then its mirrors; all validated.
        checksum: the one the caller expects, as ``algorithm:hex``.
        headers, cookies, username, password: sent to the origin of the first URL only.
        connections: the largest number of simultaneous connections.
        max_bytes: a larger file is refused; None for any size.
        decode: undo a Content-Encoding that the origin sends although none was requested.
        ignore_origin_digests: do not check the digests that the origin sends.
    """

    urls: tuple[str, ...]
    checksum: str | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    cookies: str | None = field(default=None, repr=False)
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    connections: int = 4
    max_bytes: int | None = None
    decode: bool = False
    ignore_origin_digests: bool = False


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
