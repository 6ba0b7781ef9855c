"""Slots of hosts, users and all downloads: a job acquires them before it connects.

A job acquires all that it needs or none, and releases them at its end. It gets them in turn: jobs that
wait for slots of the same resource are in a line, in the store for all workers, by priority and then by
their ids, which are in order of their creation. A thread renews the slots of the whole process. A job
that gets none waits a moment here (`slot_queue.py`) and then in SQL, where it uses no concurrency of its
worker and keeps its place.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from cache import ttl as ttls
from cache.coordination.limit_models import Cooldown, SlotDecision, SlotRequest, Slots
from cache.coordination.transfer_limits import MAX_SLOTS, TransferLimits
from cache.store.flow import Flow, gather
from domain.errors import HostBusyError, StoreError
from domain.job import Priority
from domain.limits import HOST_BUSY, TOTAL_BUSY, USER_BUSY, SlotWait, plain_host
from worker.limits.total_limit import TotalLimit
from worker.outages import OutageLog
from worker.periodic_thread import PeriodicThread

logger = logging.getLogger(__name__)

#: Mean delays of a job without a slot that has a place in the line, and of one for which the line is too
#: long. Seconds. A job that frees a slot calls the first one; the delays are for when that fails.
BUSY_RETRY_AFTER = 5.0
NO_PLACE_RETRY_AFTER = 60.0
#: How much longer than its delay a job keeps its place. Seconds.
_LATE = 10.0
#: Three renewals in one TTL, so that two of them may fail.
RENEWALS_PER_TTL = 3

_RENEWING = "Slots could not be renewed"
_CONNECTIONS, _DOWNLOADS, _USER, _TOTAL = "connections", "downloads", "user", "total"
#: The resource of all downloads.
_ALL = f"{_TOTAL}:downloads"
#: The codes of refusals, by the kind of the resource.
_CODES = {_CONNECTIONS: HOST_BUSY, _DOWNLOADS: HOST_BUSY, _USER: USER_BUSY, _TOTAL: TOTAL_BUSY}

_RANKS = {priority: rank for rank, priority in enumerate(Priority)}

#: A resource, and the job that holds slots of it or has a place in its line.
_Holding = tuple[str, str]


def order_of(priority: Priority, job_id: str) -> str:
    """Return the place of a job among others that wait: those with lower ones come first."""
    return f"{_RANKS[priority]}{job_id}"


class HeldSlots:
    """The slots of one job at one host.

    Attributes:
        job_id: the holder.
        host: the host.
        requests: what was acquired; a slot of all downloads is added when they get a limit.
        called: for how many jobs that wait in SQL a slot was found free.
    """

    def __init__(
        self, manager: SlotManager, job_id: str, host: str, requests: Sequence[SlotRequest]
    ) -> None:
        self._manager = manager
        self.called = 0
        self.job_id = job_id
        self.host = host
        self.requests = tuple(requests)

    def connections_flow(self, want: int) -> Flow[int]:
        """Hold `want` connection slots; return how many there are, at least 1.

        Fewer are always granted, more only as far as slots are free. Without an answer from the store
        none is added.
        """
        return self._manager.connections_flow(self, max(1, want))


class SlotManager:
    """The slots that this process holds.

    Args:
        limits: where slots are kept.
        per_host_connections: connections to a host, by all workers. Here and below, 0 is no limit.
        per_host_downloads: downloads from a host.
        per_user_downloads: downloads of a user.
        total: how many downloads may run at once.
        ttl: seconds until the slots of a process that no longer renews them are free.

    Attributes:
        total: as the argument.
    """

    def __init__(
        self,
        limits: TransferLimits,
        *,
        per_host_connections: int,
        per_host_downloads: int = 0,
        per_user_downloads: int = 0,
        total: TotalLimit | None = None,
        ttl: float = ttls.SLOTS,
    ) -> None:
        self._limits = limits
        self._store = limits.store
        self._per_host_connections = per_host_connections
        self._per_host_downloads = per_host_downloads
        self._per_user_downloads = per_user_downloads
        self._ttl = ttl
        self.total = total or TotalLimit(limits)
        self.total.on_look(lambda _: self._count_running())
        self._mutex = threading.Lock()
        self._held: set[HeldSlots] = set()
        #: How many `HeldSlots` use a holding: an attempt may start here while the job's former one ends.
        self._needed: Counter[_Holding] = Counter()
        self._slots: dict[_Holding, SlotRequest] = {}
        self._outages = OutageLog(logger)
        self._thread = PeriodicThread("slot-renewal", self._renew, ttl / RENEWALS_PER_TTL)

    def acquire_flow(
        self,
        job_id: str,
        host: str,
        user_id: str | None = None,
        priority: Priority = Priority.NORMAL,
    ) -> Flow[HeldSlots]:
        """Acquire what a job needs for one connection to a host, once for each attempt.

        Attempts acquire slots at the host of the job's URL alone: requests to a host of a redirect or a
        mirror use them, too.

        Raises:
            HostBusyError: the host has a cooldown, no slot is free, or others have waited longer.
                Nothing is held, but perhaps a place in a line (`wait`): try again several times a
                second, or `keep_place_flow`, or `leave_flow`.
            StoreUnavailableError: the store does not answer; slots it may have granted expire.
            InvalidInputError: `host` is empty or longer than any host.
        """
        host = plain_host(host)
        most = yield from self.total.read_flow()
        held = HeldSlots(self, job_id, host, self._required_slots(host, user_id, most))
        if held.requests:
            self._thread.start()  # first: without it, no slots are acquired
        with self._mutex:
            missing = [one for one in held.requests if (one.resource, job_id) not in self._slots]
        decision = yield from TransferLimits.acquire_slots.flow(
            self._limits, host, job_id, missing, self._ttl, rank=_RANKS[priority]
        )
        if decision.cooldown is not None:
            raise _cooling(host, decision.cooldown)
        if not decision.granted:
            raise _refusal(decision, job_id, host)
        held.called = decision.called
        with self._mutex:
            self._held.add(held)
            for one in held.requests:
                self._needed[one.resource, job_id] += 1
                self._slots.setdefault((one.resource, job_id), one)
        return held

    def connections_flow(self, held: HeldSlots, want: int) -> Flow[int]:
        """See `HeldSlots.connections_flow`."""
        if not self._per_host_connections:
            return want
        holding = _connections_of(held)
        with self._mutex:
            request = self._slots.get(holding)
        if request is None or request.want == want:
            return 1 if request is None else want
        try:
            slots = yield from self._take(holding, request._replace(want=want))
        except StoreError as error:
            logger.warning("Job %s gets no further connections: %s", held.job_id, error)
            return min(want, request.want)
        yield from self._record(holding, request, slots.granted)
        return max(1, slots.granted)

    def release_flow(self, held: HeldSlots) -> Flow[None]:
        """Release all, if not done before. Do so before the job's lock is released."""
        with self._mutex:
            if held not in self._held:
                return
            self._held.remove(held)
            holdings = [(one.resource, held.job_id) for one in held.requests]
            self._needed.subtract(holdings)
            done = [holding for holding in holdings if not self._needed[holding]]
            for holding in done:
                del self._needed[holding], self._slots[holding]
        try:
            yield from TransferLimits.release_slots.flow(self._limits, done)
        except StoreError as error:
            logger.warning("The slots of job %s expire by themselves: %s", held.job_id, error)

    def keep_place_flow(self, place: _Holding, seconds: float) -> Flow[None]:
        """Keep a job's place in a line while it waits in SQL for some seconds."""
        try:
            yield from TransferLimits.keep_place.flow(self._limits, *place, seconds + _LATE)
        except StoreError as error:
            logger.warning("Job %s loses its place in a line: %s", place[1], error)

    def leave_flow(self, place: _Holding) -> Flow[None]:
        """Give up a job's place in a line."""
        try:
            yield from TransferLimits.release_slots.flow(self._limits, [place])
        except StoreError as error:
            logger.warning("The place of job %s in a line lapses: %s", place[1], error)

    def cool_down_flow(self, host: str, seconds: float, reason: str) -> Flow[None]:
        """Start a cooldown of a host, for all workers. Without the store only this job waits."""
        try:
            yield from TransferLimits.start_cooldown.flow(
                self._limits, plain_host(host), seconds, reason
            )
        except StoreError as error:
            logger.warning("The cooldown of %s holds for this job only: %s", host, error)

    def renew_all(self) -> None:
        """Renew every slot of this process once; acquire again those that the store has lost.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        with self._mutex:
            slots = dict(self._slots)
        counts = self._limits.renew_slots(list(slots), self._ttl)
        lost = [
            self._reacquire(holding, request)
            for (holding, request), renewed in zip(slots.items(), counts, strict=True)
            if renewed != request.want
        ]
        self._store.run(gather(*lost))

    def close(self) -> None:
        """Stop the threads; slots still held expire by themselves."""
        self.total.close()
        self._thread.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _required_slots(self, host: str, user_id: str | None, most: int) -> list[SlotRequest]:
        requests = [
            SlotRequest(f"{_CONNECTIONS}:{host}", 1, self._per_host_connections),
            SlotRequest(f"{_DOWNLOADS}:{host}", 1, self._per_host_downloads),
        ]
        if user_id:
            requests.append(SlotRequest(f"{_USER}:{user_id}", 1, self._per_user_downloads))
        requests.append(SlotRequest(_ALL, 1, most))
        return [one for one in requests if one.limit]

    def _count_running(self) -> None:
        """While all downloads have a limit: give those that began without one a slot, also beyond it."""
        if not self.total.value:
            return
        slot = SlotRequest(_ALL, 1, MAX_SLOTS)
        with self._mutex:
            uncounted = [
                held for held in self._held if all(one.resource != _ALL for one in held.requests)
            ]
            for held in uncounted:
                held.requests += (slot,)
                self._needed[_ALL, held.job_id] += 1
                self._slots.setdefault((_ALL, held.job_id), slot)
        if not uncounted:
            return
        self._thread.start()
        try:
            self._store.run(
                gather(*(self._reacquire((_ALL, one.job_id), slot) for one in uncounted))
            )
        except StoreError as error:
            logger.warning(
                "%d downloads are counted at the next renewal: %s", len(uncounted), error
            )

    def _renew(self) -> None:
        try:
            self.renew_all()
        except StoreError as error:
            self._outages.record_failure(_RENEWING, error)
        else:
            self._outages.record_success(_RENEWING)

    def _reacquire(self, holding: _Holding, request: SlotRequest) -> Flow[None]:
        """Acquire slots again that expired or that the store lost: the job still uses them.

        If other jobs have them now, this one gets fewer at its next `connections_flow`.
        """
        with self._mutex:
            if self._slots.get(holding) is not request:
                return
        slots = yield from self._take(holding, request)
        yield from self._record(holding, request, slots.granted)

    def _take(self, holding: _Holding, request: SlotRequest) -> Flow[Slots]:
        resource, job_id = holding
        return TransferLimits.take_slots.flow(
            self._limits, resource, job_id, request.want, request.limit, self._ttl
        )

    def _record(self, holding: _Holding, request: SlotRequest, granted: int) -> Flow[None]:
        """Record how many slots a job holds; if it has released its slots since, release these, too."""
        with self._mutex:
            is_released = holding not in self._slots
            if self._slots.get(holding) is request:
                self._slots[holding] = request._replace(want=max(1, granted))
        if is_released:
            yield from TransferLimits.release_slots.flow(self._limits, [holding])


def _connections_of(held: HeldSlots) -> _Holding:
    return f"{_CONNECTIONS}:{held.host}", held.job_id


def _cooling(host: str, cooldown: Cooldown) -> HostBusyError:
    seconds, reason = cooldown
    return HostBusyError(
        f"waiting for {host}: its cooldown ends in {seconds:.0f} s ({reason}).",
        code="host_cooling",
        retry_after=seconds,
    )


def _refusal(decision: SlotDecision, job_id: str, host: str) -> HostBusyError:
    assert decision.full is not None
    request, used = decision.full
    kind = request.resource.partition(":")[0]
    mean = BUSY_RETRY_AFTER if decision.has_place else NO_PLACE_RETRY_AFTER
    refusal = HostBusyError(
        _reason(kind, host, request.limit, used),
        code=_CODES[kind],
        retry_after=mean * random.uniform(0.5, 1.5),  # noqa: S311 - not used for security
    )
    place = (request.resource, job_id) if decision.has_place else None
    refusal.wait = SlotWait(place, decision.unchanged, decision.called)
    return refusal


def _reason(kind: str, host: str, limit: int, used: int) -> str:
    # Reasons are logged, so they do not name users.
    where, what, setting = {
        _CONNECTIONS: (f" at {host}", "connections are open", "SEEN_HOST_CONNECTIONS"),
        _DOWNLOADS: (f" at {host}", "downloads are running", "SEEN_HOST_DOWNLOADS"),
        _USER: ("", "downloads of its user are running", "SEEN_USER_DOWNLOADS"),
        _TOTAL: (
            "",
            "downloads are running in all",
            "SEEN_MAX_DOWNLOADS or `seen limit --downloads`",
        ),
    }[kind]
    state = f"{used} of {limit} {what}" if used >= limit else "other jobs have waited longer"
    return f"waiting for a slot{where}: {state}. {setting} sets the limit."
