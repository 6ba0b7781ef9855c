"""One exchange with the service: the head, the body up to a size, and problems as errors."""

from __future__ import annotations

import math
import re
import time
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from seen_client.decoding import decoded, json_of
from seen_client.errors import NoAnswerError, ProblemError, UnexpectedAnswerError, problem_error
from seen_client.models import Problem
from seen_client.service import Service
from seen_client.steps import Answer, Flow, Head, Request, open_answer, read

_PROBLEM_TYPE = "application/problem+json"
#: Of the answer to a request that failed.
_MAX_PROBLEM = 2**20
#: A whole answer takes at most so many times the timeout.
_WHOLE = 10
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


def opened(service: Service, request: Request) -> Flow[Head]:
    """Send a request and return the head of a good answer, whose body is not read yet.

    Raises:
        ProblemError: the service has answered with a problem.
        UnexpectedAnswerError: the answer is none of this API.
        NoAnswerError: none has come.
    """
    head = yield from open_answer(request)
    if head.status >= 400:
        raise (yield from _problem(service, head))
    if not 200 <= head.status < 300:
        raise UnexpectedAnswerError(_strange_status(service, head))
    if head.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnexpectedAnswerError("The answer is compressed, which was not requested.")
    if head.status != 204 and head.content_type != request.accept:
        raise UnexpectedAnswerError(
            f"{service.url} has answered with {_shown(head.content_type) or 'no content type'} "
            f"instead of {request.accept}. Is it the address of SEEN downloads?"
        )
    return head


def whole(service: Service, request: Request) -> Flow[Answer]:
    """Send a request and return a good answer; raises as `opened`."""
    head = yield from opened(service, request)
    body = yield from _body(service, service.max_answer_bytes)
    return Answer(head, body)


def _body(service: Service, limit: int) -> Flow[bytes]:
    end = time.monotonic() + _WHOLE * service.timeout
    parts, size = [], 0
    while data := (yield from read()):
        parts.append(data)
        size += len(data)
        if size > limit:
            raise UnexpectedAnswerError(f"The answer has more than {limit:,} bytes.")
        if time.monotonic() > end:
            raise NoAnswerError("The answer comes too slowly.")
    return b"".join(parts)


def _problem(service: Service, head: Head) -> Flow[ProblemError]:
    """Return the error of an answer; one without problem details gets a code from its status."""
    problem = _plain_problem(service, head.status)
    if head.content_type == _PROBLEM_TYPE:
        try:
            body = yield from _body(service, _MAX_PROBLEM)
            problem = _cleaned(decoded(Problem, json_of(body)), head.status)
        except (UnexpectedAnswerError, NoAnswerError):
            pass  # its status is known all the same
    return problem_error(problem, retry_after(head.headers.get("retry-after")))


def _plain_problem(service: Service, status: int) -> Problem:
    try:
        title = HTTPStatus(status).phrase
    except ValueError:
        title = "Unknown status"
    detail = f"{service.url} has answered with the status {status}: {title}."
    return Problem("about:blank", title, status, detail, f"http_{status}")


def _cleaned(problem: Problem, status: int) -> Problem:
    """Return a problem as it may be printed; its status is that of HTTP."""
    return Problem(
        _shown(problem.type),
        _shown(problem.title),
        status,
        _shown(problem.detail, 4000),
        _shown(problem.code),
        _shown(problem.instance, 4000),
        problem.errors,
    )


def _shown(text: str, most: int = 200) -> str:
    return _CONTROL.sub(" ", text[:most])


def _strange_status(service: Service, head: Head) -> str:
    if "location" in head.headers:
        return (
            f"{service.url} redirects to {_shown(head.headers['location'])}. Redirects are not "
            "followed: the key would be sent along. Use the address of the service itself."
        )
    return (
        f"{service.url} has answered with the status {head.status}, which this API does not have."
    )


def retry_after(value: str | None) -> float | None:
    """Return the seconds of a Retry-After header: a number, or a time; None for anything else."""
    if value is None:
        return None
    try:
        seconds = float(value) if re.fullmatch(r"\d{1,9}", value, re.ASCII) else _until(value)
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _until(value: str) -> float:
    return parsedate_to_datetime(value).timestamp() - time.time()
