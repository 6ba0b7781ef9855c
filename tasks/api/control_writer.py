"""Writing what an action on jobs changes: to SQL, which decides, then to the store and the broker."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from cache.downloads.download_cache import DownloadCache
from database import JobRepository
from domain.errors import StoreError
from domain.job import Job, JobStatus
from worker import tracing
from worker.publishing import JobPublisher

logger = logging.getLogger(__name__)

#: How often a job is read again because it was changed at the same moment; a few times are enough.
ROUNDS = 20


class ControlWriter:
    """Changes the states and the control requests of jobs.

    Args:
        jobs: the rows.
        progress: the progress hashes, from which workers read requests.
        publisher: publishes queued jobs, and cancelled ones whose files are to be removed.
        clock: the wall clock, aware UTC.
    """

    def __init__(
        self,
        jobs: JobRepository,
        progress: DownloadCache,
        publisher: JobPublisher,
        clock: Callable[[], datetime],
    ) -> None:
        self._jobs, self._progress, self._publisher, self._clock = jobs, progress, publisher, clock

    def transition(
        self, jobs: Sequence[Job], to: JobStatus, *, reason: str, changes: Mapping[str, object]
    ) -> list[Job]:
        """Change the state of jobs that do not run, and publish them; return those that changed.

        Args:
            jobs: as read.
            to: the new state.
            reason: of the events.
            changes: further columns to set.
        """
        changed = self._jobs.transition_many(
            jobs, to, now=self._clock(), reason=reason, changes=changes
        )
        if to is JobStatus.CANCELLED:
            for job in changed:
                tracing.job_ended(job)
            self._publisher.publish_for_file_removal([job for job in changed if job.fence > 0])
        elif to is JobStatus.QUEUED:
            sent_at = self._publisher.publish(changed)
            changed = [replace(job, published_at=sent_at) for job in changed]
        return changed

    def request(self, jobs: Sequence[Job], control: str | None) -> list[Job]:
        """Store the control request of running jobs in SQL, then copy it to the store.

        Args:
            jobs: as read.
            control: "pause" or "cancel"; None withdraws a pause.

        Returns:
            The jobs that still run under the given claim, as they are now. A pending cancel stays.
        """
        stored = self._jobs.request_control(jobs, control)
        try:
            self._copy_to_store(stored)
        except StoreError as error:
            logger.warning(
                "The requests for %d jobs reach their workers when the store is back: %s",
                len(stored),
                error,
            )
        return stored

    def _copy_to_store(self, jobs: Sequence[Job]) -> None:
        """Copy the control requests of running jobs to the store, until it has those of SQL.

        Of two concurrent callers, the first one in SQL may be the last one in the store. So each reads
        SQL again after writing to the store: the last one there copies the request that SQL has.
        """
        outdated = list(jobs)
        for _ in range(ROUNDS):
            if not outdated:
                return
            self._write_to_store(outdated)
            now = self._jobs.get_many([job.id for job in outdated])
            outdated = [now[job.id] for job in outdated if _is_outdated(job, now.get(job.id))]

    def _write_to_store(self, jobs: Sequence[Job]) -> None:
        claims: dict[str | None, list[tuple[str, int]]] = {}
        for job in jobs:
            claims.setdefault(job.control, []).append((job.id, job.fence))
        for control, some in claims.items():
            if control is None:
                self._progress.withdraw_control(some)
            else:
                self._progress.request_control_many(control, some)


def _is_outdated(copied: Job, now: Job | None) -> bool:
    """Return whether a claim's request has changed in SQL since it was copied to the store."""
    return now is not None and now.fence == copied.fence and now.control != copied.control
