"""What can go wrong. All errors are `SeenClientError`, and can be pickled."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from seen_client.models import Download, FieldProblem, Problem


class SeenClientError(Exception):
    """The base of all errors of this package; the message is a sentence for people."""


class NoAnswerError(SeenClientError):
    """The service was not reached, or the connection ended before its answer was whole.

    Attributes:
        is_unsent: the request cannot have arrived.
        is_final: a repetition would fail in the same way, such as for a wrong certificate.
    """

    def __init__(self, message: str, is_unsent: bool = False, is_final: bool = False) -> None:
        super().__init__(message, is_unsent, is_final)
        self.is_unsent, self.is_final = is_unsent, is_final

    def __str__(self) -> str:
        return str(self.args[0])


class UnexpectedAnswerError(SeenClientError):
    """What answers is not this API, or it is broken: not JSON, too large, a field missing."""


class ProblemError(SeenClientError):
    """The service has refused a request, or could not do it (RFC 9457).

    Attributes:
        problem: as the service has described it.
        retry_after: seconds after which the request may be repeated, if the service says so.
    """

    def __init__(self, problem: Problem, retry_after: float | None = None) -> None:
        super().__init__(problem, retry_after)
        self.problem, self.retry_after = problem, retry_after

    @property
    def code(self) -> str:
        """The kind of problem, for programs: ``unknown_job``, ``invalid_input``, …"""
        return self.problem.code

    @property
    def status(self) -> int:
        """The status of HTTP."""
        return self.problem.status

    @property
    def title(self) -> str:
        """What the status means."""
        return self.problem.title

    @property
    def detail(self) -> str:
        """What has happened, to what, and what to do."""
        return self.problem.detail

    @property
    def errors(self) -> tuple[FieldProblem, ...]:
        """The parts of the request that are not valid."""
        return self.problem.errors or ()

    def __str__(self) -> str:
        return f"{self.detail} ({self.status}, {self.code})"


class InvalidRequestError(ProblemError):
    """A part of the request is not valid (400, 413, 415, 422 and others); `errors` names each."""


class AuthenticationError(ProblemError):
    """The key is not valid, or the session has ended (401)."""


class ForbiddenError(ProblemError):
    """The role or the key does not allow this (403)."""


class NotFoundError(ProblemError):
    """There is nothing with this id, or it is another user's (404)."""


class ConflictError(ProblemError):
    """The state of the download does not allow this (409)."""


class GoneError(ProblemError):
    """The file is gone, or another one (410)."""


class RateLimitedError(ProblemError):
    """Too many requests (429)."""


class UnavailableError(ProblemError):
    """The service cannot work at present (502, 503, 504); nothing is lost."""


class ServerError(ProblemError):
    """An error in the service (500 and others)."""


_KINDS: Mapping[int, type[ProblemError]] = MappingProxyType(
    {
        401: AuthenticationError,
        403: ForbiddenError,
        404: NotFoundError,
        409: ConflictError,
        410: GoneError,
        429: RateLimitedError,
        502: UnavailableError,
        503: UnavailableError,
        504: UnavailableError,
    }
)


def problem_error(problem: Problem, retry_after: float | None = None) -> ProblemError:
    """Return the error of a problem, of the class that its status has."""
    other = InvalidRequestError if problem.status < 500 else ServerError
    return _KINDS.get(problem.status, other)(problem, retry_after)


class WaitTimeoutError(SeenClientError, TimeoutError):
    """A download has not ended in time; `download` is as it was then."""

    def __init__(self, download: Download) -> None:
        super().__init__(download)
        self.download = download

    def __str__(self) -> str:
        return f"Download {self.download.id} has not ended in time: it is {self.download.status}."


class FileCheckError(SeenClientError):
    """What was received of a file has not the size or the digest of the file."""


class WebhookError(SeenClientError):
    """A delivery is not genuine, or too old."""
