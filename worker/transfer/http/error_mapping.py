"""Turns failures into errors: HTTP responses (by `statuses`), libcurl's codes, failed lookups."""

from __future__ import annotations

import queue
import socket
import threading
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType

import pycurl

from domain.errors import PermanentError, TransientError
from worker.transfer.http import logins, statuses
from worker.transfer.http.request import Request
from worker.transfer.http.response import Response
from worker.transfer.http.statuses import Meaning

#: More than 300 KB of header, libcurl's limit. pycurl has no name for this code.
E_TOO_LARGE = 100
#: The handshake with a SOCKS proxy failed. pycurl has no name for this code.
E_PROXY = 97

#: libcurl's codes (libcurl-errors(3)) of permanent failures. Every other code is transient: an unknown
#: one is limited by the number of attempts.
PERMANENT_CURL = MappingProxyType(
    {
        pycurl.E_URL_MALFORMAT: ("bad_url", "The URL is malformed"),
        pycurl.E_REMOTE_FILE_NOT_FOUND: ("not_found", "The origin has no such file"),
        pycurl.E_REMOTE_ACCESS_DENIED: ("access_denied", "The origin refuses access"),
        pycurl.E_LOGIN_DENIED: ("login_denied", "The origin does not accept the login"),
        E_TOO_LARGE: ("headers_too_large", "The origin's header is too large"),
        pycurl.E_PEER_FAILED_VERIFICATION: ("bad_certificate", "The certificate is not valid"),
        pycurl.E_SSL_CACERT_BADFILE: ("bad_ca_file", "The CA file cannot be read"),
    }
)

_TRANSIENT_CURL = MappingProxyType(
    {
        pycurl.E_COULDNT_RESOLVE_HOST: ("dns", "The host name cannot be resolved"),
        pycurl.E_COULDNT_RESOLVE_PROXY: (
            "proxy_dns",
            "The proxy's host name (SEEN_PROXY) cannot be resolved",
        ),
        E_PROXY: ("proxy", "The proxy (SEEN_PROXY) did not connect"),
        pycurl.E_COULDNT_CONNECT: ("connect", "The connection failed"),
        pycurl.E_OPERATION_TIMEDOUT: ("timeout", "The origin was too slow"),
        pycurl.E_PARTIAL_FILE: ("truncated", "The origin sent fewer bytes than announced"),
        pycurl.E_SSL_CONNECT_ERROR: ("tls", "The TLS handshake failed"),
        pycurl.E_GOT_NOTHING: (
            "empty_reply",
            "The origin closed the connection without a response",
        ),
        # The URL's scheme has been checked, so the unsupported protocol is that of the response.
        pycurl.E_UNSUPPORTED_PROTOCOL: ("bad_response", "The response is malformed"),
        pycurl.E_FTP_WEIRD_SERVER_REPLY: ("bad_response", "The response is malformed"),
        pycurl.E_FTP_COULDNT_USE_REST: ("bad_range", "The origin does not support resuming"),
        pycurl.E_RANGE_ERROR: ("bad_range", "The origin does not support resuming"),
        pycurl.E_BAD_DOWNLOAD_RESUME: ("bad_range", "The origin has no bytes from this offset on"),
        pycurl.E_RECV_ERROR: ("reset", "The connection broke"),
        pycurl.E_SEND_ERROR: ("reset", "The connection broke"),
    }
)

#: The error code of a name that does not exist: it is retried once.
NO_SUCH_HOST = "no_such_host"
#: Short, since libcurl has just sent the same query: a working name server has the answer. Seconds.
_LOOKUP_TIMEOUT = 2.0

#: Codes of getaddrinfo (RFC 3493, section 6.1) and the error code for each. Those that only a wrong call
#: can cause are transient: a mistake of ours must not fail a download permanently.
RESOLVER_CODES = MappingProxyType(
    {
        socket.EAI_NONAME: NO_SUCH_HOST,
        socket.EAI_NODATA: NO_SUCH_HOST,  # the name exists and has no address
        socket.EAI_ADDRFAMILY: NO_SUCH_HOST,  # … no address of a family that this machine supports
        socket.EAI_AGAIN: "dns",  # the name server did not answer, or failed
        socket.EAI_FAIL: "dns",  # the name server refused to answer
        socket.EAI_MEMORY: "dns",
        socket.EAI_SYSTEM: "dns",
        socket.EAI_OVERFLOW: "dns",
        socket.EAI_BADFLAGS: "dns",
        socket.EAI_FAMILY: "dns",
        socket.EAI_SERVICE: "dns",
        socket.EAI_SOCKTYPE: "dns",
    }
)


