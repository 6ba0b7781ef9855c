"""A transfer's part of the limits that all workers share."""

from __future__ import annotations

from typing import Any

from cache.store.flow import Flow
from worker.limits.slots import HeldSlots
from worker.limits.transfer_rate import TransferRate
from worker.loop.batcher import Batcher


class SharedQuota:
    """The `TransferQuota` of one job: connection slots of its host, and a rate."""

    def __init__(self, slots: HeldSlots, rate: TransferRate, store: Batcher[Flow[Any]]) -> None:
        self._slots, self._rate, self._store = slots, rate, store
        self.record_bytes = rate.count

    @property
    def rate(self) -> float | None:
        """Bytes per second, as the rate controller divides them; None for unlimited."""
        return self._rate.rate

    async def request_connections(self, wanted: int) -> int:
        """Acquire or release slots of the host; return how many connections are granted."""
        granted: int = await self._store(self._slots.connections_flow(wanted))
        return granted
