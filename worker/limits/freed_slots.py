"""Queues waiting jobs when slots become free: a few times a second for all."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime

from database.operations import Operation, RequeueForSlot
from domain.errors import DatabaseUnavailableError
from domain.job import QueuedJob
from worker.logs import context
from worker.loop.batcher import Batcher
from worker.publishing import Publication

logger = logging.getLogger(__name__)

#: Seconds between two looks at SQL. The first slot that becomes free is passed on at once.
INTERVAL = 0.1

#: A host, and a user if the job had one; neither for a slot of all downloads alone.
_Freed = tuple[str | None, str | None]


class FreedSlots:
    """The slots that this process has freed and not passed on yet. Belongs to the event loop's thread.

    Args:
        sql: queues the jobs whose turn it is.
        publish: publishes them.
        clock: the wall clock, aware UTC.
    """

    def __init__(
        self,
        sql: Batcher[Operation],
        publish: Batcher[Publication],
        clock: Callable[[], datetime],
    ) -> None:
        self._sql, self._publish, self._clock = sql, publish, clock
        self._freed: Counter[_Freed] = Counter()
        self._passing_on: asyncio.Task[None] | None = None

    def add(self, host: str | None, user_id: str | None) -> None:
        """Queue soon the job whose turn it is at this host, that of this user, and that of all."""
        self._freed[host, user_id] += 1
        if self._passing_on is None:
            self._passing_on = asyncio.get_running_loop().create_task(self._pass_on())

    async def _pass_on(self) -> None:
        context.enter(None)  # the job that has freed a slot has started it
        try:
            while self._freed:
                freed, self._freed = self._freed, Counter()
                await self._requeue(freed)
                await asyncio.sleep(INTERVAL)
        finally:
            self._passing_on = None

    async def _requeue(self, freed: Counter[_Freed]) -> None:
        try:
            while freed:
                found = await asyncio.gather(*(self._requeue_one(*one) for one in freed))
                # Where a job waited, another one may wait for the next slot.
                freed = Counter(
                    {
                        one: count - 1
                        for (one, count), requeued in zip(freed.items(), found, strict=True)
                        if requeued and count > 1
                    }
                )
        except DatabaseUnavailableError as error:
            logger.warning("Jobs that wait for a slot are not requeued yet: %s", error)

    async def _requeue_one(self, host: str | None, user_id: str | None) -> Sequence[QueuedJob]:
        operation = RequeueForSlot(host, user_id, self._clock())
        requeued: Sequence[QueuedJob] = await self._sql(operation)
        for job in requeued:
            # To the queue that is read first: its slot is kept for a second.
            await self._publish(Publication(job, requeued=True))
        return requeued
