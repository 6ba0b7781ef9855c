"""Decides what a response means for the file being fetched. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from domain.errors import PermanentError, TransientError
from worker.storage.destination import Checkpoint
from worker.transfer.http import error_mapping, statuses
from worker.transfer.http.request import Request
from worker.transfer.http.response import Response
from worker.transfer.http.statuses import Meaning
from worker.transfer.integrity.digest_headers import origin_digests


class Decision(Enum):
    """What to do with a response."""

    FULL_BODY = auto()
    """The body is the file from its first byte."""
    REQUESTED_RANGE = auto()
    """The body is the requested range of the same file."""
    REDIRECT = auto()
    """The file is at another URL."""
    COMPLETE = auto()
    """The file has no bytes after those already fetched: it is complete."""
    RETRY_WITH_DATE = auto()
    """The same file from the start: this origin may accept a date in If-Range instead of its tag."""
    RANGE_IGNORED = auto()
    """Apparently the same file, but from the start, or another range than the requested one."""
    RESOURCE_CHANGED = auto()
    """Another file: its bytes cannot be joined to those already fetched."""


@dataclass(frozen=True, slots=True)
class Classification:
    """A decision, and its reason as the end of a sentence."""

    decision: Decision
    reason: str = ""


def classify_response(
    request: Request, response: Response, known: Checkpoint, *, is_mirror: bool = False
) -> Classification:
    """Classify a response by status and headers, before the first byte of its body is written.

    Args:
        known: the file as its first response described it; not used for a full request.
        is_mirror: the response is from another URL than the first one, so it must prove that its file
            is the same; for the first URL it is enough not to contradict that.

    Raises:
        TransientError, PermanentError: the status is not a success.
    """
    meaning = statuses.meaning(response.status)
    if meaning is Meaning.REDIRECT and "location" in response.headers:
        return Classification(Decision.REDIRECT)
    if meaning is Meaning.FILE:
        _check_content(response)
    if request.first is None:
        return _classify_full_request(request, response, meaning)
    if meaning is Meaning.PART:
        return _classify_range(request, response, known, is_mirror=is_mirror)
    if meaning is Meaning.FILE:
        return _classify_full_body_instead_of_range(request, response, known)
    if response.status == 416:
        return _classify_unsatisfiable_range(request, response, known, is_mirror=is_mirror)
    raise error_mapping.error_for_response(response, request)


def _check_content(response: Response) -> None:
    """Raise when a success carries no file: its length is invalid, or there is no content."""
    if response.has_invalid_length:
        raise TransientError(
            "The Content-Length of the response is not valid.", code="bad_response"
        )
    is_delta = response.status == 226 and "im" in response.headers
    # With 200 and 203 an empty body is an empty file.
    is_empty = response.status not in {200, 203} and not response.has_content
    if is_delta or is_empty:
        reason = "a delta to an earlier version was not requested" if is_delta else "no content"
        raise PermanentError(
            f"The origin answered {statuses.describe(response.status)}: {reason}.",
            code=f"http_{response.status}",
        )


def _classify_full_request(
    request: Request, response: Response, meaning: Meaning
) -> Classification:
    if meaning is Meaning.FILE:
        return Classification(Decision.FULL_BODY)
    if meaning is Meaning.PART:
        return _classify_unrequested_range(response)
    is_empty_file = response.status == 416 and response.unsatisfied_size == 0
    if request.adaptation.range_from_start and is_empty_file:
        return Classification(Decision.COMPLETE)
    raise error_mapping.error_for_response(response, request)


def _classify_unrequested_range(response: Response) -> Classification:
    """Accept a 206 to a full request, unless its headers say that a part is missing.

    Without a total the content is stored, as curl and wget do; such a `Response` has no size and no
    validator, so nothing is ever joined to it.
    """
    span, is_multipart = response.content_range, response.is_multipart_range
    is_whole = span is not None and span[0] == 0 and span[2] in {None, span[1] + 1}
    if is_whole or ("content-range" not in response.headers and not is_multipart):
        return Classification(Decision.FULL_BODY)
    raise PermanentError(
        "The origin sent a part of the file in response to a request for all of it.",
        code="bad_range",
    )


def _classify_range(
    request: Request, response: Response, known: Checkpoint, *, is_mirror: bool
) -> Classification:
    span = response.content_range
    if span is None:
        return Classification(Decision.RANGE_IGNORED, "the response has no valid Content-Range")
    first, last, total = span
    if known.total is not None and total is not None and total != known.total:
        return Classification(
            Decision.RESOURCE_CHANGED,
            f"the file now has {total:,} bytes instead of {known.total:,}",
        )
    if first != request.first or (request.last is not None and last > request.last):
        requested_last = "the end" if request.last is None else f"{request.last:,}"
        return Classification(
            Decision.RANGE_IGNORED,
            f"the origin sent bytes {first:,} to {last:,} instead of {request.first:,} to "
            f"{requested_last}",
        )
    is_same = (_has_matching_validator if is_mirror else _is_compatible)(response, known)
    if not is_same or (is_mirror and total != known.total):
        return Classification(Decision.RESOURCE_CHANGED, "the file is not the same")
    return Classification(Decision.REQUESTED_RANGE)


def _classify_full_body_instead_of_range(
    request: Request, response: Response, known: Checkpoint
) -> Classification:
    length = response.content_length
    other_size = known.total is not None and length is not None and length != known.total
    if other_size or not _is_compatible(response, known):
        return Classification(Decision.RESOURCE_CHANGED, "the file has changed at the origin")
    same_tag = known.etag is not None and response.headers.get("etag") == known.etag
    can_use_date = known.date not in {None, request.if_range}
    if request.if_range is not None and same_tag and can_use_date:
        return Classification(Decision.RETRY_WITH_DATE)
    return Classification(Decision.RANGE_IGNORED, "the origin sends the file from the start")


def _classify_unsatisfiable_range(
    request: Request, response: Response, known: Checkpoint, *, is_mirror: bool
) -> Classification:
    """Classify a 416: if the file is the same, it ends where the range starts."""
    size = response.unsatisfied_size
    is_same = not is_mirror and _has_compatible_validators(response, known)
    if is_same and size is not None and size == request.first and known.total in {None, size}:
        return Classification(Decision.COMPLETE)
    reason = "the origin has no bytes at the start of the range"
    return Classification(Decision.RESOURCE_CHANGED, reason)


def _is_compatible(response: Response, known: Checkpoint) -> bool:
    """Return whether no header shows that the file is another one.

    If-Range should ensure that; some origins ignore it.
    """
    same_encoding = response.headers.get("content-encoding") == known.encoding
    return same_encoding and _has_compatible_validators(response, known)


def _has_compatible_validators(response: Response, known: Checkpoint) -> bool:
    """Return whether tag and date are the known ones, where the response has them."""
    headers = response.headers
    same_tag = headers.get("etag", known.etag) == known.etag
    same_date = headers.get("last-modified", known.last_modified) == known.last_modified
    return same_tag and same_date


def _has_matching_validator(response: Response, known: Checkpoint) -> bool:
    """Return whether a strong validator of the response is the known one."""
    if response.headers.get("content-encoding") != known.encoding:
        return False
    if response.etag is not None and response.etag == known.etag:
        return True
    return known.date is not None and response.last_modified == known.date


def is_request_specific(error: TransientError | PermanentError) -> bool:
    """Return whether an origin may refuse one request with this error and accept others."""
    return error.code.startswith(("http_", "proxy_")) or error.code in {
        "connect",
        "empty_reply",
        "reset",
    }


def describe_file(
    response: Response, source: str, total: int | None, *, decoded: bool
) -> Checkpoint:
    """Return what later responses and attempts must match.

    Args:
        source: the digest of the URL.
        total: the file's size in bytes, or None.
        decoded: the Content-Encoding is undone.
    """
    headers = response.headers
    has_unknown_range = response.status == 206 and response.resource_size is None
    digests = [] if decoded else origin_digests(headers, response.status)[:1]
    return Checkpoint(
        total=total,
        # Decoded bytes cannot be continued: ranges are of the encoded ones. Nor can those of a part
        # whose file has an unknown size.
        validator=None if decoded or has_unknown_range else response.validator,
        date=response.date,
        etag=headers.get("etag"),
        last_modified=headers.get("last-modified"),
        encoding=headers.get("content-encoding"),
        source=source,
        digests=tuple(map(str, digests)),
    )
