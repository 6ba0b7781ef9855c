"""Publishes the messages that follow from a change in SQL.

A queued job needs a message, and a finished job may need one to have its files removed. When the broker
does not answer, that is logged and not raised: beat publishes what has no message.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from database import JobRepository
from domain.errors import DatabaseUnavailableError, StoreUnavailableError
from domain.job import Job, QueuedJob
from worker import tracing
from worker.broker.client import Broker, UnsentMessagesError
from worker.outages import OutageLog

logger = logging.getLogger(__name__)

_PUBLISHING = "Queued jobs wait for the broker"


class Publication(NamedTuple):
    """A queued job to publish; `requeued` says that it goes to the queue of requeued jobs."""

    job: Job | QueuedJob
    requeued: bool = False


class JobPublisher:
    """Publishes messages of jobs, and notes in SQL that it did. It keeps no state.

    Args:
        broker: takes the messages.
        jobs: the rows to note it in.
        clock: the wall clock, aware UTC.
        outages: where a broker without answer is logged.
    """

    def __init__(
        self,
        broker: Broker,
        jobs: JobRepository,
        clock: Callable[[], datetime],
        outages: OutageLog,
    ) -> None:
        self._broker, self._jobs, self._clock, self._outages = broker, jobs, clock, outages

    def publish(
        self,
        jobs: Sequence[Job | QueuedJob],
        *,
        requeued: bool = False,
        together: bool = True,
    ) -> datetime | None:
        """Publish queued jobs; set `published_at` in rows that have not changed since they were read.

        Args:
            jobs: as read from SQL.
            requeued: use the queue of requeued jobs, which is usually read first.
            together: let a message name several jobs.

        Returns:
            The time in the messages and in `published_at`; None when the broker took none.
        """
        sent_at = self._clock()
        if not jobs:
            return sent_at
        try:
            self._broker.publish(jobs, sent_at, requeued=requeued, together=together)
        except StoreUnavailableError as error:
            reason = error.reason if isinstance(error, UnsentMessagesError) else error
            self._outages.record_failure(_PUBLISHING, reason)
            jobs = _sent(jobs, error)
            if not jobs:
                return None
        else:
            self._outages.record_success(_PUBLISHING)
        if tracing.active is not None:
            of_message = {"seen.requeued": requeued}
            tracing.active.published([job.id for job in jobs], sent_at.timestamp(), of_message)
        self._mark(jobs, sent_at, requeued=requeued)
        return sent_at

    def _mark(self, jobs: Sequence[Job | QueuedJob], sent_at: datetime, *, requeued: bool) -> None:
        """Note in SQL that they have messages; one that it is not noted of gets a second, in vain."""
        count, why = len(jobs), "their rows are locked"
        try:
            count = len(self._jobs.mark_published(jobs, sent_at, requeued=requeued))
        except DatabaseUnavailableError as error:
            why = str(error)
        if count:
            logger.warning("published_at of %d jobs is not saved: %s", count, why)

    def publish_all(self, wanted: Sequence[Publication]) -> list[None]:
        """Publish jobs to the queues that they are for; return None for each."""
        for requeued in (False, True):
            self.publish([one.job for one in wanted if one.requeued is requeued], requeued=requeued)
        return [None] * len(wanted)

    def put_back(self, job_ids: Sequence[str], queue: str | None, sent_at: datetime | None) -> None:
        """Return jobs of a consumed message to their queue, as the message that is consumed next.

        Raises:
            StoreUnavailableError: they have no message.
        """
        if queue is not None:
            self._broker.put_back(job_ids, queue, sent_at)

    def publish_for_file_removal(self, jobs: Sequence[Job]) -> None:
        """Publish finished jobs, so that a download worker removes their files from its disk."""
        if not jobs:
            return
        try:
            self._broker.publish(jobs, self._clock())
        except StoreUnavailableError as error:
            logger.warning("The part files of %d jobs are not removed yet: %s", len(jobs), error)


def _sent(
    jobs: Sequence[Job | QueuedJob], error: StoreUnavailableError
) -> Sequence[Job | QueuedJob]:
    """Return the jobs whose messages were sent all the same."""
    if not isinstance(error, UnsentMessagesError):
        return []
    return [job for job in jobs if job.id not in error.unsent]
