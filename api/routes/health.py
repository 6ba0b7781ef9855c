"""`/healthz` and `/readyz` for probes, without sign-in; `/v1/health` for people."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter
from typing_extensions import TypedDict

from api.answers import Json
from api.authentication import CheckedRoute, Reader
from api.documented import problems
from api.services import TheServices
from domain.errors import StoreError

router = APIRouter(tags=["health"])
#: Probes may add parameters, against caches.
checked = APIRouter(tags=["health"], route_class=CheckedRoute)


class Health(TypedDict):
    """Whether the process answers."""

    status: str


class Readiness(TypedDict):
    """Whether the service can work."""

    status: str
    """ok or failed."""
    failed: list[str]
    """Which of database, store, beat, workers and disk do not work."""


class PartDict(TypedDict):
    """A part of the service."""

    name: str
    """database, store, beat, workers or disk."""
    works: bool
    detail: str
    remedy: str
    """What to do; empty if it works."""


class WorkerDict(TypedDict):
    """A worker process that runs."""

    name: str
    queues: list[str]


class HealthReport(TypedDict):
    """The parts of the service, and its workers."""

    parts: list[PartDict]
    workers: list[WorkerDict] | None
    """Null if the store does not answer."""
    flower: str | None
    """The address of Flower, which has a sign-in of its own; null if none is set."""


@router.get("/healthz", responses=problems(public=True))
async def healthz() -> Health:
    """Return that this process answers; it looks at nothing else."""
    return {"status": "ok"}


@router.get(
    "/readyz",
    response_model=Readiness,
    responses={
        **problems(public=True),
        503: {"model": Readiness, "description": "A part does not work."},
    },
)
def readyz(services: TheServices) -> Json:
    """Return whether database, store, beat, workers and disk work."""
    failed = services.readiness.failed()
    answer: Readiness = {"status": "failed" if failed else "ok", "failed": failed}
    return Json(answer, status_code=503 if failed else 200)


@checked.get("/v1/health", response_model=HealthReport, responses=problems())
def health_report(services: TheServices, _principal: Reader) -> Json:
    """Return each part of the service with what to do about one that does not work."""
    runtime = services.runtime
    try:
        running = runtime.cache.workers.running()
    except StoreError:
        workers = None
    else:
        workers = [{"name": one.name, "queues": sorted(one.queues)} for one in running]
    parts = [asdict(part) for part in services.readiness.parts()]
    flower = runtime.settings.flower_url or None
    return Json({"parts": parts, "workers": workers, "flower": flower})
