"""Validation of headers, cookies and logins for origins. No error message shows a value."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from domain.cookies import SENDABLE, Cookie
from domain.errors import InvalidInputError
from domain.urls import check_url

MAX_MIRRORS = 20
MAX_HEADERS = 50
MAX_HEADER_NAME = 100
#: Of all names and values together; many servers have smaller limits.
MAX_HEADER_OCTETS = 16_000
MAX_COOKIES = 8_000
#: Of all cookies of a jar together, in characters.
MAX_COOKIE_JAR = 64_000
MAX_USERNAME = 255
MAX_PASSWORD = 1_000

#: Replaces a value that must not be shown.
HIDDEN = "***"

#: RFC 9110, section 5.6.2.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: Printable ASCII: servers differ in reading other characters, and a line break starts a new header.
_VALUE = re.compile(r"[\x20-\x7e]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

_FRAMING = "The service sets the headers for message framing and routing."
_RANGES = "The service requests and checks ranges by itself."
_REFUSED: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(
            (
                *("host", "content-length", "transfer-encoding", "connection", "keep-alive"),
                *("te", "trailer", "upgrade", "expect", "http2-settings"),
            ),
            _FRAMING,
        ),
        **dict.fromkeys(
            (
                *("range", "if-range", "if-match", "if-none-match"),
                *("if-modified-since", "if-unmodified-since"),
            ),
            _RANGES,
        ),
        "accept-encoding": "Files are stored as they are; decode undoes an unrequested encoding.",
        "cookie": "Give cookies as such (--cookie).",
    }
)


def check_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return valid headers, their values without surrounding spaces; else raise InvalidInputError.

    Names keep their spelling and order.
    """
    if len(headers) > MAX_HEADERS:
        raise InvalidInputError("headers", f"{len(headers)} headers", f"At most {MAX_HEADERS}.")
    kept = {name: _header_value(name, value) for name, value in headers.items()}
    if len({name.lower() for name in kept}) < len(kept):
        raise InvalidInputError("headers", list(kept), "Each name may occur only once.")
    octets = sum(len(name) + len(value) for name, value in kept.items())
    if octets > MAX_HEADER_OCTETS:
        raise InvalidInputError(
            "headers", f"{octets} octets", f"All together may have {MAX_HEADER_OCTETS}."
        )
    return kept


def _header_value(name: str, value: str) -> str:
    if not _TOKEN.fullmatch(name) or len(name) > MAX_HEADER_NAME:
        # An invalid name may be a whole line, or `Name=value`, which contains a secret.
        raise InvalidInputError(
            "headers", HIDDEN, "A header's name is made of letters, digits and hyphens."
        )
    lower = name.lower()
    why = "It is for the proxy: SEEN_PROXY." if lower.startswith("proxy-") else _REFUSED.get(lower)
    if why is not None:
        raise InvalidInputError("headers", name, f"This header cannot be given. {why}")
    value = value.strip(" \t")
    if not _VALUE.fullmatch(value):
        raise InvalidInputError(
            "headers", name, "Its value may hold printable ASCII only, and no line breaks."
        )
    return value


def check_cookies(value: str) -> str:
    """Return a valid value of a Cookie header; else raise InvalidInputError."""
    value = value.strip(" \t")
    if not value or not _VALUE.fullmatch(value) or len(value) > MAX_COOKIES:
        raise InvalidInputError(
            "cookies",
            HIDDEN,
            f"Write them as 'name=value; other=value', in at most {MAX_COOKIES} printable ASCII "
            "characters.",
        )
    return value


def check_cookie_jar(cookies: Sequence[Cookie]) -> None:
    """Raise InvalidInputError for a cookie without host or that cannot be sent, or for too many."""
    for cookie in cookies:
        if not cookie.domain or not SENDABLE.fullmatch(cookie.pair):
            raise InvalidInputError(
                "cookie_jar",
                HIDDEN,
                "Each cookie has a domain, and a pair 'name=value' in printable ASCII.",
            )
    if jar_size(cookies) > MAX_COOKIE_JAR:
        raise InvalidInputError(
            "cookie_jar", f"{len(cookies)} cookies", f"At most {MAX_COOKIE_JAR:,} characters."
        )


def jar_size(cookies: Iterable[Cookie]) -> int:
    """Return the characters of all cookies, with some for their other fields."""
    return sum(len(one.pair) + len(one.domain) + len(one.path) + 100 for one in cookies)


def check_username(value: str) -> str:
    """Return a valid user name; else raise InvalidInputError."""
    if not value or len(value) > MAX_USERNAME or ":" in value or _CONTROL.search(value):
        raise InvalidInputError(
            "username",
            HIDDEN,
            f"It has 1 to {MAX_USERNAME} characters, none of them a colon or a control character.",
        )
    return value


def check_password(value: str) -> str:
    """Return a valid password; else raise InvalidInputError."""
    if len(value) > MAX_PASSWORD or _CONTROL.search(value):
        raise InvalidInputError(
            "password",
            HIDDEN,
            f"It has at most {MAX_PASSWORD} characters, none of them a control character.",
        )
    return value


def check_login(headers: Mapping[str, str], username: str | None, password: str | None) -> None:
    """Raise InvalidInputError for a password without user name, or a login beside its header."""
    if username is None:
        if password is not None:
            raise InvalidInputError("password", HIDDEN, "A password needs a username.")
        return
    if any(name.lower() == "authorization" for name in headers):
        raise InvalidInputError(
            "username", HIDDEN, "Give a login or an Authorization header, not both."
        )


def check_webhook(url: str) -> str:
    """Return a valid URL for a webhook; else raise InvalidInputError. Its path may be a secret."""
    try:
        checked = check_url(url)
    except InvalidInputError as error:
        remedy = error.remedy
        if "@" in url.partition("://")[2].partition("/")[0]:
            remedy = "A webhook's URL has no user name and password: its requests are signed."
        raise InvalidInputError("webhook", HIDDEN, remedy) from None
    if not checked.lower().startswith(("http://", "https://")):
        raise InvalidInputError("webhook", HIDDEN, "It must begin with http:// or https://.")
    return checked.partition("#")[0]
