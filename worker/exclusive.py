"""Work that runs in one process at a time, however long it takes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from cache.coordination.lock import Lock
from worker.leases.drain import Drain
from worker.leases.lease import LeaseManager
from worker.leases.stop_signal import StopSignal

logger = logging.getLogger(__name__)

T = TypeVar("T")


def run_exclusive(
    leases: LeaseManager, lock: Lock, drain: Drain, work: Callable[[], T]
) -> T | None:
    """Run `work` under a lock that is renewed meanwhile; return None when another process holds it.

    The lock of a process that dies expires within its TTL.

    Raises:
        StoreUnavailableError: the store does not answer; the work was not started.
    """
    lease = leases.acquire(lock, StopSignal(drain))
    if lease is None:
        logger.info("%s is held by another process; this run is skipped", lock.key)
        return None
    try:
        return work()
    finally:
        leases.release(lease)
