"""What an answer to a request means for the file that is being put together. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from domain.errors import PermanentError, TransientError
from worker.storage.checkpoint import Checkpoint
from worker.transfer.http import error_mapping as verdict
from worker.transfer.http import statuses
from worker.transfer.http.curl_options import Request
from worker.transfer.http.response import Answer
from worker.transfer.http.statuses import Meaning


class Ruling(Enum):
    """What to do with an answer."""

    WHOLE = auto()
    """The body is the file from its first byte."""
    PART = auto()
    """The body is the range that was asked for, of the file that was begun."""
    ELSEWHERE = auto()
    """A redirect."""
    COMPLETE = auto()
    """There is nothing after what we have: that was all of it."""
    BY_DATE = auto()
    """The same file, sent whole: this origin may take a date where it did not take its own tag."""
    NO_RANGES = auto()
    """The same file as far as anybody can tell, sent whole, or a range that is not the one asked for."""
    CHANGED = auto()
    """Another file: what we have cannot be joined to it."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A ruling, and why, as the end of a sentence for people."""

    ruling: Ruling
    why: str = ""


def judge(
    request: Request, answer: Answer, begun: Checkpoint, *, is_mirror: bool = False
) -> Judgement:
    """Decide by status and header what the body is, before its first byte is written.

    Args:
        begun: what the file was begun with; means nothing to a request for the whole file.
        is_mirror: the answer is from another URL than the one the file was begun with: it has to say
            that its file is the same, not only to keep quiet about it.

    Raises:
        TransientError, PermanentError: the status is not a success.
    """
    meaning = statuses.meaning(answer.status)
    if meaning is Meaning.REDIRECT and "location" in answer.headers:
        return Judgement(Ruling.ELSEWHERE)
    if meaning is Meaning.FILE:
        _check_content(answer)
    if request.first is None:
        return _judge_whole(request, answer, meaning)
    if meaning is Meaning.PART:
        return _judge_part(request, answer, begun, is_mirror=is_mirror)
    if meaning is Meaning.FILE:
        return _judge_refusal(request, answer, begun)
    if answer.status == 416:
        return _judge_unsatisfiable(request, answer, begun, is_mirror=is_mirror)
    raise verdict.of_answer(answer, request)


def _check_content(answer: Answer) -> None:
    """Raise where a success brings no file: its length is nonsense, or there is nothing to store."""
    if answer.promises_no_number:
        raise TransientError(
            "The origin promises a length that no file can have.", code="bad_response"
        )
    is_delta = answer.status == 226 and "im" in answer.headers
    # An empty file is one, where the status says that this is the file.
    is_empty = answer.status not in {200, 203} and not answer.has_content
    if is_delta or is_empty:
        why = "a change to an earlier version was not asked for" if is_delta else "no content"
        raise PermanentError(
            f"The origin answered {statuses.describe(answer.status)}: {why}.",
            code=f"http_{answer.status}",
        )


def _judge_whole(request: Request, answer: Answer, meaning: Meaning) -> Judgement:
    if meaning is Meaning.FILE:
        return Judgement(Ruling.WHOLE)
    if meaning is Meaning.PART:
        return _judge_unasked_part(answer)
    is_empty_file = answer.status == 416 and answer.unsatisfied_size == 0
    if request.adaptation.range_from_start and is_empty_file:
        return Judgement(Ruling.COMPLETE)
    raise verdict.of_answer(answer, request)


def _judge_unasked_part(answer: Answer) -> Judgement:
    """Take a 206 to a request for the whole file, unless it says that something is missing.

    Where it does not say how long the file is, the content is stored as curl and wget do; `Answer` then
    claims no size and no validator, so that nothing is ever joined to it.
    """
    span, is_multipart = answer.content_range, answer.is_multipart_range
    is_all = span is not None and span[0] == 0 and span[2] in {None, span[1] + 1}
    if is_all or ("content-range" not in answer.headers and not is_multipart):
        return Judgement(Ruling.WHOLE)
    raise PermanentError(
        "The origin sent a part of the file where all of it was asked for.", code="bad_range"
    )


def _judge_part(
    request: Request, answer: Answer, begun: Checkpoint, *, is_mirror: bool
) -> Judgement:
    span = answer.content_range
    if span is None:
        return Judgement(Ruling.NO_RANGES, "the origin did not say which range it sent")
    first, last, total = span
    if begun.total is not None and total is not None and total != begun.total:
        return Judgement(
            Ruling.CHANGED, f"the file has {total:,} bytes now, it had {begun.total:,}"
        )
    if first != request.first or (request.last is not None and last > request.last):
        return Judgement(
            Ruling.NO_RANGES,
            f"the origin sent bytes {first:,} to {last:,}, asked for were "
            f"{request.first:,} to {'the end' if request.last is None else f'{request.last:,}'}",
        )
    same = _agrees(answer, begun) if is_mirror else _does_not_contradict(answer, begun)
    if not same or (is_mirror and total != begun.total):
        return Judgement(Ruling.CHANGED, "the file is another one now")
    return Judgement(Ruling.PART)


def _judge_refusal(request: Request, answer: Answer, begun: Checkpoint) -> Judgement:
    """A range was asked for, and the whole file comes."""
    length = answer.content_length
    longer = begun.total is not None and length is not None and length != begun.total
    if longer or not _does_not_contradict(answer, begun):
        return Judgement(Ruling.CHANGED, "the file has changed at the origin")
    same_tag = begun.etag is not None and answer.headers.get("etag") == begun.etag
    if request.condition is not None and same_tag and begun.date not in {None, request.condition}:
        return Judgement(Ruling.BY_DATE)
    return Judgement(Ruling.NO_RANGES, "the origin sends the file from the start")


def _judge_unsatisfiable(
    request: Request, answer: Answer, begun: Checkpoint, *, is_mirror: bool
) -> Judgement:
    """There is nothing from where the range begins. That is the file's end if it is the same file."""
    size = answer.unsatisfied_size
    same = not is_mirror and _same_validators(answer, begun)
    if same and size is not None and size == request.first and begun.total in {None, size}:
        return Judgement(Ruling.COMPLETE)
    return Judgement(Ruling.CHANGED, "the origin has no bytes where we stopped")


def _does_not_contradict(answer: Answer, begun: Checkpoint) -> bool:
    """Say whether nothing in the answer says that this is another file.

    If-Range should have seen to that; an origin that ignores it must not join two files for us.
    """
    same_encoding = answer.headers.get("content-encoding") == begun.encoding
    return same_encoding and _same_validators(answer, begun)


def _same_validators(answer: Answer, begun: Checkpoint) -> bool:
    """Say whether the tag and the date, where the answer has them, are those the file was begun with."""
    headers = answer.headers
    same_tag = headers.get("etag", begun.etag) == begun.etag
    same_date = headers.get("last-modified", begun.last_modified) == begun.last_modified
    return same_tag and same_date


def _agrees(answer: Answer, begun: Checkpoint) -> bool:
    """Say whether the answer names a validator that the file was begun with."""
    if answer.headers.get("content-encoding") != begun.encoding:
        return False
    if answer.etag is not None and answer.etag == begun.etag:
        return True
    return begun.date is not None and answer.last_modified == begun.date


def unexpected(error: TransientError | PermanentError) -> bool:
    """Say whether an origin refused a request in a way that may hold for this one alone."""
    return error.code.startswith(("http_", "proxy_")) or error.code in {
        "connect",
        "empty_reply",
        "reset",
    }
