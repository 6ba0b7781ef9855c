"""What callers do with jobs: submit, pause, resume, cancel, retry. SQL first, then the broker.

Each function takes the process's own runtime unless it is given one. Those that change a job raise
UnknownJobError, IllegalTransitionError and DatabaseUnavailableError. A broker or store that is away
never undoes what SQL has accepted: beat catches up when it is back.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from domain.errors import IllegalTransitionError, StoreUnavailableError
from domain.ids import new_job_id
from domain.job import RUNNING, TRANSITIONS, DownloadRequest, Job, JobStatus
from domain.urls import host_of
from worker.app import current_runtime
from worker.publishing import publish_jobs, publish_tidying
from worker.runtime import Runtime
from worker.secret_box import RequestSecrets

logger = logging.getLogger(__name__)

#: A job that others move at the same moment is looked at again; two parties settle in a few rounds.
_ROUNDS = 20


def submit(request: DownloadRequest, *, runtime: Runtime | None = None) -> Job:
    """Accept one download and return its job.

    The job is stored, then published. When the broker is away it stays queued (`published_at` is None)
    and starts when the broker is back.

    Raises:
        InvalidInputError: the folder lies outside the download folder, or there is no key to keep
            headers, login or cookies with; nothing was stored.
        DatabaseUnavailableError: nothing was accepted.
    """
    return submit_many([request], runtime=runtime)[0]


def submit_many(
    requests: Sequence[DownloadRequest], *, runtime: Runtime | None = None
) -> list[Job]:
    """Accept several downloads, all or none, and return their jobs in the same order."""
    runtime = runtime or current_runtime()
    accepted = [_new_job(runtime, request) for request in requests]
    runtime.jobs.add(accepted)
    if publish_jobs(runtime, [job.id for job in accepted]):
        return [replace(job, published_at=runtime.now()) for job in accepted]
    return accepted


def cancel(job_id: str, *, runtime: Runtime | None = None) -> Job:
    """Stop a job for good and return it; its part file is removed.

    A running job is asked to stop and is cancelled within a second or so; one that is cancelled already
    stays so.
    """
    return _stop(runtime or current_runtime(), job_id, JobStatus.CANCELLED, "cancel")


def pause(job_id: str, *, runtime: Runtime | None = None) -> Job:
    """Stop a job until `resume`, and return it; its part file is kept."""
    return _stop(runtime or current_runtime(), job_id, JobStatus.PAUSED, "pause")


def resume(job_id: str, *, runtime: Runtime | None = None) -> Job:
    """Queue a paused job again and return it; one that is queued or running already stays so."""
    runtime = runtime or current_runtime()
    return _queue_again(runtime, job_id, JobStatus.PAUSED, {}, "it was resumed")


def retry(job_id: str, *, runtime: Runtime | None = None) -> Job:
    """Queue a failed or cancelled job again, with all its attempts, and return it."""
    runtime = runtime or current_runtime()
    source = runtime.jobs.get(job_id).status
    wanted = source if source in {JobStatus.FAILED, JobStatus.CANCELLED} else JobStatus.FAILED
    return _queue_again(runtime, job_id, wanted, {"attempts": 0}, "it was retried")


def _new_job(runtime: Runtime, request: DownloadRequest) -> Job:
    runtime.resolve(request.directory)
    now = runtime.now()
    job_id = new_job_id()
    return Job(
        id=job_id,
        host=host_of(request.url),
        secrets=runtime.secrets.seal(job_id, RequestSecrets.of(request)),
        status=JobStatus.QUEUED,
        created_at=now,
        updated_at=now,
        max_attempts=request.max_attempts or runtime.settings.max_attempts,
        **request.model_dump(exclude={"max_attempts"}),
    )


def _stop(runtime: Runtime, job_id: str, to: JobStatus, word: str) -> Job:
    """Bring a job to `to`: at once when nobody runs it, else by asking its worker."""
    for _ in range(_ROUNDS):
        job = runtime.jobs.get(job_id)
        if job.status is to:
            return job
        if job.status in RUNNING:
            if runtime.jobs.request_control(job, word):
                _tell_worker(runtime, job, word)
                return job
        elif to not in TRANSITIONS[job.status]:
            raise IllegalTransitionError(job_id, job.status, to)
        else:
            stopped = runtime.jobs.transition(
                job, to, now=runtime.now(), reason=f"{word} requested"
            )
            if stopped is not None:
                if to is JobStatus.CANCELLED and stopped.fence > 0:
                    publish_tidying(runtime, stopped)
                return stopped
    raise IllegalTransitionError(job_id, job.status, to)


def _tell_worker(runtime: Runtime, job: Job, word: str) -> None:
    try:
        runtime.cache.download.request_control(job.id, word, job.fence)
    except StoreUnavailableError as error:
        logger.warning("Job %s hears of it when the store is back: %s", job.id, error)


def _queue_again(
    runtime: Runtime, job_id: str, source: JobStatus, changes: dict[str, object], reason: str
) -> Job:
    for _ in range(_ROUNDS):
        job = runtime.jobs.get(job_id)
        if job.status is JobStatus.QUEUED or job.status in RUNNING:
            return job
        if job.status is not source:
            raise IllegalTransitionError(job_id, job.status, JobStatus.QUEUED)
        queued = runtime.jobs.transition(
            job, JobStatus.QUEUED, now=runtime.now(), reason=reason, changes=changes
        )
        if queued is not None:
            publish_jobs(runtime, [job_id])
            return runtime.jobs.get(job_id)
    raise IllegalTransitionError(job_id, job.status, JobStatus.QUEUED)
