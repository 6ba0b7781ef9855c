"""Removing what a job left on the way that has ended."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from database import JobRepository
from domain.errors import DatabaseUnavailableError, SeenError
from domain.job import FINISHED, Job, JobStatus
from worker.storage.destination import Destinations

logger = logging.getLogger(__name__)


def is_part_file_obsolete(job: Job) -> bool:
    """Say whether nothing will be continued from a job's part file; a failed one may keep bytes."""
    return job.status in FINISHED and not (job.status is JobStatus.FAILED and job.bytes_durable)


def try_remove_job_files(
    jobs: JobRepository,
    destinations: Destinations,
    resolve: Callable[[str], Path],
    job: Job,
) -> None:
    """Remove the files of a finished job, if there are any; an error is logged.

    Args:
        jobs: where its state is read.
        destinations: where its files are.
        resolve: turns `job.directory` into a path.
        job: the job.
    """
    try:
        directory = resolve(job.directory)
        if destinations.exists(directory, job.id):
            remove_job_files(jobs, destinations, directory, job.id)
    except SeenError as error:
        logger.warning("The files of job %s are removed later: %s", job.id, error)


def remove_job_files(
    jobs: JobRepository, destinations: Destinations, directory: Path, job_id: str
) -> bool:
    """Remove a job's working names, and the final name of a file whose job did not come to be completed.

    False, and nothing is removed, when it is not over or somebody has its part file open. SQL is asked
    under the part file's own lock, so that nobody begins again meanwhile: a process that stood still and
    went by what it had read before would take away what a newer claim has made. A job that SQL does not
    know is over.

    Raises:
        DatabaseUnavailableError: nothing was removed.
    """
    try:
        with destinations.open(directory, job_id) as part:
            job = jobs.get_many([job_id]).get(job_id)
            if job is not None and not is_part_file_obsolete(job):
                return False
            if job is not None and job.status is not JobStatus.COMPLETED:
                part.unpublish()  # a worker fell between publishing and saying so
            part.remove_working_files()
    except DatabaseUnavailableError:
        raise
    except SeenError as error:
        logger.info("The part file of job %s stays for now: %s", job_id, error)
        return False
    return True
