"""Messages that follow from what SQL says: a queued job wants one, an ended one may want tidying up.

A broker that is away is told in the log, never raised: beat publishes what has no message.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from domain.errors import DatabaseUnavailableError, StoreUnavailableError
from domain.job import Job, JobStatus, QueuedJob
from worker.runtime import Runtime

logger = logging.getLogger(__name__)


def publish_jobs(runtime: Runtime, jobs: Sequence[Job | QueuedJob]) -> bool:
    """Publish queued jobs and note it; False when the broker did not take them (beat tries again)."""
    if not jobs:
        return True
    try:
        runtime.broker.publish(jobs)
    except StoreUnavailableError as error:
        logger.warning("%d jobs wait for the broker: %s", len(jobs), error)
        return False
    try:
        runtime.jobs.mark_published([job.id for job in jobs], runtime.now())
    except DatabaseUnavailableError as error:
        # They will be published once more, which does nothing.
        logger.warning("%d published jobs are not noted as such: %s", len(jobs), error)
    return True


def publish_again(runtime: Runtime, job_id: str) -> None:
    """Publish a job whose message was spent, if it is queued; without database, beat does so."""
    try:
        job = runtime.jobs.get_many([job_id]).get(job_id)
    except DatabaseUnavailableError as error:
        logger.warning("Job %s is not published again: %s", job_id, error)
        return
    if job is not None and job.status is JobStatus.QUEUED:
        publish_jobs(runtime, [job])


def publish_tidying(runtime: Runtime, jobs: Sequence[Job]) -> None:
    """Have a worker, which has the disk, remove what jobs that have ended left there."""
    if not jobs:
        return
    try:
        runtime.broker.publish(jobs)
    except StoreUnavailableError as error:
        logger.warning("The part files of %d jobs stay for now: %s", len(jobs), error)
