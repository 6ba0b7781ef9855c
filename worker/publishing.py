"""Messages that follow from what SQL says: a queued job wants one, an ended one may want tidying up.

A broker that is away is told in the log, never raised: beat publishes what has no message.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime

from domain.errors import DatabaseUnavailableError, StoreUnavailableError
from domain.job import Job, JobStatus, QueuedJob
from worker.runtime import Runtime

logger = logging.getLogger(__name__)

_PUBLISHING = "Queued jobs wait for the broker"


def publish_jobs(
    runtime: Runtime, jobs: Sequence[Job | QueuedJob], *, front: bool = False
) -> datetime | None:
    """Publish queued jobs and note it, for those that have not changed since they were read.

    With `front` they go to the queue of requeued jobs, which is looked into first.

    Returns the time that their messages carry and that was noted; None when the broker did not take
    them (beat tries again).
    """
    sent_at = runtime.now()
    if not jobs:
        return sent_at
    try:
        runtime.broker.publish(jobs, sent_at, front=front)
    except StoreUnavailableError as error:
        runtime.outages.record_failure(_PUBLISHING, error)
        return None
    runtime.outages.record_success(_PUBLISHING)
    try:
        runtime.jobs.mark_published(jobs, sent_at, requeued=front)
    except DatabaseUnavailableError as error:
        # They will be published once more, which does nothing.
        logger.warning("%d published jobs are not noted as such: %s", len(jobs), error)
    return sent_at


def republish(runtime: Runtime, job_id: str) -> None:
    """Publish a job whose message was spent, if it is queued; without database, beat does so."""
    try:
        job = runtime.jobs.get_many([job_id]).get(job_id)
    except DatabaseUnavailableError as error:
        logger.warning("Job %s is not published again: %s", job_id, error)
        return
    if job is not None and job.status is JobStatus.QUEUED:
        publish_jobs(runtime, [job], front=job.fence > 0)


def publish_cleanup(runtime: Runtime, jobs: Sequence[Job]) -> None:
    """Have a worker, which has the disk, remove what jobs that have ended left there."""
    if not jobs:
        return
    try:
        runtime.broker.publish(jobs, runtime.now())
    except StoreUnavailableError as error:
        logger.warning("The part files of %d jobs stay for now: %s", len(jobs), error)
