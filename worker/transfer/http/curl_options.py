"""How a libcurl handle is set up for one request."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import certifi
import pycurl

from domain.urls import DEFAULT_PORTS
from worker.transfer.http.request_adaptation import Adaptation

#: libcurl reads up to so many bytes from a socket at once. Measured on loopback: a quarter of it costs a
#: fifth of the speed, four times as much falls out of the processor's cache.
MAX_BUFFER = 512 * 1024
MIN_BUFFER = 32 * 1024
#: What the buffers of all transfers of a process may take together, more or less.
_TOTAL_BUFFER_BYTES = 32 * 1024 * 1024

_PROTOCOLS = pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS | pycurl.PROTO_FTP | pycurl.PROTO_FTPS


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferOptions:
    """How transfers behave. Times in seconds, sizes in bytes."""

    connect_timeout: float
    low_speed_time: float
    low_speed_limit: int
    max_redirects: int
    user_agent: str
    checkpoint_interval: float
    min_bytes_per_minute: int = 0
    """A download that gets less in a minute of waiting for bytes is given up; 0 for no floor."""
    max_bytes: int | None = None
    """No file may be larger; None for any size."""
    connections: int = 4
    """Connections of one download, where its job does not say."""
    min_segment_size: int = 1 << 20
    """No segment is cut into halves smaller than this."""
    split_after: float = 1.0
    """A further connection is worth its handshake when what is left takes longer than this."""
    short_retries: int = 3
    """Failures in a row, none of them with progress in between, after which the job waits in SQL."""
    retry_pause: float = 0.5
    """Before the first retry inside a transfer; it doubles with every failure in a row."""
    proxy: str = field(default="", repr=False)
    """May hold a password."""
    netrc: Path | None = None
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request for all of `url`, or for its bytes `first` to `last` (inclusive; None: to the end)."""

    url: str
    first: int | None = None
    last: int | None = None
    if_range: str | None = None
    """If-Range: the validator that the range must still fit."""
    headers: Sequence[str] = field(default=(), repr=False)
    cookies: str | None = field(default=None, repr=False)
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    proxy: str = field(default="", repr=False)
    """What it goes through, as the options say; may hold a password."""
    adaptation: Adaptation = field(default_factory=Adaptation)

    @property
    def is_ftp(self) -> bool:
        """Whether it goes to an FTP server, which knows no headers."""
        return self.url[:3].lower() == "ftp"


def buffer_size(transfers: int) -> int:
    """Return how much libcurl is to read at once while so many transfers share the process's memory."""
    return max(MIN_BUFFER, min(MAX_BUFFER, _TOTAL_BUFFER_BYTES // max(1, transfers)))


def configure(
    handle: Any, request: Request, options: TransferOptions, buffer: int = MAX_BUFFER
) -> None:
    """Set up everything but the callbacks; `buffer` is what libcurl may read at once, in bytes."""
    handle.setopt(pycurl.URL, request.url)
    handle.setopt(pycurl.NOSIGNAL, 1)
    handle.setopt(pycurl.PROTOCOLS, _PROTOCOLS)
    # Redirects are followed by us: what may go with a request depends on where it goes.
    handle.setopt(pycurl.FOLLOWLOCATION, 0)
    handle.setopt(pycurl.CAINFO, str(options.ca_file) if options.ca_file else _ca_file())
    handle.setopt(pycurl.PROXY, options.proxy)  # the environment has no say here; settings do
    handle.setopt(pycurl.NOPROXY, "")
    handle.setopt(pycurl.USERAGENT, options.user_agent)
    handle.setopt(pycurl.BUFFERSIZE, buffer)
    handle.setopt(pycurl.CONNECTTIMEOUT_MS, round(options.connect_timeout * 1000))
    handle.setopt(pycurl.OPT_FILETIME, 1)
    _log_in(handle, request, options)
    if request.is_ftp:
        handle.setopt(pycurl.FTP_SKIP_PASV_IP, 1)
    else:
        handle.setopt(pycurl.HTTPHEADER, [line.encode() for line in _header_lines(request)])
        if request.cookies is not None:
            # Not among the headers: libcurl joins them with those that the origin has set.
            handle.setopt(pycurl.COOKIE, request.cookies)
    if request.first is None and request.adaptation.range_from_start:
        handle.setopt(pycurl.RANGE, "0-")
    if request.first is not None:
        last = "" if request.last is None else request.last
        handle.setopt(pycurl.RANGE, f"{request.first}-{last}")


def _log_in(handle: Any, request: Request, options: TransferOptions) -> None:
    # One scheme, not a choice: with a choice libcurl asks without a login first.
    adaptation = request.adaptation
    digest, basic = pycurl.HTTPAUTH_DIGEST, pycurl.HTTPAUTH_BASIC
    handle.setopt(pycurl.HTTPAUTH, digest if adaptation.digest_login else basic)
    handle.setopt(pycurl.PROXYAUTH, digest if adaptation.digest_proxy else basic)
    if request.username is not None:
        # As octets: of text pycurl takes ASCII only.
        handle.setopt(pycurl.USERNAME, request.username.encode())
        handle.setopt(pycurl.PASSWORD, (request.password or "").encode())
    if options.netrc is not None:
        handle.setopt(pycurl.NETRC, pycurl.NETRC_OPTIONAL)
        handle.setopt(pycurl.NETRC_FILE, str(options.netrc))


def _header_lines(request: Request) -> list[str]:
    lines = ["Accept: */*", "Accept-Encoding: identity"]
    if request.if_range is not None:
        lines.append(f"If-Range: {request.if_range}")
    given = {line.partition(":")[0].strip().lower() for line in request.headers}
    # A given header replaces ours; libcurl would send both.
    kept = [line for line in lines if line.partition(":")[0].lower() not in given]
    return [*kept, *request.headers]


def same_origin(one: str, other: str) -> bool:
    """Say whether two URLs share scheme, host and port: what was given for one may go to the other."""
    return _origin(one) == _origin(other)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    return scheme, parts.hostname, parts.port or DEFAULT_PORTS.get(scheme)


@cache
def _ca_file() -> str:
    """Return the system's CA bundle, or the one that certifi brings where the system has none."""
    return ssl.get_default_verify_paths().cafile or certifi.where()
