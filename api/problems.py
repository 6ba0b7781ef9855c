"""Errors as problem details (RFC 9457): one table from classes of errors to statuses.

`code` is the error's own, which jobs and `--json` have, too; `type` is ``urn:seen:problem:<code>``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from domain import errors
from domain.access import errors as account_errors
from domain.text import requirement, sentence
from tasks.api.published_file import FileUnavailableError
from tasks.api.verified_files import FileBusyError
from tasks.api.webhooks import UnknownDeliveryError
from worker.storage.published_file import FileKeptError
from worker.webhooks.secrets import UnreadableSecretError

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
#: A message that says no more than that it is this service's fault.
_INTERNAL = "The request failed because of an error in the service. Its log has the details."

#: Instead of the text of a driver: addresses and names of servers are for the log.
_OUTAGES: Mapping[type[errors.SeenError], str] = MappingProxyType(
    {
        errors.DatabaseUnavailableError: "The database does not answer. Repeat the request later.",
        errors.StoreError: "The store does not answer: without it no session is accepted, and no limit "
        "is read or changed. API keys work. Repeat the request later.",
    }
)

#: What each class of errors means to a caller; a subclass without a line of its own is as its base.
#: 500 is for those that cannot come from a request: a bug, unless its line says otherwise.
STATUSES: Mapping[type[errors.SeenError], int] = MappingProxyType(
    {
        errors.SeenError: 500,
        errors.InvalidInputError: 422,
        errors.SettingsError: 500,
        errors.UnknownJobError: 404,
        errors.IllegalTransitionError: 409,
        errors.DuplicateJobError: 409,
        errors.MessageRefusedError: 500,
        errors.NoResultsError: 500,
        errors.IdempotencyKeyReusedError: 422,
        errors.OutputError: 500,
        errors.AuthenticationError: 401,
        errors.AccountError: 409,
        errors.ForbiddenError: 403,
        errors.RateLimitedError: 429,
        errors.StoreError: 503,
        errors.StoreUnavailableError: 503,
        errors.StoreRefusesError: 503,
        errors.StoreReplyError: 503,
        errors.LockTakenError: 503,
        errors.DatabaseUnavailableError: 503,
        errors.BackupError: 500,
        errors.UnknownRevisionError: 503,  # the tables are of a newer version: the API is updated next
        # How an attempt ends is stored with its job. Only checks of the disk raise some in a request.
        errors.TransientError: 503,
        errors.DiskFullError: 503,
        errors.DiskUnavailableError: 503,
        errors.WorkerResourcesError: 503,
        errors.HostBusyError: 500,
        errors.PermanentError: 500,
        errors.ChecksumMismatchError: 500,
        errors.StoppedError: 500,
        errors.CancelledError: 500,
        errors.PausedError: 500,
        errors.DrainingError: 500,
        errors.LeaseLostError: 500,
        errors.FencedError: 500,
        account_errors.UnknownUserError: 404,
        account_errors.UserExistsError: 409,
        account_errors.UserDisabledError: 409,
        account_errors.UnknownKeyError: 404,
        UnknownDeliveryError: 404,
        UnreadableSecretError: 409,
        FileKeptError: 409,
        FileUnavailableError: 410,
        FileBusyError: 503,
    }
)
#: Statuses of HTTP itself, with the codes that their problems have.
_CODES = {
    400: "malformed",
    404: "unknown_resource",
    405: "method_not_allowed",
    408: "slow_body",
    411: "length_required",
    413: "body_too_large",
    415: "unsupported_media_type",
    416: "range_not_satisfiable",
    421: "unknown_host",
    503: "busy",
}


class FieldProblem(BaseModel):
    """What is wrong with one part of a request."""

    pointer: str = Field(description="A JSON pointer into the body, or the name of a parameter.")
    detail: str


class Problem(BaseModel):
    """Why a request was not done (RFC 9457). Nothing was written, unless `detail` says so."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "urn:seen:problem:unknown_job",
                "title": "Not Found",
                "status": 404,
                "detail": "There is no job '0197a2f0-0000-7000-8000-000000000000'.",
                "code": "unknown_job",
                "instance": "/v1/downloads/0197a2f0-0000-7000-8000-000000000000",
            }
        }
    )

    type: str
    title: str
    status: int
    detail: str
    code: str
    instance: str
    errors: list[FieldProblem] | None = None


