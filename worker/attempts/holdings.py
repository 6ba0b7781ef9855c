"""What one attempt holds in the store: given back in one round trip, the lock last."""

from __future__ import annotations

from typing import NamedTuple

from cache.store.flow import Flow, gather
from worker.leases.lease import Lease
from worker.limits.slots import HeldSlots
from worker.progress.reporter import AttemptResult, DownloadTracker
from worker.runtime import Runtime


class _LastProgress(NamedTuple):
    tracker: DownloadTracker
    result: AttemptResult


class Holdings:
    """The lock of a job, its slots, and its last progress, which is shown when SQL has the result.

    Attributes:
        lease: of the job's lock.
        slots: None until some are acquired.
    """

    def __init__(self, runtime: Runtime, lease: Lease) -> None:
        self._runtime = runtime
        self.lease = lease
        self.slots: HeldSlots | None = None
        self._last: _LastProgress | None = None

    def show_at_the_end(self, tracker: DownloadTracker, result: AttemptResult) -> None:
        """Send this state, which SQL has, when the rest is given back."""
        self._last = _LastProgress(tracker, result)

    def give_back(self) -> Flow[None]:
        """Send the last progress, then release the slots, then the lock. Errors are logged."""
        runtime, flows = self._runtime, []
        if self._last is not None:
            flows.append(runtime.reporter.finish_flow(*self._last, persisted=True))
        if self.slots is not None:
            flows.append(runtime.slots.release_flow(self.slots))
        flows.append(runtime.leases.release_flow(self.lease))
        yield from gather(*flows)
