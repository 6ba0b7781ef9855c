"""The task of the download queues."""

from __future__ import annotations

from contextlib import suppress

from celery import Task

from domain.errors import DatabaseUnavailableError, UnknownJobError
from worker.app import app, current_runtime
from worker.broker.client import read_time
from worker.broker.queues import priority_of
from worker.broker.task_messages import DOWNLOAD_TASK, SENT_AT
from worker.celery_ext.task_states import DownloadNotCompletedError, Request, end_task
from worker.outcome import Outcome
from worker.runner import run_download
from worker.runtime import Runtime

#: Outcomes for which SQL has a reason. After the others the job's reason is of another attempt, or the
#: database does not answer.
_WITH_REASON = frozenset(
    {
        Outcome.FAILED,
        Outcome.WAITING,
        Outcome.REQUEUED,
        Outcome.PAUSED,
        Outcome.CANCELLED,
    }
)


@app.task(name=DOWNLOAD_TASK, bind=True, Request=Request, throws=(DownloadNotCompletedError,))
def run(self: Task[..., str], job_id: str, *more: str) -> str:
    """Run the jobs of a message, one after the other, up to the state of the last one.

    The message is only a hint, SQL decides whether there is anything to do.
    """
    queue = str((self.request.delivery_info or {}).get("routing_key"))
    sent_at = read_time(self.request.get(SENT_AT))
    runtime = current_runtime()
    for one in (job_id, *more):
        outcome = run_download(runtime, one, priority_of(queue), sent_at)
    return end_task(outcome, _reason(runtime, one, outcome))


def _reason(runtime: Runtime, job_id: str, outcome: Outcome) -> str:
    """Return why a job did not complete; empty if SQL does not say."""
    if outcome in _WITH_REASON:
        with suppress(DatabaseUnavailableError, UnknownJobError):
            return runtime.jobs.get(job_id).reason or ""
    return ""
