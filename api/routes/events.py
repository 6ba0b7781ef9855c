"""Live changes as `text/event-stream`: of all downloads that the caller sees, or of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request
from starlette.concurrency import run_in_threadpool

from api.answers import download_as_json
from api.authentication import BearerToken, CheckedRoute, Reader, client_address, presented
from api.documented import problems
from api.events.hub import EventHub, TopicName
from api.events.response import EventStream
from api.events.stream import watch
from api.models.fields import JobId
from api.routes.downloads import find, reader_of
from api.services import TheServices
from domain.access import Principal, Scope, visible_user
from domain.errors import (
    AuthenticationError,
    DatabaseUnavailableError,
    RateLimitedError,
    StoreError,
)
from domain.job import JobFilter
from tasks.api import accounts
from tasks.api.job_page import MAX_LIMIT

router = APIRouter(prefix="/v1", tags=["events"], route_class=CheckedRoute)

_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events `snapshot` and `changed`; a line of each is JSON.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


class _Caller:
    """Who watches, and whether that is still allowed."""

    def __init__(
        self,
        request: Request,
        services: TheServices,
        principal: Reader,
        bearer: BearerToken,
        last_event_id: Annotated[str | None, Header(max_length=100)] = None,
    ) -> None:
        self.services, self.principal = services, principal
        self.last_event_id = last_event_id
        self.hub: EventHub = request.state.hub
        self._secret = presented(request, services, bearer) or ""
        self._address = client_address(request)

    async def is_allowed(self) -> bool:
        """Return whether the caller is still signed in, and may do the same."""
        return await run_in_threadpool(self._is_same)

    def _is_same(self) -> bool:
        runtime = self.services.runtime
        try:
            now = accounts.authenticate(self._secret, address=self._address, runtime=runtime)
        except (DatabaseUnavailableError, StoreError):
            return True  # that is not known now
        except (AuthenticationError, RateLimitedError):
            return False
        return (now.role, now.scopes) == (self.principal.role, self.principal.scopes)

    def stream(
        self, kind: TopicName, snapshot: Callable[[], list[Mapping[str, Any]]], limit: int = 0
    ) -> EventStream:
        """Return the answer: the events of a topic."""

        async def read() -> Mapping[str, Any]:
            return {"downloads": await run_in_threadpool(snapshot)}

        events = partial(
            watch,
            self.hub,
            snapshot=read,
            is_allowed=self.is_allowed,
            last_event_id=self.last_event_id,
            limit=limit,
        )
        return EventStream(self.hub, kind, self.principal.user_id or "", events)


@router.get(
    "/events", status_code=200, response_class=EventStream, responses={**_STREAM, **problems()}
)
async def watch_all(
    caller: Annotated[_Caller, Depends()], limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 200
) -> EventStream:
    """Watch all downloads that you see: a snapshot of running and newest ones, then every change.

    `changed` has for each download what differs from what was sent before, and its id.
    """
    services, principal = caller.services, caller.principal
    user_id = visible_user(principal)

    def snapshot() -> list[Mapping[str, Any]]:
        views = reader_of(services).overview(JobFilter(user_id=user_id), limit=limit)
        return [download_as_json(view, principal) for view in views]

    masked = _is_masked(principal)
    name = TopicName(masked=masked) if user_id is None else TopicName("user", user_id, masked)
    return caller.stream(name, snapshot, limit)


@router.get(
    "/downloads/{job_id}/events",
    status_code=200,  # FastAPI finds none in the class, and makes no OpenAPI document without it
    response_class=EventStream,
    responses={**_STREAM, **problems(404)},
)
async def watch_one(caller: Annotated[_Caller, Depends()], job_id: JobId) -> EventStream:
    """Watch one download, as `/v1/events`. The stream stays open when the download has ended."""
    services, principal = caller.services, caller.principal
    await run_in_threadpool(find, services, principal, Scope.READ, job_id)

    def snapshot() -> list[Mapping[str, Any]]:
        views = reader_of(services).read([job_id], skip_missing=True)
        return [download_as_json(view, principal) for view in views]

    return caller.stream(TopicName("job", job_id, _is_masked(principal)), snapshot)


def _is_masked(principal: Principal) -> bool:
    """Return whether a principal sees URLs without their secrets (`download_as_json`)."""
    return Scope.CONTROL not in principal.scopes
