"""How an attempt gets slots of its host and user: in turn, perhaps after it has waited a moment."""

from __future__ import annotations

from collections.abc import Callable

from domain.errors import HostBusyError, SeenError
from domain.job import Job
from domain.limits import HOST_BUSY, TOTAL_BUSY, USER_BUSY, plain_host
from worker.attempts.holdings import Holdings
from worker.limits.slot_queue import lines_of
from worker.limits.slots import HeldSlots, order_of
from worker.runtime import Runtime


class SlotTurn:
    """Acquires the slots of one attempt.

    Args:
        runtime: of this process.
        job: as claimed.
        host: that the job connects to.
        held: gets the job's place in a line, which is given back or kept at the attempt's end.
        raise_if_stopped: raises if the attempt has to stop.
    """

    def __init__(
        self,
        runtime: Runtime,
        job: Job,
        host: str,
        held: Holdings,
        raise_if_stopped: Callable[[], None],
    ) -> None:
        self._runtime, self._job, self._held = runtime, job, held
        self._host = plain_host(host)
        self._raise_if_stopped = raise_if_stopped
        self._order = order_of(job.priority, job.id)
        #: In which the job waits here.
        self._line: str | None = None

    async def acquire(self) -> HeldSlots:
        """Acquire slots of the host and user.

        Raises:
            HostBusyError: none will be free soon.
        """
        runtime, job = self._runtime, self._job
        flow = runtime.slots.acquire_flow
        while True:
            try:
                slots: HeldSlots = await runtime.store(
                    flow(job.id, self._host, job.user_id, job.priority)
                )
            except HostBusyError as error:
                self._note(error)
                if self._line is None or not await self._wait():
                    raise
                self._pass_on_if_stopped()
            else:
                self._call(slots.called)
                runtime.slot_queue.taken(*lines_of(self._host, job.user_id))
                return slots

    async def _wait(self) -> bool:
        assert self._line is not None
        return await self._runtime.slot_queue.wait(
            self._line, self._raise_if_stopped, order=self._order, asks=self._held.place is not None
        )

    def _note(self, error: HostBusyError) -> None:
        """Note the line that the job is in now, and when a slot has changed hands."""
        lines = lines_of(self._host, self._job.user_id)
        line = dict(zip((HOST_BUSY, USER_BUSY, TOTAL_BUSY), lines, strict=True)).get(error.code)
        wait = error.wait
        self._held.place = None if wait is None else wait.place
        if self._line not in {None, line}:
            self._pass_on()
        if line is not None and wait is not None:
            self._call(wait.called)
            self._runtime.slot_queue.taken(line, ago=wait.unchanged)
        self._line = line

    def _call(self, count: int) -> None:
        """Queue jobs that wait in SQL for slots that were found free."""
        for _ in range(count):
            self._runtime.freed_slots.add(self._host, self._job.user_id)

    def _pass_on(self) -> None:
        """Let another job have the slot that was freed for this one, which lacks another slot."""
        line, user_id = self._line, self._job.user_id
        if line is not None and not self._runtime.slot_queue.freed(line):
            self._runtime.freed_slots.add(self._host, None if line == self._host else user_id)

    def _pass_on_if_stopped(self) -> None:
        """Raise if the attempt has to stop; the slot that was freed for it is for another one then."""
        try:
            self._raise_if_stopped()
        except SeenError:
            self._held.pass_on(self._host, self._job.user_id)
            raise
