"""Operations in SQL of several jobs at once, of which one may fail."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from database import JobRepository
from database.changes import Change
from database.operations import Claim, ConsumeMessage, Note, Operation, RequeueForSlot, Transition
from domain.job import Job, JobStatus
from tests.support.build import NOW, new_job

S = JobStatus
LATER = NOW + timedelta(seconds=5)
#: Operations in a batch, and the number of the one that fails.
COUNT, BAD = 5, 2


def operation_of(kind: str, job: Job, text: str = "x") -> Operation:
    make: dict[str, Callable[[], Operation]] = {
        "claim": lambda: Claim(job.id, text, LATER),
        "verifying": lambda: Transition(job, Change(S.VERIFYING, LATER, event_reason=text)),
        "end": lambda: Transition(job, Change(S.COMPLETED, LATER, None, {"path": text})),
        "note": lambda: Note(job, text, LATER),
        "consumed": lambda: ConsumeMessage(job.id, LATER),
        "slot": lambda: RequeueForSlot(job.host or "", None, LATER),
    }
    return make[kind]()


STATES = {
    "claim": S.QUEUED,
    "verifying": S.DOWNLOADING,
    "end": S.VERIFYING,
    "note": S.DOWNLOADING,
    "consumed": S.QUEUED,
    "slot": S.WAITING,
}
KINDS = [*STATES]


def stored_for(repo: JobRepository, kind: str) -> list[Job]:
    busy = {"error_code": "host_busy"} if kind == "slot" else {}
    jobs = [
        new_job(status=STATES[kind], fence=3, host=f"{n}.example", worker="w", **busy)
        for n in range(COUNT)
    ]
    repo.add(jobs)
    return jobs


def is_done(repo: JobRepository, kind: str, job: Job) -> bool:
    row, events = repo.get(job.id), repo.events(job.id)
    return {
        "claim": row.status is S.DOWNLOADING and row.fence == 4,
        "verifying": row.status is S.VERIFYING,
        "end": row.status is S.COMPLETED,
        "note": events[-1].reason == "x",
        "consumed": row.published_at is None and row.status is S.QUEUED,
        "slot": row.status is S.QUEUED,
    }[kind]


def check_others(repo: JobRepository, kind: str, jobs: list[Job], results: list[Any]) -> None:
    for number, (job, result) in enumerate(zip(jobs, results, strict=True)):
        if number != BAD:
            assert not isinstance(result, Exception)
            assert is_done(repo, kind, job), number
