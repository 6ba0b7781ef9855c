"""Messages that follow from what SQL says: a queued job wants one, an ended one may want tidying up.

A broker that is away is told in the log, never raised: beat publishes what has no message.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from domain.errors import DatabaseUnavailableError, StoreUnavailableError
from domain.job import Job
from worker.runtime import Runtime

logger = logging.getLogger(__name__)


def publish_jobs(runtime: Runtime, job_ids: Sequence[str]) -> bool:
    """Publish queued jobs and note it; False when the broker did not take them (beat tries again)."""
    if not job_ids:
        return True
    try:
        runtime.broker.publish(job_ids)
    except StoreUnavailableError as error:
        logger.warning("%d jobs wait for the broker: %s", len(job_ids), error)
        return False
    try:
        runtime.jobs.mark_published(job_ids, runtime.now())
    except DatabaseUnavailableError as error:
        # They will be published once more, which does nothing.
        logger.warning("%d published jobs are not noted as such: %s", len(job_ids), error)
    return True


def publish_tidying(runtime: Runtime, job: Job) -> None:
    """Have a worker, which has the disk, remove what a job that has ended left there."""
    try:
        runtime.broker.publish([job.id])
    except StoreUnavailableError as error:
        logger.warning("The part file of job %s stays for now: %s", job.id, error)
