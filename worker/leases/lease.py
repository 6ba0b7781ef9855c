"""Renews the locks that this process holds, and stops a holder before its lock expires."""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import Self

from cache.clock import lease_clock
from cache.coordination.lock import Lock, LockHandle, extend_all, handle_of
from cache.coordination.renewal import Renewal
from cache.store.flow import Flow
from domain.errors import LeaseLostError, StoreError
from worker.leases.stop_signal import StopSignal
from worker.outages import OutageLog
from worker.periodic_thread import PeriodicThread

logger = logging.getLogger(__name__)

#: Two renewals in one TTL. With more, the lock of a killed worker would be held longer after its death.
#: A failed renewal is repeated ten times as often, and a third of the TTL is left for that.
RENEWALS_PER_TTL = 2

_RELEASING = "Locks are not released and expire by themselves"
_RENEWING = "The locks of this process could not be renewed"


class Lease:
    """A held lock, and the moment after which its holder must not write."""

    def __init__(self, lock: LockHandle, stop: StopSignal, sent_at: float) -> None:
        self.lock = lock
        self.stop = stop
        #: Whether the release was sent: then another worker may hold the lock at any time.
        self.is_released = False
        self._renewal = Renewal(lock.ttl, per_ttl=RENEWALS_PER_TTL)
        self.renewed(sent_at)

    def renewed(self, sent_at: float) -> None:
        """Start a new TTL at `sent_at`, when the renewal was sent (`lease_clock`)."""
        self._renewal.record(sent_at, extended=True)

    def is_alive(self) -> bool:
        """Return whether the holder may still write to the part file."""
        return self._renewal.is_valid()

    def is_expired(self) -> bool:
        """Return whether another worker may hold the lock: then SQL and store must not be written.

        This is not the opposite of `is_alive`, which becomes False a sixth of the TTL earlier: in
        between the holder requeues its job in SQL.
        """
        return self._renewal.is_expired()

    def check(self) -> None:
        """Raise LeaseLostError if the holder must not write any more."""
        if not self.is_alive():
            raise _lost(self)

    def mark_lost(self) -> None:
        """Stop the holder's transfer."""
        self.stop.set(_lost(self))


class LeaseManager:
    """Renews all leases of this process from one thread, in one round trip.

    A second thread watches their deadlines, so that a holder stops in time even while the first one
    waits for an answer.
    """

    def __init__(self, *, ttl: float) -> None:
        renewal = Renewal(ttl, per_ttl=RENEWALS_PER_TTL)
        self._interval = renewal.interval
        # Not a dict by key: a job's next attempt may have a lease here while the former one still ends.
        self._leases: set[Lease] = set()
        self._mutex = threading.Lock()
        self._outages = OutageLog(logger)
        self._threads = (
            PeriodicThread(
                "lease-renewal", self._renew, renewal.retry_interval, first=self._interval
            ),
            PeriodicThread("lease-watch", self._stop_lapsed, renewal.retry_interval),
        )

    def acquire(self, lock: Lock, stop: StopSignal) -> Lease | None:
        """Acquire `lock` and renew it until `release`; None when another holder has it.

        Raises:
            StoreUnavailableError: the store does not answer; nothing is held.
        """
        return lock.store.run(self.acquire_flow(lock, stop))

    def acquire_flow(self, lock: Lock, stop: StopSignal) -> Flow[Lease | None]:
        """Do `acquire` as a flow."""
        # Here and not in the caller, who may wait long before this flow is run: the TTL starts now.
        sent_at = lease_clock()
        for thread in self._threads:  # first: without them, no lock is acquired
            thread.start()
        if not (yield from Lock.acquire.flow(lock)):
            return None
        lease = Lease(handle_of(lock), stop, sent_at)
        with self._mutex:
            self._leases.add(lease)
        return lease

    def release(self, lease: Lease) -> None:
        """Stop renewing, and release the lock if it is still held and the store answers."""
        lease.lock.store.run(self.release_flow(lease))

    def release_flow(self, lease: Lease) -> Flow[None]:
        """Do `release` as a flow."""
        lease.is_released = True
        with self._mutex:
            self._leases.discard(lease)
        try:
            yield from LockHandle.release.flow(lease.lock)
        except StoreError as error:
            self._outages.record_failure(_RELEASING, error)
        else:
            self._outages.record_success(_RELEASING)

    def renew_all(self) -> bool:
        """Renew every lease once, and stop holders that lost theirs. False without an answer."""
        with self._mutex:
            leases = list(self._leases)
        sent_at = lease_clock()
        try:
            replies = extend_all([lease.lock for lease in leases])
        except StoreError as error:
            self._outages.record_failure(_RENEWING, error)
            return False
        self._outages.record_success(_RENEWING)
        for lease, extended in zip(leases, replies, strict=True):
            if extended:
                lease.renewed(sent_at)
            elif self._is_managed(lease):
                logger.warning("The lock %s is lost: the store no longer has it", lease.lock.key)
                lease.mark_lost()
        return True

    def close(self) -> None:
        """Stop the threads; locks still held expire by themselves."""
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

    def _stop_lapsed(self) -> None:
        with self._mutex:
            lapsed = [lease for lease in self._leases if not lease.is_alive()]
        for lease in lapsed:
            lease.mark_lost()

    def _is_managed(self, lease: Lease) -> bool:
        """Return whether the lease is not released: one released in the meantime is not lost."""
        with self._mutex:
            return lease in self._leases


def _lost(lease: Lease) -> LeaseLostError:
    return LeaseLostError(
        f"The lock {lease.lock.key} could not be kept; this worker stops writing."
    )
