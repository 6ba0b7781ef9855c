"""What one attempt holds: given back in one round trip, the lock last."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from cache.store.flow import Flow, gather
from worker.leases.lease import Lease
from worker.limits.slot_queue import lines_of
from worker.limits.slots import HeldSlots
from worker.progress.reporter import AttemptResult, DownloadTracker
from worker.runtime import Runtime


class _LastProgress(NamedTuple):
    tracker: DownloadTracker
    result: AttemptResult


class Holdings:
    """The lock of a job, its slots, and its last progress, which is shown when SQL has the result.

    Args:
        runtime: of this process.
        lease: as the attribute.
        on_received: called when the origin has sent all bytes, and they are verified.

    Attributes:
        lease: of the job's lock.
        slots: None until some are acquired, and when they are free again.
        place: of the job in a line for slots: a resource and the job's id.
    """

    def __init__(
        self, runtime: Runtime, lease: Lease, on_received: Callable[[], None] = lambda: None
    ) -> None:
        self._runtime, self._on_received = runtime, on_received
        self.lease = lease
        self.slots: HeldSlots | None = None
        self.place: tuple[str, str] | None = None
        #: Seconds until the job tries again: it keeps its place.
        self._tries_again_in: float | None = None
        self._user_id: str | None = None
        self._until_received: list[Callable[[], None]] = []
        self._last: _LastProgress | None = None

    def hold(self, slots: HeldSlots, user_id: str | None) -> None:
        """Hold slots that were acquired for a job of this user."""
        self.slots, self._user_id = slots, user_id
        self.place = None

    def keep_place(self, seconds: float) -> None:
        """Keep the job's place in a line, if it has one: it waits in SQL now, at most so long."""
        self._tries_again_in = seconds

    def until_received(self, end: Callable[[], None]) -> None:
        """Call a function when the origin has sent all bytes or the attempt ends, the last one first."""
        self._until_received.append(end)

    def _end_reception(self) -> None:
        while self._until_received:
            self._until_received.pop()()

    def free_slots(self) -> None:
        """Release the slots before the rest: the origin has sent all bytes, and they are verified."""
        self._on_received()
        self._end_reception()
        slots = self.slots
        if slots is not None and slots.requests:  # else there are no limits, and nothing to free
            self.slots = None
            freed = self._runtime.store(self._runtime.slots.release_flow(slots))
            freed.add_done_callback(lambda _: self.pass_on(slots.host, self._user_id))

    async def give_back(self) -> None:
        """Send the last progress, then release the slots, then the lock. Errors are logged."""
        self._end_reception()
        await self._runtime.store(self._give_back())
        if self.slots is not None:
            self.pass_on(self.slots.host, self._user_id)

    def pass_on(self, host: str, user_id: str | None) -> None:
        """Let the job try whose turn it is for free slots of these: here, else in SQL."""
        queue = self._runtime.slot_queue
        started = [queue.freed(line) for line in lines_of(host, user_id)]
        if not any(started):
            self._runtime.freed_slots.add(host, user_id)

    def show_at_the_end(self, tracker: DownloadTracker, result: AttemptResult) -> None:
        """Send this state, which SQL has, when the rest is given back."""
        self._last = _LastProgress(tracker, result)

    def _give_back(self) -> Flow[None]:
        runtime, flows = self._runtime, []
        if self._last is not None:
            flows.append(runtime.reporter.finish_flow(*self._last, persisted=True))
        if self.slots is not None:
            flows.append(runtime.slots.release_flow(self.slots))
        if self.place is not None:
            flows.append(self._keep_or_leave(self.place))
        flows.append(runtime.leases.release_flow(self.lease))
        yield from gather(*flows)

    def _keep_or_leave(self, place: tuple[str, str]) -> Flow[None]:
        slots, seconds = self._runtime.slots, self._tries_again_in
        return slots.leave_flow(place) if seconds is None else slots.keep_place_flow(place, seconds)
