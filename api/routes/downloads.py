"""Downloads: list, show, history, totals; and each action on one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Response

from api.answers import Json, download_as_json
from api.authentication import CheckedRoute, Controller, Reader
from api.documented import problems
from api.models.downloads import DownloadPage, History, JobNumbers, PriorityChange
from api.models.fields import TEXT_PATTERN, JobId
from api.services import Services, TheServices
from domain.access import Principal, Scope, filter_for, require_job, visible_user
from domain.job import Job, JobFilter, JobStatus, Order, Priority
from domain.limits import check_host
from tasks.api import control, job_page, move, remove
from tasks.api.job_json import JobDict, event_as_json
from tasks.api.job_page import MAX_LIMIT, MAX_SEARCH, JobList
from tasks.api.job_view import JobReader

router = APIRouter(prefix="/v1", tags=["downloads"], route_class=CheckedRoute)

_CURSOR = "`next_cursor` of the page before."
_SORT = (
    "By the time of submission; `ended`: finished downloads, the last end first; `speed`: running ones, "
    "the fastest first, on one page; `size`, `name`, `priority`: lists that `state`, `host` and "
    "`user_id` make short."
)
_SEARCH = "Text in the URL, as it is shown, or in the name of the file."


def reader_of(services: Services) -> JobReader:
    """Return a reader of jobs for one request."""
    return JobReader(services.runtime.jobs, services.runtime.cache.download)


def find(services: Services, principal: Principal, scope: Scope, job_id: str) -> Job:
    """Return a job that the principal may use so; foreign and unknown ones are the same."""
    job = services.runtime.jobs.get_many([job_id]).get(job_id)
    return require_job(principal, scope, job_id, job)


class _Wanted:
    """The query parameters of a list."""

    def __init__(
        self,
        state: Annotated[list[JobStatus] | None, Query(description="In one of these.")] = None,
        user_id: Annotated[
            str | None,
            Query(min_length=1, max_length=200, pattern=TEXT_PATTERN, description="The owner."),
        ] = None,
        host: Annotated[str | None, Query(min_length=1, max_length=300)] = None,
        priority: Priority | None = None,
        search: Annotated[
            str | None, Query(min_length=1, max_length=MAX_SEARCH, description=_SEARCH)
        ] = None,
        sort: Annotated[Order, Query(description=_SORT)] = Order.NEWEST,
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50,
        cursor: Annotated[str | None, Query(max_length=2000, description=_CURSOR)] = None,
    ) -> None:
        self.where = JobFilter(None, user_id, None if host is None else check_host(host))
        self.fields: dict[str, Any] = {
            "states": frozenset(state or ()),
            "priority": priority,
            "search": search,
            "order": sort,
            "limit": limit,
            "cursor": cursor,
        }

    def for_principal(self, principal: Principal) -> JobList | None:
        """Return the list of what the principal sees of it; None if that can be nothing."""
        where = filter_for(principal, self.where)
        if where is None:
            return None
        return JobList(user_id=where.user_id, host=where.host, **self.fields)


@router.get("/downloads", response_model=DownloadPage, responses=problems())
def list_downloads(
    services: TheServices, principal: Reader, wanted: Annotated[_Wanted, Depends()]
) -> Json:
    """List downloads page by page. No download is on two pages, whatever is submitted meanwhile."""
    jobs = wanted.for_principal(principal)
    if jobs is None:
        return Json({"downloads": [], "next_cursor": None})
    page = job_page.read_page(reader_of(services), jobs)
    shown = [download_as_json(view, principal) for view in page.views]
    return Json({"downloads": shown, "next_cursor": page.next_cursor})


@router.get("/totals", response_model=JobNumbers, responses=problems())
def totals(services: TheServices, principal: Reader) -> Json:
    """Return how many downloads there are in each state, and the present rate: of all that you see."""
    found = job_page.totals(user_id=visible_user(principal), runtime=services.runtime)
    answer: JobNumbers = {
        "jobs": {status.value: found.jobs.get(status, 0) for status in JobStatus},
        "at_least": sorted(status.value for status in found.at_least),
        "active": found.active,
        "bytes_per_second": found.bytes_per_second,
    }
    return Json(answer)


@router.get("/downloads/{job_id}", response_model=JobDict, responses=problems(404))
def show(services: TheServices, principal: Reader, job_id: JobId) -> Json:
    """Return one download with its newest progress."""
    return _shown(services, principal, find(services, principal, Scope.READ, job_id))


@router.get("/downloads/{job_id}/history", response_model=History, responses=problems(404))
def history(services: TheServices, principal: Reader, job_id: JobId) -> Json:
    """Return the events of a download, the oldest first."""
    find(services, principal, Scope.READ, job_id)
    events = services.runtime.jobs.events(job_id)
    return Json({"events": [event_as_json(event) for event in events]})


@router.patch("/downloads/{job_id}", response_model=JobDict, responses=problems(404, 409))
def change(
    services: TheServices, principal: Controller, job_id: JobId, body: PriorityChange
) -> Json:
    """Give a download another priority: a queued one moves to its queue."""
    find(services, principal, Scope.CONTROL, job_id)
    job = move.move(job_id, Priority(body.priority), runtime=services.runtime)
    return _shown(services, principal, job)


@router.delete("/downloads/{job_id}", status_code=204, responses=problems(404, 409))
def delete(
    services: TheServices,
    principal: Controller,
    job_id: JobId,
    with_file: Annotated[
        Literal["true", "false"], Query(description="Remove the published file, too.")
    ] = "false",
) -> Response:
    """Remove the record of a finished download, and its history."""
    find(services, principal, Scope.CONTROL, job_id)
    remove.remove(job_id, with_file=with_file == "true", runtime=services.runtime)
    return Response(status_code=204)


def _add_action(action: Callable[..., Job], description: str) -> None:
    """Add the route of one action of `tasks.api.control`."""

    def act(services: TheServices, principal: Controller, job_id: JobId) -> Json:
        find(services, principal, Scope.CONTROL, job_id)
        return _shown(services, principal, action(job_id, runtime=services.runtime))

    act.__doc__ = description
    act.__name__ = action.__name__
    router.post(
        f"/downloads/{{job_id}}/{action.__name__}",
        response_model=JobDict,
        responses=problems(404, 409),
    )(act)


_add_action(control.pause, "Stop a download until it is resumed; its part file is kept.")
_add_action(control.resume, "Queue a paused download again, and a waiting one at once.")
_add_action(control.cancel, "Stop a download for good; its part file is removed.")
_add_action(control.retry, "Queue a failed or cancelled download again, with all attempts.")


def _shown(services: Services, principal: Principal, job: Job) -> Json:
    (view,) = reader_of(services).merge([job])
    return Json(download_as_json(view, principal))
