"""Sets up a libcurl handle for one request."""

from __future__ import annotations

import ssl
from functools import cache
from typing import Any

import certifi
import pycurl

from domain.urls import host_of
from worker.transfer.http.request import Request
from worker.transfer.interfaces import TransferOptions

#: libcurl reads at most this many bytes from a socket at once. Measured on loopback: a quarter of it
#: costs a fifth of the speed, four times as much no longer fits into the processor's cache.
MAX_BUFFER = 512 * 1024
MIN_BUFFER = 32 * 1024
#: Approximate limit of the buffers of all transfers in a process together.
_TOTAL_BUFFER_BYTES = 32 * 1024 * 1024

_PROTOCOLS = pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS | pycurl.PROTO_FTP | pycurl.PROTO_FTPS


class CookieJars:
    """Cookies that origins set during one transfer: kept by libcurl in memory, one jar for each host.

    A cookie is sent only to the host that set it, whatever domain it names. A job's own cookies are not
    in here, see `Sources.cookies_for`. Belongs to the transfer's thread; its handles share the jars.
    """

    def __init__(self) -> None:
        self._jars: dict[str, Any] = {}

    def attach(self, handle: Any, url: str) -> None:
        """Make `handle` send and store the cookies of the host of `url`."""
        host = host_of(url) or ""
        if host not in self._jars:
            jar = pycurl.CurlShare()
            jar.setopt(pycurl.SH_SHARE, pycurl.LOCK_DATA_COOKIE)
            self._jars[host] = jar
        handle.setopt(pycurl.SHARE, self._jars[host])
        handle.setopt(pycurl.COOKIEFILE, "")  # enables the cookie engine without reading a file


def buffer_size(transfers: int) -> int:
    """Return libcurl's buffer size in bytes when `transfers` transfers share the process's memory."""
    return max(MIN_BUFFER, min(MAX_BUFFER, _TOTAL_BUFFER_BYTES // max(1, transfers)))


def configure(
    handle: Any, request: Request, options: TransferOptions, buffer: int = MAX_BUFFER
) -> None:
    """Set all options except the callbacks; `buffer` is libcurl's buffer size in bytes."""
    handle.setopt(pycurl.URL, request.url)
    handle.setopt(pycurl.NOSIGNAL, 1)
    handle.setopt(pycurl.PROTOCOLS, _PROTOCOLS)
    # The engine follows redirects itself: which credentials may be sent depends on the target.
    handle.setopt(pycurl.FOLLOWLOCATION, 0)
    handle.setopt(pycurl.CAINFO, str(options.ca_file) if options.ca_file else ca_file())
    # Both are always set, so that the proxy variables of the environment have no effect.
    handle.setopt(pycurl.PROXY, options.proxy)
    handle.setopt(pycurl.NOPROXY, "")
    handle.setopt(pycurl.USERAGENT, options.user_agent)
    handle.setopt(pycurl.BUFFERSIZE, buffer)
    handle.setopt(pycurl.CONNECTTIMEOUT_MS, round(options.connect_timeout * 1000))
    handle.setopt(pycurl.OPT_FILETIME, 1)
    _set_login(handle, request, options)
    if request.is_ftp:
        handle.setopt(pycurl.FTP_SKIP_PASV_IP, 1)
    else:
        _set_headers(handle, request)
    if request.first is not None:
        last = "" if request.last is None else request.last
        handle.setopt(pycurl.RANGE, f"{request.first}-{last}")
    elif request.adaptation.range_from_start:
        handle.setopt(pycurl.RANGE, "0-")


def _set_login(handle: Any, request: Request, options: TransferOptions) -> None:
    # Exactly one scheme: given several, libcurl first sends a request without a login.
    adaptation = request.adaptation
    digest, basic = pycurl.HTTPAUTH_DIGEST, pycurl.HTTPAUTH_BASIC
    handle.setopt(pycurl.HTTPAUTH, digest if adaptation.digest_login else basic)
    handle.setopt(pycurl.PROXYAUTH, digest if adaptation.digest_proxy else basic)
    if request.username is not None:
        # As bytes: pycurl accepts only ASCII in str.
        handle.setopt(pycurl.USERNAME, request.username.encode())
        handle.setopt(pycurl.PASSWORD, (request.password or "").encode())
    if options.netrc is not None:
        handle.setopt(pycurl.NETRC, pycurl.NETRC_OPTIONAL)
        handle.setopt(pycurl.NETRC_FILE, str(options.netrc))


def _set_headers(handle: Any, request: Request) -> None:
    handle.setopt(pycurl.HTTPHEADER, [line.encode() for line in _header_lines(request)])
    if request.cookies is not None:
        # Not as a header line: libcurl joins these with the cookies from the jar.
        handle.setopt(pycurl.COOKIE, request.cookies)


def _header_lines(request: Request) -> list[str]:
    lines = ["Accept: */*", "Accept-Encoding: identity"]
    if request.if_range is not None:
        lines.append(f"If-Range: {request.if_range}")
    given = {line.partition(":")[0].strip().lower() for line in request.headers}
    # The job's header replaces the default one; libcurl would send both.
    kept = [line for line in lines if line.partition(":")[0].lower() not in given]
    return [*kept, *request.headers]


@cache
def ca_file() -> str:
    """Return the system's CA bundle, or certifi's where the system has none."""
    return ssl.get_default_verify_paths().cafile or certifi.where()
