"""`/healthz` and `/readyz`: for probes, without sign-in; they say no more than names."""

from __future__ import annotations

from fastapi import APIRouter
from typing_extensions import TypedDict

from api.answers import Json
from api.documented import problems
from api.services import TheServices

router = APIRouter(tags=["health"])


class Health(TypedDict):
    """Whether the process answers."""

    status: str


class Readiness(TypedDict):
    """Whether the service can work."""

    status: str
    """ok or failed."""
    failed: list[str]
    """Which of database, store, beat, workers and disk do not work."""


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
