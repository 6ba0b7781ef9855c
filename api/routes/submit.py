"""`POST /v1/downloads`: one or up to a thousand, once or again with the same Idempotency-Key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import Field, TypeAdapter, ValidationError
from starlette.exceptions import HTTPException

from api.accepting import Accepted, accept
from api.answers import Json, download_as_json
from api.authentication import Submitter, refuse_unknown_parameters, sign_in
from api.documented import problems
from api.models.downloads import (
    REQUEST_SCHEMA,
    ManyDownloads,
    SubmitResult,
    SubmitResults,
)
from api.problems import FieldProblem, InvalidFieldsError, as_item
from api.services import Services, TheServices
from api.waiting import MAX_WAIT, preferred_wait, room_to_wait, wait_until_idle
from database.accounts import IdempotentRequests
from domain.access import Principal, Scope
from domain.errors import IdempotencyKeyReusedError, SeenError
from domain.job import SubmittedJob
from domain.text import requirement, sentence
from tasks.api.job_json import JobDict
from tasks.api.job_view import JobView

_MANY = TypeAdapter(ManyDownloads)
_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {"oneOf": [REQUEST_SCHEMA, {"$ref": "#/components/schemas/ManyDownloads"}]}
        }
    },
}
_KEY = (
    "Any text of your own. A repetition with the same key and body is answered as the first one; "
    "with another body it is refused. Kept for a day."
)
_PREFER = (
    f"`wait=N`: answer when the downloads have ended, or after N seconds ({MAX_WAIT:g} at most)."
)
_CREATED: dict[int | str, dict[str, Any]] = {
    200: {"model": JobDict | SubmitResults, "description": "A job that existed, or several."},
    201: {"model": JobDict, "description": "One new job."},
}


_Key = Annotated[str, Field(min_length=1, max_length=200, pattern="^[ -~]+$")]
_Preference = Annotated[str, Field(max_length=500)]
_CHECKS: dict[tuple[str, ...], TypeAdapter[Any]] = {
    ("header", "idempotency-key"): TypeAdapter(_Key | None),
    ("header", "prefer"): TypeAdapter(_Preference | None),
    ("body",): TypeAdapter(dict[str, Any]),
}


class _Direct(APIRoute):
    """Calls `submit` without FastAPI's dependencies, which take longer than to store the job.

    The signature of `submit` is what OpenAPI says of the route; this checks the same.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what serves a request."""
        return _serve


async def _serve(request: Request) -> Response:
    principal = await sign_in(request, Scope.SUBMIT)
    refuse_unknown_parameters(request, ())
    headers = request.headers
    key, prefer, body = _checked(
        {
            ("header", "idempotency-key"): headers.get("idempotency-key"),
            ("header", "prefer"): headers.get("prefer"),
            ("body",): _parsed(await request.body()),
        }
    )
    return await submit(request.app.state.services, principal, body, key, prefer)


def _parsed(body: bytes) -> Any:
    """Return a body as JSON; None without one."""
    try:
        return json.loads(body) if body else None
    except json.JSONDecodeError:
        raise HTTPException(400, "The body is not valid JSON.") from None
    except (ValueError, RecursionError):
        raise HTTPException(400, "There was an error parsing the body") from None


def _checked(values: Mapping[tuple[str, ...], Any]) -> list[Any]:
    """Return values, of headers and of the body, if all are valid."""
    found, problems = [], []
    for place, value in values.items():
        try:
            found.append(_CHECKS[place].validate_python(value, strict=True))
        except ValidationError as error:
            problems += [{**one, "loc": (*place, *one["loc"])} for one in error.errors()]
    if problems:
        raise RequestValidationError(problems)
    return found


router = APIRouter(prefix="/v1", tags=["downloads"], route_class=_Direct)


@dataclass(frozen=True, slots=True)
class _Submission:
    """A request's body, and how it is to be accepted."""

    raw: Sequence[dict[str, Any]]
    is_one: bool
    each: bool

    @classmethod
    def of(cls, body: dict[str, Any]) -> _Submission:
        """Read a body; raise InvalidFieldsError for one that is not valid."""
        if "downloads" not in body:
            return cls([body], True, False)
        try:
            many = _MANY.validate_python(body)
        except ValidationError as error:
            raise InvalidFieldsError(
                [
                    FieldProblem(
                        pointer="/" + "/".join(map(str, one["loc"])),
                        detail=sentence(requirement(one)),
                    )
                    for one in error.errors()[:20]
                ]
            ) from None
        return cls(many.downloads, False, many.mode == "each")


