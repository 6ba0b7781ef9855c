"""What each HTTP status means for a download: one meaning for every number (RFC 9110, section 15).

A number that this table does not name counts as the x00 of its class; one outside 100 to 599 is invalid
and counts as 500, as the section asks.
"""

from __future__ import annotations

from enum import Enum, auto
from http import HTTPStatus
from types import MappingProxyType


class Meaning(Enum):
    """What a final answer's status says about its content and about another attempt."""

    FILE = auto()
    """The content is the file."""
    PART = auto()
    """The content is a range of the file."""
    REDIRECT = auto()
    """The file is where Location says; without that field it is a failure for good."""
    RETRY = auto()
    """The same request may succeed later."""
    FAIL = auto()
    """The same request fails again."""


_M = Meaning

_BY_CLASS = MappingProxyType({1: _M.RETRY, 2: _M.FILE, 3: _M.REDIRECT, 4: _M.FAIL, 5: _M.RETRY})

_BY_STATUS = MappingProxyType(
    {
        202: _M.RETRY,  # the file is being prepared: archives and report builders answer so
        204: _M.FAIL,
        205: _M.FAIL,
        206: _M.PART,
        304: _M.FAIL,
        305: _M.FAIL,
        306: _M.FAIL,
        408: _M.RETRY,  # Request Timeout
        421: _M.RETRY,  # Misdirected Request: another connection may lead to the right server
        423: _M.RETRY,  # Locked
        425: _M.RETRY,  # Too Early
        429: _M.RETRY,  # Too Many Requests
        501: _M.FAIL,  # Not Implemented
        505: _M.FAIL,  # HTTP Version Not Supported
        510: _M.FAIL,  # Not Extended
    }
)

#: With Retry-After these are temporary, too: a rate limit, and content too large for the moment.
_TEMPORARY_WITH_RETRY_AFTER = frozenset({403, 413})

#: The end of a sentence, for statuses whose phrase does not say what to make of them.
_EXPLANATIONS = MappingProxyType(
    {
        202: "it is still preparing the file",
        204: "there is no content at this URL",
        205: "there is no content at this URL",
        300: "there are several versions; give the URL of one of them",
        304: "it takes the file for unchanged, though the request set no condition",
        305: "it wants a proxy of its own choice, which is not used",
        306: "the status is no longer in use",
        421: "the request reached a server that does not have this site",
        423: "the file is locked at the moment",
        451: "it is withheld for legal reasons",
        511: "a network on the way asks for a login; is this a captive portal?",
    }
)
_INTERIM_STATUS = "an interim status cannot end an exchange"
_NO_LOCATION = "it redirects without saying where"
_INVALID_STATUS = "this is not a valid status"


def meaning(status: int, *, has_retry_after: bool = False) -> Meaning:
    """Return what `status` means; any number, 0 included, has a meaning."""
    if has_retry_after and status in _TEMPORARY_WITH_RETRY_AFTER:
        return Meaning.RETRY
    return _BY_STATUS.get(status) or _BY_CLASS.get(status // 100, Meaning.RETRY)


def describe(status: int) -> str:
    """Return number, phrase and explanation for people: ``404 Not Found``."""
    try:
        shown = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        shown = f"{status}"
    words = _EXPLANATIONS.get(status) or _explain_class(status)
    return f"{shown}: {words}" if words else shown


def _explain_class(status: int) -> str | None:
    number = status // 100
    if number == 1:
        return _INTERIM_STATUS
    if number == 3:
        return _NO_LOCATION
    return None if number in _BY_CLASS else _INVALID_STATUS
