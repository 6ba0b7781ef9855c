"""What an answer to a request means for the file that is being put together. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from domain.errors import PermanentError, TransientError
from worker.checkpoint import Checkpoint
from worker.transfer import verdict
from worker.transfer.curl import Request
from worker.transfer.origin import Answer

#: Statuses that send us elsewhere with a GET.
REDIRECTS = frozenset({301, 302, 303, 307, 308})


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
    if answer.status in REDIRECTS and "location" in answer.headers:
        return Judgement(Ruling.ELSEWHERE)
    if request.first is None:
        return _judge_whole(answer)
    if answer.status == 206:
        return _judge_part(request, answer, begun, is_mirror=is_mirror)
    if answer.status == 200:
        return _judge_refusal(request, answer, begun)
    if answer.status == 416:
        return _judge_unsatisfiable(request, answer, begun, is_mirror=is_mirror)
    raise verdict.of_status(answer.status, answer.headers.get("retry-after"))


def _judge_whole(answer: Answer) -> Judgement:
    if answer.status == 200 and answer.promises_no_number:
        raise TransientError(
            "The origin promises a length that no file can have.", code="bad_response"
        )
    if answer.status == 200:
        return Judgement(Ruling.WHOLE)
    if answer.status == 206:
        span = answer.content_range
        if span is not None and span[0] == 0 and span[2] == span[1] + 1:
            return Judgement(Ruling.WHOLE)  # nobody asked for a range, but all of it is all of it
        raise PermanentError(
            "The origin sent a part of the file where all of it was asked for.", code="bad_range"
        )
    raise verdict.of_status(answer.status, answer.headers.get("retry-after"))


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
    return error.code.startswith("http_") or error.code in {"connect", "empty_reply", "reset"}
