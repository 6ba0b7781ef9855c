"""What an answer to a request means for the file that is being put together. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from domain.errors import PermanentError, TransientError
from worker.storage.checkpoint import Checkpoint
from worker.transfer.http import error_mapping, statuses
from worker.transfer.http.request import Request
from worker.transfer.http.response import Response
from worker.transfer.http.statuses import Meaning


class Decision(Enum):
    """What to do with an answer."""

    FULL_BODY = auto()
    """The body is the file from its first byte."""
    REQUESTED_RANGE = auto()
    """The body is the range that was asked for, of the file that was begun."""
    REDIRECT = auto()
    """A redirect."""
    COMPLETE = auto()
    """There is nothing after what we have: that was all of it."""
    RETRY_WITH_DATE = auto()
    """The same file, sent whole: this origin may take a date where it did not take its own tag."""
    RANGE_IGNORED = auto()
    """The same file as far as anybody can tell, sent whole, or a range that is not the one asked for."""
    RESOURCE_CHANGED = auto()
    """Another file: what we have cannot be joined to it."""


@dataclass(frozen=True, slots=True)
class Classification:
    """A ruling, and why, as the end of a sentence for people."""

    decision: Decision
    reason: str = ""


def classify_response(
    request: Request, response: Response, begun: Checkpoint, *, is_mirror: bool = False
) -> Classification:
    """Decide by status and header what the body is, before its first byte is written.

    Args:
        begun: what the file was begun with; means nothing to a request for the whole file.
        is_mirror: the answer is from another URL than the one the file was begun with: it has to say
            that its file is the same, not only to keep quiet about it.

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
        return _classify_range(request, response, begun, is_mirror=is_mirror)
    if meaning is Meaning.FILE:
        return _classify_full_body_instead_of_range(request, response, begun)
    if response.status == 416:
        return _classify_unsatisfiable_range(request, response, begun, is_mirror=is_mirror)
    raise error_mapping.error_for_response(response, request)


def _check_content(response: Response) -> None:
    """Raise where a success brings no file: its length is nonsense, or there is nothing to store."""
    if response.has_invalid_length:
        raise TransientError(
            "The origin promises a length that no file can have.", code="bad_response"
        )
    is_delta = response.status == 226 and "im" in response.headers
    # An empty file is one, where the status says that this is the file.
    is_empty = response.status not in {200, 203} and not response.has_content
    if is_delta or is_empty:
        why = "a change to an earlier version was not asked for" if is_delta else "no content"
        raise PermanentError(
            f"The origin answered {statuses.describe(response.status)}: {why}.",
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
    """Take a 206 to a request for the whole file, unless it says that something is missing.

    Where it does not say how long the file is, the content is stored as curl and wget do; `Response`
    then has no size and no validator, so that nothing is ever joined to it.
    """
    span, is_multipart = response.content_range, response.is_multipart_range
    is_all = span is not None and span[0] == 0 and span[2] in {None, span[1] + 1}
    if is_all or ("content-range" not in response.headers and not is_multipart):
        return Classification(Decision.FULL_BODY)
    raise PermanentError(
        "The origin sent a part of the file where all of it was asked for.", code="bad_range"
    )


def _classify_range(
    request: Request, response: Response, begun: Checkpoint, *, is_mirror: bool
) -> Classification:
    span = response.content_range
    if span is None:
        return Classification(Decision.RANGE_IGNORED, "the origin did not say which range it sent")
    first, last, total = span
    if begun.total is not None and total is not None and total != begun.total:
        return Classification(
            Decision.RESOURCE_CHANGED, f"the file has {total:,} bytes now, it had {begun.total:,}"
        )
    if first != request.first or (request.last is not None and last > request.last):
        return Classification(
            Decision.RANGE_IGNORED,
            f"the origin sent bytes {first:,} to {last:,}, asked for were "
            f"{request.first:,} to {'the end' if request.last is None else f'{request.last:,}'}",
        )
    same = (
        _has_matching_validator(response, begun) if is_mirror else _is_compatible(response, begun)
    )
    if not same or (is_mirror and total != begun.total):
        return Classification(Decision.RESOURCE_CHANGED, "the file is another one now")
    return Classification(Decision.REQUESTED_RANGE)


def _classify_full_body_instead_of_range(
    request: Request, response: Response, begun: Checkpoint
) -> Classification:
    """A range was asked for, and the whole file comes."""
    length = response.content_length
    longer = begun.total is not None and length is not None and length != begun.total
    if longer or not _is_compatible(response, begun):
        return Classification(Decision.RESOURCE_CHANGED, "the file has changed at the origin")
    same_tag = begun.etag is not None and response.headers.get("etag") == begun.etag
    if request.if_range is not None and same_tag and begun.date not in {None, request.if_range}:
        return Classification(Decision.RETRY_WITH_DATE)
    return Classification(Decision.RANGE_IGNORED, "the origin sends the file from the start")


def _classify_unsatisfiable_range(
    request: Request, response: Response, begun: Checkpoint, *, is_mirror: bool
) -> Classification:
    """There is nothing from where the range begins. That is the file's end if it is the same file."""
    size = response.unsatisfied_size
    same = not is_mirror and _has_compatible_validators(response, begun)
    if same and size is not None and size == request.first and begun.total in {None, size}:
        return Classification(Decision.COMPLETE)
    return Classification(Decision.RESOURCE_CHANGED, "the origin has no bytes where we stopped")


def _is_compatible(response: Response, begun: Checkpoint) -> bool:
    """Say whether nothing in the answer says that this is another file.

    If-Range should have seen to that; an origin that ignores it must not join two files for us.
    """
    same_encoding = response.headers.get("content-encoding") == begun.encoding
    return same_encoding and _has_compatible_validators(response, begun)


def _has_compatible_validators(response: Response, begun: Checkpoint) -> bool:
    """Say whether the tag and the date, where the answer has them, are those the file was begun with."""
    headers = response.headers
    same_tag = headers.get("etag", begun.etag) == begun.etag
    same_date = headers.get("last-modified", begun.last_modified) == begun.last_modified
    return same_tag and same_date


def _has_matching_validator(response: Response, begun: Checkpoint) -> bool:
    """Say whether the answer names a validator that the file was begun with."""
    if response.headers.get("content-encoding") != begun.encoding:
        return False
    if response.etag is not None and response.etag == begun.etag:
        return True
    return begun.date is not None and response.last_modified == begun.date


def is_request_specific(error: TransientError | PermanentError) -> bool:
    """Say whether an origin refused a request in a way that may hold for this one alone."""
    return error.code.startswith(("http_", "proxy_")) or error.code in {
        "connect",
        "empty_reply",
        "reset",
    }
