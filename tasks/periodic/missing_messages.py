"""Queued jobs without a message: never published, or their message was lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from datetime import datetime, timedelta

from database import JobRepository
from domain import history
from domain.job import Priority, QueuedJob
from worker.broker.client import Broker
from worker.publishing import JobPublisher

#: Jobs that are read and published in one step.
BATCH = 500
#: After storing a job, its caller has this long to publish it. Seconds.
PUBLISHING_GRACE = 2.0
#: A message counts as lost if its job is still queued this long after it was sent, and the queue is
#: empty or the message at its head was sent this long after it. Seconds.
DELIVERY_GRACE = 30.0


class MissingMessages:
    """Publishes queued jobs that have no message, and notes it in their histories.

    Args:
        jobs: the rows.
        broker: the queues.
        publisher: publishes the jobs.
        clock: the wall clock, aware UTC.
    """

    def __init__(
        self,
        jobs: JobRepository,
        broker: Broker,
        publisher: JobPublisher,
        clock: Callable[[], datetime],
    ) -> None:
        self._jobs, self._broker, self._publisher, self._clock = jobs, broker, publisher, clock

    def publish_unpublished(self) -> int:
        """Publish jobs whose rows have no `published_at`; return how many."""
        published = 0
        before = self._ago(PUBLISHING_GRACE)
        after_id = ""
        while jobs := self._jobs.unpublished(before, after_id=after_id, limit=BATCH):
            after_id = jobs[-1].id
            if not self._publish_with_note(jobs, history.NO_MESSAGE):
                break
            published += len(jobs)
        return published

    def publish_lost(self) -> int:
        """Publish jobs again whose message is no longer in its queue; return how many."""
        delivered = self._ago(DELIVERY_GRACE)
        # Read this before SQL: a message consumed in between is then in the set, and not taken for lost.
        requeued = self._broker.requeued()
        published = self._publish_lost_of(None, delivered, requeued)
        for priority in Priority:
            consumed = self._consumed_before(priority)
            if consumed is not None:
                published += self._publish_lost_of(priority, min(delivered, consumed), requeued)
        return published

    def _consumed_before(self, priority: Priority) -> datetime | None:
        """Return the time before which all messages of one priority are consumed; None if unknown.

        A queue is first in, first out: a message that was sent well before the one at the head is not in
        it. So among many messages that were sent at the same time, a lost one is found only after most
        others were consumed. To find it sooner, the whole queue would have to be read.
        """
        head = self._broker.head(priority)
        if head is None:
            return self._clock()
        if head.sent_at is None:
            return None  # the next message at the head may have one
        # A job may have got a newer message. Or a fast clock set this message's time, and only the rows
        # were corrected.
        rows = self._jobs.get_many(head.job_ids).values()
        noted = [job.published_at for job in rows if job.published_at is not None]
        return min([head.sent_at, *noted]) - timedelta(seconds=DELIVERY_GRACE)

    def _publish_lost_of(
        self, priority: Priority | None, before: datetime, requeued: Set[str]
    ) -> int:
        """Publish jobs again whose message was sent to one queue by `before`.

        The queue is that of a priority, or without one that for requeued jobs. Jobs in `requeued` have a
        message in the latter.
        """
        published = 0
        after_id = ""
        while jobs := self._jobs.published_before(before, priority, after_id=after_id, limit=BATCH):
            after_id = jobs[-1].id
            lost = [job for job in jobs if job.id not in requeued]
            # Each by itself: a worker of the version before refuses a message of several jobs.
            if not self._publish_with_note(
                lost, history.LOST_MESSAGE, requeued=priority is None, together=False
            ):
                break
            published += len(lost)
        return published

    def _publish_with_note(
        self,
        jobs: Sequence[QueuedJob],
        note: str,
        *,
        requeued: bool = False,
        together: bool = True,
    ) -> bool:
        if self._publisher.publish(jobs, requeued=requeued, together=together) is None:
            return False
        self._jobs.note_many([job.id for job in jobs], note, now=self._clock())
        return True

    def _ago(self, seconds: float) -> datetime:
        return self._clock() - timedelta(seconds=seconds)
