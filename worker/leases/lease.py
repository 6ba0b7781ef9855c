"""Keeps this process's download locks alive, and stops what has lost its lock, before it expires."""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import Self

from cache.clock import lease_clock
from cache.coordination.lock import Lock, LockHandle, extend_all, handle_of
from domain.errors import LeaseLostError, StoreError
from worker.leases.stop_signal import StopSignal
from worker.outages import OutageLog
from worker.periodic_thread import PeriodicThread

logger = logging.getLogger(__name__)

#: Locks are renewed twice in their life. More often would let the lock of a worker that was killed live
#: longer; a renewal that fails is tried again soon, and has a third of the life left for it.
RENEWALS_PER_TTL = 2
#: This part of a life is kept for stopping: the last write happens before the lock can expire.
SAFETY_MARGIN = 1 / 6
#: After a failed renewal the next try comes this much sooner.
RETRY_DIVISOR = 10

_RELEASING = "Locks are not released and expire by themselves"
_RENEWING = "The locks of running downloads could not be renewed"


def write_deadline(asked_at: float, ttl: float) -> float:
    """Return until when the holder of a lock may act on it that was asked for at `asked_at`."""
    return asked_at + ttl * (1 - SAFETY_MARGIN)


class Lease:
    """One held lock with the moment, on our own clock, after which its holder must not write."""

    def __init__(self, lock: LockHandle, stop: StopSignal, acquired_at: float) -> None:
        self.lock = lock
        self.stop = stop
        self.renewed(acquired_at)

    def renewed(self, asked_at: float) -> None:
        """Count the new life from when the renewal was sent: it cannot have begun earlier."""
        self._ends = write_deadline(asked_at, self.lock.ttl)
        self._expires = asked_at + self.lock.ttl

    def is_alive(self) -> bool:
        """Say whether the holder may still write. Looks at the clock, not at a flag of some thread:

        a process that was stopped and goes on knows at its first write.
        """
        return lease_clock() < self._ends

    def is_expired(self) -> bool:
        """Say whether the lock may be somebody else's: from then on its holder tells nobody anything.

        Between the end of writing and this lies the time to say how far it got.
        """
        return lease_clock() >= self._expires

    def check(self) -> None:
        """Raise LeaseLostError if the holder must not write any more."""
        if not self.is_alive():
            raise _lost(self)

    def mark_lost(self) -> None:
        """Tell the holder to stop."""
        self.stop.set(_lost(self))


class LeaseManager:
    """Renews the leases of this process from one thread, all in one round trip.

    A second thread watches their ends, so that a holder is stopped in time even while the first one
    still waits for an answer.
    """

    def __init__(self, *, ttl: float) -> None:
        self._interval = ttl / RENEWALS_PER_TTL
        # Not by key: this process may take a job anew while its former attempt still comes to an end.
        self._leases: set[Lease] = set()
        self._mutex = threading.Lock()
        self._outages = OutageLog(logger)
        self._threads = (
            # Soon again where it failed, in whatever way.
            PeriodicThread(
                "lease-keeper", self._renew, self._interval / RETRY_DIVISOR, first=self._interval
            ),
            PeriodicThread("lease-watch", self._watch, self._interval / RETRY_DIVISOR),
        )

    def acquire(self, lock: Lock, stop: StopSignal) -> Lease | None:
        """Acquire `lock` and keep it renewed until `release`; None when somebody else holds it.

        Raises:
            StoreUnavailableError: the store does not answer; nothing is held.
        """
        asked_at = lease_clock()
        if not lock.acquire():
            return None
        lease = Lease(handle_of(lock), stop, asked_at)
        with self._mutex:
            self._leases.add(lease)
        for thread in self._threads:
            thread.start()
        return lease

    def release(self, lease: Lease) -> None:
        """Stop renewing, and give the lock back if it is still ours and the store answers."""
        with self._mutex:
            self._leases.discard(lease)
        try:
            lease.lock.release()
        except StoreError as error:
            self._outages.record_failure(_RELEASING, error)
        else:
            self._outages.record_success(_RELEASING)

    def close(self) -> None:
        """Stop the threads; leases still held expire by themselves."""
        for thread in self._threads:
            thread.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _renew(self) -> float | None:
        return self._interval if self.renew_all() else None

    def _watch(self) -> None:
        with self._mutex:
            ended = [lease for lease in self._leases if not lease.is_alive()]
        for lease in ended:
            lease.mark_lost()

    def renew_all(self) -> bool:
        """Renew every lease once; those that are no longer ours are lost. False without an answer."""
        with self._mutex:
            leases = list(self._leases)
        asked_at = lease_clock()
        try:
            answers = extend_all([lease.lock for lease in leases])
        except StoreError as error:
            self._outages.record_failure(_RENEWING, error)
            return False
        self._outages.record_success(_RENEWING)
        for lease, extended in zip(leases, answers, strict=True):
            if extended:
                lease.renewed(asked_at)
            elif self._is_held(lease):
                logger.warning("%s is no longer ours", lease.lock.key)
                lease.mark_lost()
        return True

    def _is_held(self, lease: Lease) -> bool:
        """Say whether the lease is still being kept: one released meanwhile is not lost."""
        with self._mutex:
            return lease in self._leases


def _lost(lease: Lease) -> LeaseLostError:
    return LeaseLostError(
        f"The lock {lease.lock.key} could not be kept; this worker stops writing."
    )
