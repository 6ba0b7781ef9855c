"""Work that runs once at a time, whoever begins it and however long it takes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from worker.leases.stop_signal import StopSignal
from worker.runtime import Runtime

logger = logging.getLogger(__name__)

T = TypeVar("T")


def run_exclusive(
    runtime: Runtime, work: Callable[[Runtime], T], name: str | None = None
) -> T | None:
    """Run `work` under the lock of its name; return None where somebody else holds it.

    The lock is renewed meanwhile. When the process dies, it outlives it by no more than its TTL.

    Raises:
        StoreUnavailableError: the store does not answer; nothing was begun.
    """
    name = name or work.__name__
    lease = runtime.leases.acquire(runtime.cache.lock(f"task:{name}"), StopSignal(runtime.drain))
    if lease is None:
        logger.info("%s still runs elsewhere; this time is left out", name)
        return None
    try:
        return work(runtime)
    finally:
        runtime.leases.release(lease)
