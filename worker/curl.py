"""The libcurl handle of a thread, and how it is set up for one request."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import certifi
import pycurl

#: libcurl reads up to so many bytes from a socket at once.
BUFFER_SIZE = 256 * 1024

_PROTOCOLS = pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS

_per_thread = threading.local()


@dataclass(frozen=True, slots=True)
class TransferOptions:
    """How transfers behave. Times in seconds, sizes in bytes."""

    connect_timeout: float
    low_speed_time: float
    low_speed_limit: int
    max_redirects: int
    user_agent: str
    checkpoint_interval: float
    min_free_bytes: int


def thread_handle() -> Any:
    """Return this thread's handle. Reset after each use, it keeps its open connections."""
    if not hasattr(_per_thread, "handle"):
        _per_thread.handle = pycurl.Curl()
    return _per_thread.handle


def prepare(
    handle: Any, url: str, options: TransferOptions, headers: Sequence[str], offset: int
) -> None:
    """Set up everything but the callbacks for a GET of `url` from byte `offset` on."""
    handle.setopt(pycurl.URL, url)
    handle.setopt(pycurl.NOSIGNAL, 1)
    handle.setopt(pycurl.PROTOCOLS, _PROTOCOLS)
    handle.setopt(pycurl.REDIR_PROTOCOLS, _PROTOCOLS)
    handle.setopt(pycurl.FOLLOWLOCATION, 1)
    handle.setopt(pycurl.MAXREDIRS, options.max_redirects)
    handle.setopt(pycurl.CAINFO, _ca_file())
    handle.setopt(pycurl.PROXY, "")  # the environment has no say here; settings do
    handle.setopt(pycurl.USERAGENT, options.user_agent)
    handle.setopt(pycurl.HTTPHEADER, list(headers))
    handle.setopt(pycurl.BUFFERSIZE, BUFFER_SIZE)
    handle.setopt(pycurl.CONNECTTIMEOUT_MS, round(options.connect_timeout * 1000))
    handle.setopt(pycurl.LOW_SPEED_LIMIT, options.low_speed_limit)
    handle.setopt(pycurl.LOW_SPEED_TIME, max(1, round(options.low_speed_time)))
    if offset:
        handle.setopt(pycurl.RANGE, f"{offset}-")


@cache
def _ca_file() -> str:
    """Return the system's CA bundle, or the one that certifi brings where the system has none."""
    return ssl.get_default_verify_paths().cafile or certifi.where()