@router.post(
    "/downloads",
    responses={**_CREATED, **problems(404)},
    openapi_extra={"requestBody": _BODY},
)
async def submit(
    services: TheServices,
    principal: Submitter,
    body: Annotated[dict[str, Any], Body()],
    idempotency_key: Annotated[
        str | None,
        Header(min_length=1, max_length=200, pattern="^[ -~]+$", description=_KEY),
    ] = None,
    prefer: Annotated[str | None, Header(max_length=500, description=_PREFER)] = None,
) -> Json:
    """Submit one download, or up to 1,000 as `{"downloads": […], "mode": "all_or_none" | "each"}`.

    Several are answered with 200 and `results`, one with 201, or with 200 if its job existed.
    """
    work = partial(_submit, services, principal, body, idempotency_key)
    answer = await services.threads.call(partial(copy_context().run, work))
    seconds = preferred_wait(prefer)
    if seconds is not None:
        with room_to_wait(principal.user_id or "") as has_room:
            if has_room:
                await _wait(services, principal, answer, seconds)
    return answer.as_json()


class _Answer:
    """The answer to a submission; `content` as JSON."""

    def __init__(self, status: int, content: dict[str, Any], *, is_replayed: bool = False) -> None:
        self.status, self.content = status, content
        self.headers: dict[str, str] = {"Idempotency-Replayed": "true"} if is_replayed else {}

    @property
    def downloads(self) -> list[JobDict]:
        """The jobs in it; they can be replaced by newer ones, which `update` does."""
        if "results" not in self.content:
            return [self.content]  # type: ignore[list-item] # it is one
        return [one["download"] for one in self.content["results"] if "download" in one]

    @property
    def is_final(self) -> bool:
        """Whether a repetition would get the same: no part of it failed by an outage."""
        found = (one["problem"] for one in self.content.get("results", ()) if "problem" in one)
        return all(one["status"] < 500 for one in found)

    def as_json(self) -> Json:
        """Return the response."""
        if "id" in self.content:
            self.headers["Location"] = f"/v1/downloads/{self.content['id']}"
        return Json(self.content, status_code=self.status, headers=self.headers)


async def _wait(services: Services, principal: Principal, answer: _Answer, seconds: float) -> None:
    """Wait for the jobs of an answer, and show in it what has become of them."""
    ids = list(dict.fromkeys(job["id"] for job in answer.downloads))
    views = await wait_until_idle(services.runtime, ids, seconds)
    newest = {view.job.id: download_as_json(view, principal) for view in views}
    for shown in answer.downloads:
        shown.update(newest.get(shown["id"], shown))
    answer.headers["Preference-Applied"] = f"wait={seconds:g}"


def _submit(
    services: Services, principal: Principal, body: dict[str, Any], key: str | None
) -> _Answer:
    """Accept what a body asks for, or return the answer that an earlier request with its key got."""
    submission = _Submission.of(body)
    if key is None:
        return _accept(services, principal, submission, None)
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    requests, user = IdempotentRequests(services.runtime.database), principal.user_id
    stored = requests.start(user, key, digest, now=services.runtime.now())
    if stored is not None and stored.digest != digest:
        raise _reused()
    if stored is not None and stored.status is not None:
        return _Answer(stored.status, json.loads(stored.response or "{}"), is_replayed=True)
    try:
        # Each job has a key made of this one: after a crash in between, a repetition finds the jobs.
        answer = _accept(services, principal, submission, f"http:{key}:{digest}")
    except SeenError:
        if stored is None:
            requests.forget(user, key)  # it did nothing: a corrected request may have the key
        raise
    if answer.is_final:
        requests.finish(user, key, status=answer.status, response=json.dumps(answer.content))
    return answer


def _reused() -> IdempotencyKeyReusedError:
    error = IdempotencyKeyReusedError(None)
    error.args = (
        "Idempotency-Key: it was used for a request with another body. Use a new key for a new request.",
    )
    return error


def _accept(
    services: Services, principal: Principal, submission: _Submission, key: str | None
) -> _Answer:
    done = accept(
        submission.raw,
        principal,
        services.runtime,
        each=submission.each,
        key=None if key is None else hashlib.sha256(key.encode()).hexdigest(),
        prefix="" if submission.is_one else "/downloads",
    )
    results = [_result(one, principal) for one in done]
    if submission.is_one:
        (one,) = results
        return _Answer(201 if one["is_new"] else 200, dict(one["download"]))
    accepted = sum("download" in one for one in results)
    content = {"results": results, "accepted": accepted, "refused": len(results) - accepted}
    return _Answer(200, content)


def _result(one: Accepted, principal: Principal) -> SubmitResult:
    if isinstance(one.outcome, SubmittedJob):
        shown = download_as_json(JobView.merge(one.outcome, None), principal)
        return {"download": shown, "is_new": one.outcome.is_new}
    return {"problem": as_item(one.outcome)}
