"""The jobs that a process has in hand: those that run, each in one slot, and those that wait for one.

Several jobs may come with one message. A job that gets no slot soon is put back into its queue, so that
another worker can run it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from database.operations import ConsumeMessage
from domain.errors import StoreUnavailableError
from domain.job import Priority
from worker.limits.slot_queue import TOTAL_LINE
from worker.logs import context
from worker.metrics.catalog import JOB_RUNS, JOBS_IN_HAND, SLOT_WAIT, SLOTS, SLOTS_USED
from worker.metrics.loop_lag import LoopLag
from worker.outcome import JobEnd, Outcome
from worker.runner import run_job
from worker.runtime import Runtime

logger = logging.getLogger(__name__)

#: Seconds for which a job may wait for a slot; small files free one sooner.
MAX_WAIT = 0.25
#: Jobs without slots at most: with a slow disk, more of them would only wait for it.
MOST_ENDING = 16
#: Where small files free slots all the time, a job may wait so many times as long.
_LONGEST_WAIT = 4


@dataclass(frozen=True, slots=True)
class JobMessage:
    """The jobs of one message.

    Attributes:
        job_ids: all of one priority.
        priority: of the queue; None for any.
        sent_at: the time that the message carries.
        queue: where it came from, and where jobs are put back to; None to put back none.
    """

    job_ids: tuple[str, ...]
    priority: Priority | None = None
    sent_at: datetime | None = None
    queue: str | None = None


@dataclass(eq=False, slots=True)
class _Waiting:
    """A message whose jobs have not all ended."""

    message: JobMessage
    on_end: Callable[[list[JobEnd]], None]
    ends: list[JobEnd] = field(default_factory=list)

    def record(self, end: JobEnd) -> None:
        self.ends.append(end)
        if len(self.ends) == len(self.message.job_ids):
            self.on_end(self.ends)


class _Slot:
    """The slot of one job, which is freed once."""

    __slots__ = ("_free",)

    def __init__(self, free: Callable[[], None]) -> None:
        self._free: Callable[[], None] | None = free

    def free(self) -> None:
        """Free the slot, if that was not done before."""
        free, self._free = self._free, None
        if free is not None:
            free()


class JobPool:
    """Runs jobs on the event loop of a process, at most `concurrency` at once.

    A job whose bytes are all received and verified needs no slot any more; `MOST_ENDING` such jobs
    may be published and saved beside those that run.

    Any thread may call the public methods.

    Args:
        runtime: of this process.
        concurrency: the slots.
        max_wait: seconds for which a job may wait for one.
    """

    def __init__(self, runtime: Runtime, concurrency: int, *, max_wait: float = MAX_WAIT) -> None:
        self._runtime = runtime
        self._max_wait = max_wait
        self._concurrency = concurrency
        self._mutex = threading.Lock()
        #: Jobs that run or wait, also those that the loop has not yet heard of.
        self._in_hand = 0
        self._on_room: Callable[[], None] = lambda: None
        # What follows is of the loop's thread.
        self._running = 0
        #: Jobs without a slot that are still published or saved.
        self._ending = 0
        self._waiting: deque[tuple[str, _Waiting, float]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._ended_at = 0.0
        self._is_closed = False
        runtime.slots.total.on_look(self._on_total_limit)
        self._loop_lag = LoopLag(runtime.instruments, "worker")
        gauge = runtime.instruments.set_gauge
        gauge(SLOTS, read=lambda: self._concurrency)
        gauge(SLOTS_USED, read=lambda: self._running)
        gauge(JOBS_IN_HAND, read=lambda: self._in_hand)

    # ── for other threads ───────────────────────────────────────────────────────────────────────

    @property
    def concurrency(self) -> int:
        """How many jobs run at once; it may be changed at any time."""
        return self._concurrency

    @concurrency.setter
    def concurrency(self, slots: int) -> None:
        self._concurrency = self._runtime.concurrency_shares.concurrency = max(1, slots)
        self._runtime.event_loop.call_soon(self._start_waiting)

    @property
    def _slots(self) -> int:
        # With more jobs in hand than may run in all workers, the others would only wait.
        return min(self._concurrency, self._runtime.slots.total.value or self._concurrency)

    @property
    def running(self) -> int:
        """How many jobs run or wait here."""
        return self._in_hand

    def has_room(self) -> bool:
        """Return whether another message should be consumed: a slot is free, and no job waits."""
        runtime = self._runtime
        if runtime.claim_pause.seconds_left() > 0 or runtime.drain.has_started:
            return False
        bound, ending = runtime.concurrency.bound, min(self._ending, MOST_ENDING)
        # A job that ends needs no slot; it does use what the process lacks.
        has_resources = bound is None or self._in_hand < bound
        return has_resources and self._in_hand - ending < self._slots

    def on_room(self, callback: Callable[[], None]) -> None:
        """Call a function, in any thread, each time that `has_room` may have become true.

        It is not called while jobs of the messages in hand take all slots: to look for nothing would
        cost its thread as much as a good part of a small job.
        """
        self._on_room = callback

    def start(self, message: JobMessage, on_end: Callable[[list[JobEnd]], None]) -> None:
        """Run the jobs of a message; `on_end` gets all their ends, once, on the loop's thread."""
        loop = self._runtime.event_loop.loop  # before the jobs are counted: it may have no thread
        with self._mutex:
            self._in_hand += len(message.job_ids)
        loop.call_soon_threadsafe(self._accept, _Waiting(message, on_end))

    def run(self, message: JobMessage) -> list[JobEnd]:
        """Run the jobs of a message, and return their ends. Not on the loop's thread."""
        found: list[JobEnd] = []
        done = threading.Event()

        def end(ends: list[JobEnd]) -> None:
            found.extend(ends)
            done.set()

        self.start(message, end)
        done.wait()
        return found

    def _on_total_limit(self, more: int) -> None:
        if more > 0:
            self._runtime.event_loop.call_soon(self._use, min(more, self._concurrency))

    # ── on the loop ─────────────────────────────────────────────────────────────────────────────

    def _accept(self, message: _Waiting) -> None:
        self._loop_lag.start()
        now = asyncio.get_running_loop().time()
        self._waiting.extend((job_id, message, now) for job_id in message.message.job_ids)
        self._start_waiting()

    def _start_waiting(self) -> None:
        """Start waiting jobs as far as slots are free; put all back when the process drains."""
        loop, runtime = asyncio.get_running_loop(), self._runtime
        pause = runtime.claim_pause.seconds_left()
        if runtime.drain.has_started:
            self._put_back(len(self._waiting))
        while self._waiting and not self._is_closed and pause <= 0 and self._may_start():
            job_id, message, since = self._waiting.popleft()
            self._running += 1
            runtime.instruments.observe(SLOT_WAIT, loop.time() - since, "worker")
            loop.create_task(self._run_one(job_id, message))
        if self._timer is None and (self._waiting or pause > 0):
            self._timer = loop.call_later(self._max_wait / 2, self._look_again)

    def _use(self, free: int) -> None:
        """Let so many jobs start that waited for a higher limit: here, in SQL, in the broker."""
        self._start_waiting()
        for _ in range(free):
            if not self._runtime.slot_queue.freed(TOTAL_LINE):
                self._runtime.freed_slots.add(None, None)
        self._on_room()

    def _look_again(self) -> None:
        self._timer = None
        self._start_waiting()
        if self._runtime.claim_pause.seconds_left() <= 0:
            self._put_back_late(asyncio.get_running_loop().time())
        if not self._waiting:
            self._on_room()

    def _put_back_late(self, now: float) -> None:
        """Put back jobs for which no slot will be free soon, since no job here has ended lately.

        However fast jobs end here, none waits for longer than `_LONGEST_WAIT` times that.
        """
        longest = _LONGEST_WAIT * self._max_wait
        is_slow = now - self._ended_at >= self._max_wait
        waits = (now - since for _, _, since in self._waiting)
        self._put_back(
            sum(wait >= longest or (is_slow and wait >= self._max_wait) for wait in waits)
        )

    async def _run_one(self, job_id: str, message: _Waiting) -> None:
        slot, sent = _Slot(self._free_slot), message.message
        end = JobEnd(job_id, Outcome.UNSAVED, "This worker has stopped it.")
        try:
            end = await run_job(self._runtime, job_id, sent.priority, sent.sent_at, slot.free)
        except asyncio.CancelledError:
            self._is_closed = True  # only the end of the loop cancels a job
            raise
        except Exception:
            # What it holds expires, and the job is requeued as an orphan.
            logger.exception("Job %s met an unexpected error", job_id)
            end = JobEnd(job_id, Outcome.UNSAVED, "An internal error; see the worker's log.")
        finally:
            slot.free()
            self._ending -= 1
            self._runtime.concurrency.release()
            self._start_waiting()
            self._end(end, message)

    def _free_slot(self) -> None:
        self._running -= 1
        self._ending += 1
        self._ended_at = asyncio.get_running_loop().time()
        self._start_waiting()
        self._announce_room()

    def _announce_room(self) -> None:
        if self.has_room():
            self._on_room()

    def _end(self, end: JobEnd, message: _Waiting) -> None:
        with self._mutex:
            self._in_hand -= 1
        self._runtime.instruments.count(JOB_RUNS, end.outcome)
        message.record(end)
        self._announce_room()

    def _may_start(self) -> bool:
        """Return whether one more job may run, and count it if so."""
        has_slot = self._running + max(0, self._ending - MOST_ENDING) < self._slots
        return has_slot and self._runtime.concurrency.try_acquire()

    # ── jobs that are not started ───────────────────────────────────────────────────────────────

    def _put_back(self, count: int) -> None:
        """Put back the jobs that came last."""
        by_message: dict[_Waiting, list[str]] = {}
        for _ in range(min(count, len(self._waiting))):
            job_id, message, _since = self._waiting.pop()
            by_message.setdefault(message, []).append(job_id)
        for message, job_ids in by_message.items():
            asyncio.get_running_loop().create_task(self._put_back_some(message, job_ids[::-1]))

    async def _put_back_some(self, message: _Waiting, job_ids: Sequence[str]) -> None:
        context.enter(None)  # it may be started by another job's end
        runtime, sent = self._runtime, message.message
        try:
            await runtime.in_thread(runtime.publisher.put_back, job_ids, sent.queue, sent.sent_at)
        except Exception as error:
            is_outage = isinstance(error, StoreUnavailableError)
            trace = None if is_outage else error
            logger.warning("%d jobs get another message: %s", len(job_ids), error, exc_info=trace)
            await self._mark_consumed(job_ids, sent.sent_at)
        finally:
            for job_id in job_ids:
                self._end(JobEnd(job_id, Outcome.PUT_BACK), message)

    async def _mark_consumed(self, job_ids: Sequence[str], sent_at: datetime | None) -> None:
        """Note in SQL that the jobs have no message. Without SQL, reconcile finds that later."""
        marked = [self._runtime.sql(ConsumeMessage(job_id, sent_at)) for job_id in job_ids]
        for error in await asyncio.gather(*marked, return_exceptions=True):
            if isinstance(error, Exception):
                logger.warning("A job's message was consumed, which is not saved: %s", error)
                return
