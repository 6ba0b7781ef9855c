"""From what went wrong to what follows: one table for HTTP statuses, one for libcurl's codes."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from types import MappingProxyType

import pycurl

from domain.errors import PermanentError, TransientError

#: Statuses that may be gone at the next attempt; 5xx are too.
TRANSIENT_STATUSES = frozenset({408, 425, 429})
#: 5xx that say the request itself will never work.
PERMANENT_5XX = frozenset({501, 505})

#: More header than libcurl takes, 300 KB; pycurl has no name for it.
E_TOO_LARGE = 100

#: libcurl's codes (libcurl-errors(3)) that another attempt cannot change. Every other one is
#: transient: the number of attempts bounds what we do not know.
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
        pycurl.E_COULDNT_CONNECT: ("connect", "The connection failed"),
        pycurl.E_OPERATION_TIMEDOUT: ("timeout", "The origin was too slow"),
        pycurl.E_PARTIAL_FILE: ("truncated", "The origin sent less than it promised"),
        pycurl.E_SSL_CONNECT_ERROR: ("tls", "The TLS handshake failed"),
        pycurl.E_GOT_NOTHING: ("empty_reply", "The origin closed without an answer"),
        # All schemes are checked before: what libcurl does not speak is what came back.
        pycurl.E_UNSUPPORTED_PROTOCOL: ("bad_response", "The answer makes no sense"),
        pycurl.E_FTP_WEIRD_SERVER_REPLY: ("bad_response", "The answer makes no sense"),
        pycurl.E_FTP_COULDNT_USE_REST: ("bad_range", "The origin cannot begin inside a file"),
        pycurl.E_RANGE_ERROR: ("bad_range", "The origin cannot begin inside a file"),
        pycurl.E_BAD_DOWNLOAD_RESUME: ("bad_range", "The origin has no bytes where we stopped"),
        pycurl.E_RECV_ERROR: ("reset", "The connection broke"),
        pycurl.E_SEND_ERROR: ("reset", "The connection broke"),
    }
)


def of_status(status: int, retry_after: str | None = None) -> TransientError | PermanentError:
    """Return what an HTTP status that is not a success means."""
    message = f"The origin answered {status} {_phrase(status)}".rstrip() + "."
    code = f"http_{status}"
    transient = status in TRANSIENT_STATUSES or (
        500 <= status < 600 and status not in PERMANENT_5XX
    )
    if transient:
        return TransientError(message, code=code, retry_after=parse_retry_after(retry_after))
    return PermanentError(message, code=code)


def forbidden_address(address: str) -> PermanentError:
    """Return what an address that may not be connected to means."""
    return PermanentError(
        f"{address} is not a public address. SEEN_ALLOWED_NETWORKS names networks that may be "
        "downloaded from all the same.",
        code="forbidden_address",
    )


def of_curl(code: int, detail: str) -> TransientError | PermanentError:
    """Return what a libcurl code means; `detail` is libcurl's own message."""
    if code in PERMANENT_CURL:
        name, message = PERMANENT_CURL[code]
        return PermanentError(f"{message}: {detail}.", code=name)
    name, message = _TRANSIENT_CURL.get(code, (f"curl_{code}", "The transfer failed"))
    return TransientError(f"{message}: {detail}.", code=name)


def parse_retry_after(header: str | None) -> float | None:
    """Return the seconds a Retry-After header asks for (RFC 9110, section 10.2.3), or None."""
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


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