def error_for_response(response: Response, request: Request) -> TransientError | PermanentError:
    """Return the error for an HTTP response that does not carry the file."""
    if response.status == 401:
        reason = logins.explain_origin(
            response.headers.get("www-authenticate", ""),
            has_credentials=request.username is not None,
        )
        return PermanentError(f"The origin answered 401 Unauthorized: {reason}", code="http_401")
    if response.status == 407 and request.proxy:
        return error_for_proxy_response(response, request)
    return error_for_status(response.status, response.headers.get("retry-after"))


def error_for_proxy_response(
    response: Response, request: Request
) -> TransientError | PermanentError:
    """Return the error for a response of the proxy itself, to a request or to CONNECT."""
    if response.status == 407:
        reason = logins.explain_proxy(
            response.headers.get("proxy-authenticate", ""), has_credentials="@" in request.proxy
        )
        return PermanentError(
            f"The proxy answered 407 Proxy Authentication Required: {reason}", code="proxy_login"
        )
    message = f"The proxy (SEEN_PROXY) answered {statuses.describe(response.status)}."
    return _error_for_meaning(response.status, None, message, f"proxy_{response.status}")


def error_for_status(
    status: int, retry_after: str | None = None
) -> TransientError | PermanentError:
    """Return the error for an HTTP status that is not a success."""
    message = f"The origin answered {statuses.describe(status)}."
    return _error_for_meaning(status, retry_after, message, f"http_{status}")


def _error_for_meaning(
    status: int, retry_after: str | None, message: str, code: str
) -> TransientError | PermanentError:
    seconds = parse_retry_after(retry_after)
    meaning = statuses.meaning(status, has_retry_after=seconds is not None)
    if meaning is Meaning.RETRY:
        return TransientError(message, code=code, retry_after=seconds)
    return PermanentError(message, code=code)


def forbidden_address_error(address: str) -> PermanentError:
    """Return the error for an address that the guard refuses."""
    return PermanentError(
        f"{address} is not a public address. To allow downloads from its network, add that to "
        "SEEN_ALLOWED_NETWORKS.",
        code="forbidden_address",
    )


def error_for_curl_code(code: int, detail: str) -> TransientError | PermanentError:
    """Return the error for a libcurl code; `detail` is libcurl's own message."""
    suffix = f": {detail}." if detail else "."
    if code in PERMANENT_CURL:
        name, message = PERMANENT_CURL[code]
        return PermanentError(f"{message}{suffix}", code=name)
    name, message = _TRANSIENT_CURL.get(code, (f"curl_{code}", "The transfer failed"))
    return TransientError(f"{message}{suffix}", code=name)


def parse_retry_after(header: str | None) -> float | None:
    """Return the seconds of a Retry-After header (RFC 9110, section 10.2.3), or None."""
    if header is None:
        return None
    text = header.strip()
    if text.isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


# ── host names that were not resolved ───────────────────────────────────────────────────────────


def resolution_error(host: str) -> TransientError:
    """Return why `host` was not resolved: code ``no_such_host`` if it does not exist, else ``dns``.

    Takes two seconds at most; a resolver that has not answered by then counts as ``dns``.
    """
    code, reason = _resolve_in_thread(host)
    if code == NO_SUCH_HOST:
        return TransientError(f"There is no host {host!r} ({reason}).", code=code)
    return TransientError(f"The host name {host!r} cannot be resolved: {reason}.", code=code)


def _resolve_in_thread(host: str) -> tuple[str, str]:
    """Return the error code and the reason."""
    answers: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
    # In a thread: getaddrinfo cannot be interrupted, and may take a minute.
    thread = threading.Thread(target=lambda: answers.put(_resolve(host)), daemon=True)
    try:
        thread.start()
        return answers.get(timeout=_LOOKUP_TIMEOUT)
    except (queue.Empty, RuntimeError):  # no answer in time, or no thread
        return "dns", "the resolver does not answer"


def _resolve(host: str) -> tuple[str, str]:
    try:
        socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        return RESOLVER_CODES.get(error.errno or 0, "dns"), str(error.strerror)
    except UnicodeError:
        return NO_SUCH_HOST, "a label of it is empty or too long"
    except OSError as error:
        return "dns", str(error.strerror or error)
    return "dns", "the resolver failed a moment ago"
