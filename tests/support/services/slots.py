"""Slots that are acquired and released one at a time: the product does so for many jobs together."""

from __future__ import annotations

from worker.limits.slots import HeldSlots, SlotManager


class BlockingSlots(SlotManager):
    """Runs the flows of a `SlotManager` in the calling thread, each by itself."""

    def acquire(self, job_id: str, host: str, user_id: str | None = None) -> HeldSlots:
        """See `SlotManager.acquire_flow`."""
        return self._store.run(self.acquire_flow(job_id, host, user_id))

    def connections(self, held: HeldSlots, want: int) -> int:
        """See `HeldSlots.connections_flow`."""
        return self._store.run(held.connections_flow(want))

    def release(self, held: HeldSlots) -> None:
        """See `SlotManager.release_flow`."""
        self._store.run(self.release_flow(held))

    def cool_down(self, host: str, seconds: float, reason: str) -> None:
        """See `SlotManager.cool_down_flow`."""
        self._store.run(self.cool_down_flow(host, seconds, reason))
