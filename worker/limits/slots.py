"""What a job needs before it may connect: slots of its host and its user, and a host left in peace.

A job takes all of them or none, a thread renews those of the whole process, and the job gives them back
when it leaves. One that gets none is told to wait, and holds no place of this worker meanwhile.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from cache import ttl as lives
from cache.coordination.limit_models import SlotDecision as Answer
from cache.coordination.limit_models import SlotRequest
from cache.coordination.transfer_limits import TransferLimits
from domain.errors import HostBusyError, StoreError
from domain.limits import plain_host
from worker.outages import OutageLog
from worker.periodic_thread import PeriodicThread

logger = logging.getLogger(__name__)

#: Seconds after which a job without slot asks again, on average: when one is free nobody can know.
BUSY_RETRY_AFTER = 5.0
#: Slots are renewed three times in their life, so that two renewals may fail.
RENEWALS_PER_TTL = 3

_RENEWING = "Slots could not be renewed"
_CONNECTIONS, _DOWNLOADS, _USER = "connections", "downloads", "user"


class HeldSlots:
    """One job's leave to connect to one host. As a context manager it leaves at the end.

    Attributes:
        job_id: whose it is.
        host: where to.
    """

    def __init__(
        self, manager: SlotManager, job_id: str, host: str, requests: Sequence[SlotRequest]
    ) -> None:
        self._manager = manager
        self.job_id = job_id
        self.host = host
        self.requests = tuple(requests)

    def connections(self, want: int) -> int:
        """Set how many connections the job has to its host; return how many it may have, 1 at least.

        They grow as far as there is room, and always shrink. A store that does not answer adds none.
        """
        return self._manager.set_connections(self, max(1, want))

    def release(self) -> None:
        """Give everything back. Do so before the job's lock is free. Twice does no harm."""
        self._manager.release(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


class SlotManager:
    """The manager of this process.

    Args:
        limits: where slots are kept.
        per_host_connections: connections to a host, by all workers; 0 for no limit, as with the others.
        per_host_downloads: downloads from a host.
        per_user_downloads: downloads of a user.
        ttl: life of slots in seconds, should this process say nothing any more.
    """

    def __init__(
        self,
        limits: TransferLimits,
        *,
        per_host_connections: int,
        per_host_downloads: int = 0,
        per_user_downloads: int = 0,
        ttl: float = lives.SLOTS,
    ) -> None:
        self._limits = limits
        self._per_host_connections = per_host_connections
        self._per_host_downloads = per_host_downloads
        self._per_user_downloads = per_user_downloads
        self._ttl = ttl
        self._mutex = threading.Lock()
        self._held: set[HeldSlots] = set()
        #: How many manager need one (resource, job): a job with mirrors has its user's slot once.
        self._needed: Counter[tuple[str, str]] = Counter()
        #: How many slots each of them stands for.
        self._slots: dict[tuple[str, str], SlotRequest] = {}
        self._outages = OutageLog(logger)
        self._thread = PeriodicThread("manager", self._renew, ttl / RENEWALS_PER_TTL)

    def acquire(self, job_id: str, host: str, user_id: str | None = None) -> HeldSlots:
        """Let a job connect to a host with one connection.

        A job that goes elsewhere (a redirect, a mirror) enters there, too; one held a job and host.

        Raises:
            HostBusyError: it has to wait; nothing is held.
            StoreUnavailableError: the store does not answer; what it may have granted expires by itself.
            InvalidInputError: `host` is empty or longer than any host.
        """
        host = plain_host(host)
        held = HeldSlots(self, job_id, host, self._required_slots(host, user_id))
        with self._mutex:
            missing = [one for one in held.requests if (one.resource, job_id) not in self._slots]
        answer = self._limits.acquire_slots(host, job_id, missing, self._ttl)
        if not answer.granted:
            raise _refusal(host, answer)
        with self._mutex:
            self._held.add(held)
            for one in held.requests:
                self._needed[one.resource, job_id] += 1
                self._slots.setdefault((one.resource, job_id), one)
            if self._slots:
                self._thread.start()
        return held

    def set_connections(self, held: HeldSlots, want: int) -> int:
        """Do what `HeldSlots.connections` promises."""
        if not self._per_host_connections:
            return want
        holding = (f"{_CONNECTIONS}:{held.host}", held.job_id)
        with self._mutex:
            request = self._slots.get(holding)
        if request is None or request.want == want:
            return 1 if request is None else want
        resource, job_id = holding
        try:
            slots = self._limits.take_slots(resource, job_id, want, request.limit, self._ttl)
        except StoreError as error:
            logger.warning("Job %s gets no further connections: %s", job_id, error)
            return min(want, request.want)
        self._note(holding, request, slots.granted)
        return max(1, slots.granted)

    def release(self, held: HeldSlots) -> None:
        """Do what `HeldSlots.release` promises."""
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
            self._limits.release_slots(done)
        except StoreError as error:
            logger.warning("The slots of job %s expire by themselves: %s", held.job_id, error)

    def cool_down(self, host: str, seconds: float, reason: str) -> None:
        """Keep every worker off a host for a while; without a store only this job knows."""
        try:
            self._limits.start_cooldown(plain_host(host), seconds, reason)
        except StoreError as error:
            logger.warning("Other workers are not told to leave %s alone: %s", host, error)

    def renew_all(self) -> None:
        """Renew every slot of this process once; those that the store has lost are taken again.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        with self._mutex:
            slots = dict(self._slots)
        answers = self._limits.renew_slots(list(slots), self._ttl)
        for (holding, request), renewed in zip(slots.items(), answers, strict=True):
            if renewed != request.want:
                self._reacquire(holding, request)

    def close(self) -> None:
        """Stop the thread; slots still held expire by themselves."""
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

    def _required_slots(self, host: str, user_id: str | None) -> list[SlotRequest]:
        wanted = [
            SlotRequest(f"{_CONNECTIONS}:{host}", 1, self._per_host_connections),
            SlotRequest(f"{_DOWNLOADS}:{host}", 1, self._per_host_downloads),
        ]
        if user_id:
            wanted.append(SlotRequest(f"{_USER}:{user_id}", 1, self._per_user_downloads))
        return [one for one in wanted if one.limit]

    def _renew(self) -> None:
        try:
            self.renew_all()
        except StoreError as error:
            self._outages.record_failure(_RENEWING, error)
        else:
            self._outages.record_success(_RENEWING)

    def _reacquire(self, holding: tuple[str, str], request: SlotRequest) -> None:
        """Take slots that expired or were lost with the store: the job goes on using them.

        Should they be gone to others meanwhile, the job finds out when it next asks for connections.
        """
        with self._mutex:
            if self._slots.get(holding) is not request:
                return
        resource, job_id = holding
        slots = self._limits.take_slots(resource, job_id, request.want, request.limit, self._ttl)
        self._note(holding, request, slots.granted)

    def _note(self, holding: tuple[str, str], request: SlotRequest, granted: int) -> None:
        """Remember what a job holds now; give back what came after it had left."""
        with self._mutex:
            left = holding not in self._slots
            if self._slots.get(holding) is request:
                self._slots[holding] = request._replace(want=max(1, granted))
        if left:
            self._limits.release_slots([holding])


def _refusal(host: str, answer: Answer) -> HostBusyError:
    if answer.cooldown is not None:
        seconds, reason = answer.cooldown
        return HostBusyError(
            f"waiting on host {host}: it is left alone for {seconds:.0f} s more ({reason}).",
            code="host_cooling",
            retry_after=seconds,
        )
    assert answer.full is not None
    request, used = answer.full
    count = f"{used} of {request.limit}"
    kind = request.resource.partition(":")[0]
    what = {
        _CONNECTIONS: f" {host}: {count} connections to it are taken. "
        "It goes on when one is free; SEEN_HOST_CONNECTIONS is their number.",
        _DOWNLOADS: f" {host}: {count} downloads from it are running. "
        "It goes on when one ends; SEEN_HOST_DOWNLOADS is their number.",
        # Not who: reasons stand in logs.
        _USER: f": {count} downloads of its user are running. "
        "It goes on when one ends; SEEN_USER_DOWNLOADS is their number.",
    }
    pause = BUSY_RETRY_AFTER * random.uniform(0.5, 1.5)  # noqa: S311 - no secret hangs on it
    return HostBusyError(
        f"waiting on host{what[kind]}",
        code="user_busy" if kind == _USER else "host_busy",
        retry_after=pause,
    )
