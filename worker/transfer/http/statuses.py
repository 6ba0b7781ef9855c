"""What each HTTP status means for a download (RFC 9110, section 15).

A status without an entry counts as the x00 of its class. One outside 100 to 599 is invalid and counts
as 500.
"""

from __future__ import annotations

from enum import Enum, auto
from http import HTTPStatus
from types import MappingProxyType


class Meaning(Enum):
    """What a final status says about the content and about another attempt."""

    FILE = auto()
    """The content is the file."""
    PART = auto()
    """The content is a range of the file."""
    REDIRECT = auto()
    """The file is at the Location; without that header the download fails."""
    RETRY = auto()
    """The same request may succeed later."""
    FAIL = auto()
    """The same request fails again."""


_M = Meaning

_BY_CLASS = MappingProxyType({1: _M.RETRY, 2: _M.FILE, 3: _M.REDIRECT, 4: _M.FAIL, 5: _M.RETRY})

_BY_STATUS = MappingProxyType(
    {
        202: _M.RETRY,  # the file is being prepared: archive and report builders send this
        204: _M.FAIL,
        205: _M.FAIL,
        206: _M.PART,
        304: _M.FAIL,
        305: _M.FAIL,
        306: _M.FAIL,
        408: _M.RETRY,  # Request Timeout
        421: _M.RETRY,  # Misdirected Request: another connection may reach the right server
        423: _M.RETRY,  # Locked
        425: _M.RETRY,  # Too Early
        429: _M.RETRY,  # Too Many Requests
        501: _M.FAIL,  # Not Implemented
        505: _M.FAIL,  # HTTP Version Not Supported
        510: _M.FAIL,  # Not Extended
    }
)

#: Temporary if there is a Retry-After: a rate limit, or content too large at the moment.
_TEMPORARY_WITH_RETRY_AFTER = frozenset({403, 413})

#: Explanations of statuses whose phrase does not say enough; each is the end of a sentence.
_EXPLANATIONS = MappingProxyType(
    {
        202: "the origin is still preparing the file",
        204: "there is no content at this URL",
        205: "there is no content at this URL",
        300: "there are several versions; use the URL of one of them",
        304: "the origin reports an unchanged file, although the request had no condition",
        305: "the origin demands a proxy of its own, which is not supported",
        306: "the status is no longer in use",
        421: "the request reached a server that does not have this site",
        423: "the file is locked",
        451: "the file is withheld for legal reasons",
        511: "a network on the way requires a login, as a captive portal does",
    }
)
_INTERIM = "an interim status is not a final response"
_NO_LOCATION = "the redirect has no Location"
_INVALID = "the status is not valid"


def meaning(status: int, *, has_retry_after: bool = False) -> Meaning:
    """Return what `status` means; every number has a meaning, 0 too."""
    if has_retry_after and status in _TEMPORARY_WITH_RETRY_AFTER:
        return Meaning.RETRY
    return _BY_STATUS.get(status) or _BY_CLASS.get(status // 100, Meaning.RETRY)


def describe(status: int) -> str:
    """Return number, phrase and explanation for a message: ``404 Not Found``."""
    try:
        shown = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        shown = f"{status}"
    explanation = _EXPLANATIONS.get(status) or _explain_class(status)
    return f"{shown}: {explanation}" if explanation else shown


def _explain_class(status: int) -> str | None:
    number = status // 100
    if number == 1:
        return _INTERIM
    if number == 3:
        return _NO_LOCATION
    return None if number in _BY_CLASS else _INVALID
