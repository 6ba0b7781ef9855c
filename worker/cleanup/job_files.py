"""Removes the working files of a finished job."""

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
    """Return whether no attempt will continue the part file. A failed job may keep it for a retry."""
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
    """Remove a job's working files, and its published file unless the job is completed.

    Nothing is removed while the job may still need its part file, or another process has it open. The
    job is read while the part file is locked, so a newer claim cannot start in between. A job that SQL
    does not know needs no files.

    Returns:
        whether the files were removed.

    Raises:
        DatabaseUnavailableError: nothing was removed.
    """
    try:
        with destinations.open(directory, job_id) as destination:
            job = jobs.get_many([job_id]).get(job_id)
            if job is not None and not is_part_file_obsolete(job):
                return False
            if job is not None and job.status is not JobStatus.COMPLETED:
                # Its worker died after publishing, before SQL had the result.
                destination.unpublish()
            destination.remove_working_files()
    except DatabaseUnavailableError:
        raise
    except SeenError as error:
        logger.info("The part file of job %s is kept for now: %s", job_id, error)
        return False
    return True