@dataclass(slots=True)
class InvalidFieldsError(errors.SeenError):
    """Parts of a request are not valid; nothing was written."""

    problems: Sequence[FieldProblem]
    code = "invalid_input"

    def __post_init__(self) -> None:
        first = self.problems[0]
        more = f" (and {len(self.problems) - 1} more)" if len(self.problems) > 1 else ""
        errors.SeenError.__init__(self, f"{first.pointer}: {first.detail}{more}")


def status_of(error: errors.SeenError) -> int:
    """Return the status of an error."""
    if isinstance(error, InvalidFieldsError):
        return 422
    return next(STATUSES[one] for one in type(error).__mro__ if one in STATUSES)


def problem(
    status: int,
    code: str,
    detail: str,
    instance: str,
    *,
    fields: Sequence[FieldProblem] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return a response with problem details."""
    content: dict[str, Any] = {
        "type": f"urn:seen:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "instance": instance,
    }
    if fields is not None:
        content["errors"] = [one.model_dump() for one in fields]
    return JSONResponse(
        content, status_code=status, media_type=MEDIA_TYPE, headers=dict(headers or {})
    )


def as_item(error: errors.SeenError) -> dict[str, Any]:
    """Return an error as a part of an answer about several jobs."""
    status = status_of(error)
    detail = _detail(error) if status < 500 or status == 503 else _INTERNAL
    return {
        "type": f"urn:seen:problem:{error.code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": error.code,
    }


def on_seen_error(request: Request, error: Exception) -> JSONResponse:
    """Answer with an error of this project."""
    assert isinstance(error, errors.SeenError)
    status = status_of(error)
    if status == 500:
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return problem(500, "internal", _INTERNAL, request.url.path)
    if status == 503:
        logger.warning("%s %s: %s", request.method, request.url.path, error)
    return problem(
        status,
        error.code,
        _detail(error),
        request.url.path,
        fields=_fields(error),
        headers=_headers(error, status),
    )


def _detail(error: errors.SeenError) -> str:
    """Return what the caller reads of an error."""
    found = (text for kind, text in _OUTAGES.items() if isinstance(error, kind))
    return next(found, str(error).removesuffix(error.command).rstrip())


def _fields(error: errors.SeenError) -> Sequence[FieldProblem] | None:
    if isinstance(error, InvalidFieldsError):
        return error.problems
    if isinstance(error, errors.InvalidInputError):
        return [FieldProblem(pointer=error.field, detail=error.remedy)]
    return None


def _headers(error: errors.SeenError, status: int) -> dict[str, str]:
    if status == 401:
        return {"WWW-Authenticate": 'Bearer realm="seen"'}
    if isinstance(error, errors.RateLimitedError):
        return {"Retry-After": str(max(1, round(error.retry_after + 0.5)))}
    return {"Retry-After": "5"} if status == 503 else {}


def on_http_error(request: Request, error: Exception) -> JSONResponse:
    """Answer with an error of HTTP: an unknown path, a method, a body that is no JSON."""
    assert isinstance(error, HTTPException)
    status = error.status_code
    code = _CODES.get(status, "malformed" if status < 500 else "internal")
    detail = str(error.detail) if error.detail != HTTPStatus(status).phrase else _sentence(status)
    return problem(status, code, detail, request.url.path, headers=error.headers)


def _sentence(status: int) -> str:
    if status == 404:
        return "There is nothing at this path. /openapi.json lists all paths."
    if status == 405:
        return (
            "This path does not have this method. The header Allow has those of one of its routes."
        )
    return f"{HTTPStatus(status).phrase}."


def on_invalid_request(request: Request, error: Exception) -> JSONResponse:
    """Answer with what is wrong with the parameters and the body; values are not repeated."""
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    if any(one["type"] == "json_invalid" for one in found):
        return problem(400, "malformed", "The body is not valid JSON.", request.url.path)
    fields = [
        FieldProblem(pointer=_pointer(one["loc"]), detail=sentence(requirement(one)))
        for one in found[:20]
    ]
    return on_seen_error(request, InvalidFieldsError(fields))


def _pointer(place: Sequence[str | int]) -> str:
    where, *rest = place
    if where != "body":
        return str(rest[0]) if rest else str(where)
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in rest) or "/"


def on_bug(request: Request, _error: Exception) -> JSONResponse:
    """Answer for an error that should not exist; the server logs it."""
    return problem(500, "internal", _INTERNAL, request.url.path)
