"""`/v1/limits`: limits of downloads at once and of bytes a second, read and changed."""

from __future__ import annotations

from fastapi import APIRouter

from api.answers import Json
from api.authentication import CheckedRoute, Controller, Reader
from api.documented import problems
from api.models.limits import LimitChanges
from api.services import Services, TheServices
from domain.access import Principal, Scope, require, require_job, sees
from domain.errors import IllegalTransitionError, InvalidInputError
from domain.limits import TOTAL, check_host, host_scope, job_scope
from tasks.api.rate_limits import Limits, read_limits

router = APIRouter(prefix="/v1", tags=["limits"], route_class=CheckedRoute)


@router.get("/limits", response_model=Limits, responses=problems())
def limits(services: TheServices, principal: Reader) -> Json:
    """Return the limits, and what is used of them: of jobs only those that you see."""
    return Json(_read(services, principal))


@router.patch("/limits", response_model=Limits, responses=problems(404, 409))
def change(services: TheServices, principal: Controller, body: LimitChanges) -> Json:
    """Set or remove limits. Workers apply them within a second. What is not named stays as it is."""
    changes: dict[str, int | None] = {}
    if body.model_fields_set & {"total", "concurrent_downloads"} or body.hosts:
        require(principal, Scope.ADMIN)
    if "total" in body.model_fields_set:
        changes[TOTAL] = body.total
    changes |= {host_scope(_host(name)): rate for name, rate in body.hosts.items()}
    found = services.runtime.jobs.get_many(list(body.jobs))
    for job_id, rate in body.jobs.items():
        job = require_job(principal, Scope.CONTROL, job_id, found.get(job_id))
        if rate is not None and job.is_finished:
            raise IllegalTransitionError(job_id, job.status, "limited")
        changes[job_scope(job_id)] = rate
    limits = services.runtime.cache.limits
    limits.set_rates(changes)
    if "concurrent_downloads" in body.model_fields_set:
        limits.set_most_downloads(body.concurrent_downloads)
    return Json(_read(services, principal))


def _host(name: str) -> str:
    try:
        return check_host(name)
    except InvalidInputError as error:
        raise error.about("/hosts") from None


def _read(services: Services, principal: Principal) -> Limits:
    runtime = services.runtime
    found = read_limits(runtime.cache, runtime.settings)
    jobs = runtime.jobs.get_many([one["job_id"] for one in found["jobs"]])
    found["jobs"] = [
        one
        for one in found["jobs"]
        if one["job_id"] in jobs and sees(principal, jobs[one["job_id"]])
    ]
    return found
