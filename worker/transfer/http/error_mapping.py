"""From what went wrong to what follows: for HTTP answers (by `statuses`) and for libcurl's codes."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType

import pycurl

from domain.errors import PermanentError, TransientError
from worker.transfer.http import logins, statuses
from worker.transfer.http.curl_options import Request
from worker.transfer.http.response import Response
from worker.transfer.http.statuses import Meaning

#: More header than libcurl takes, 300 KB; pycurl has no name for it.
E_TOO_LARGE = 100
#: The handshake with a SOCKS proxy failed; nor for this.
E_PROXY = 97

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
        pycurl.E_COULDNT_RESOLVE_PROXY: (
            "proxy_dns",
            "The proxy's host name (SEEN_PROXY) cannot be resolved",
        ),
        E_PROXY: ("proxy", "The proxy (SEEN_PROXY) did not make the connection"),
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


def error_for_response(response: Response, request: Request) -> TransientError | PermanentError:
    """Return what an HTTP answer that does not bring the file means."""
    if response.status == 401:
        why = logins.explain_origin(
            response.headers.get("www-authenticate", ""),
            has_credentials=request.username is not None,
        )
        return PermanentError(f"The origin answered 401 Unauthorized: {why}", code="http_401")
    if response.status == 407 and request.proxy:
        return error_for_proxy_response(response, request)
    return error_for_status(response.status, response.headers.get("retry-after"))


def error_for_proxy_response(
    response: Response, request: Request
) -> TransientError | PermanentError:
    """Return what the answer of the proxy itself means, to a request or to CONNECT."""
    if response.status == 407:
        why = logins.explain_proxy(
            response.headers.get("proxy-authenticate", ""), has_credentials="@" in request.proxy
        )
        return PermanentError(
            f"The proxy answered 407 Proxy Authentication Required: {why}", code="proxy_login"
        )
    message = f"The proxy (SEEN_PROXY) answered {statuses.describe(response.status)}."
    return _error_for_meaning(response.status, None, message, f"proxy_{response.status}")


def error_for_status(
    status: int, retry_after: str | None = None
) -> TransientError | PermanentError:
    """Return what an HTTP status that is not a success means."""
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
    """Return what an address that may not be connected to means."""
    return PermanentError(
        f"{address} is not a public address. SEEN_ALLOWED_NETWORKS names networks that may be "
        "downloaded from all the same.",
        code="forbidden_address",
    )


def error_for_curl_code(code: int, detail: str) -> TransientError | PermanentError:
    """Return what a libcurl code means; `detail` is libcurl's own message."""
    said = f": {detail}." if detail else "."
    if code in PERMANENT_CURL:
        name, message = PERMANENT_CURL[code]
        return PermanentError(f"{message}{said}", code=name)
    name, message = _TRANSIENT_CURL.get(code, (f"curl_{code}", "The transfer failed"))
    return TransientError(f"{message}{said}", code=name)


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
