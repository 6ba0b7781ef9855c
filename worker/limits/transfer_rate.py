"""The rate of one transfer: counts its bytes, and holds the rate it may have.

Three rates limit a transfer: its job's own, its part of its host's and its part of the total. Only the
lowest of the three constrains it (`worker.limits.max_min_fairness`).
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from cache.coordination.limit_models import Demand
from domain.limits import TOTAL, host_scope, job_scope, plain_host
from worker.limits.max_min_fairness import CONSTRAINED_FROM, FIRST_STEP, growth, water_level

#: Measurements over which the use is averaged: bytes come in bursts.
WINDOW = 4
#: Measurements before a transfer may count as unconstrained.
GRACE = 2


class Share(NamedTuple):
    """What one process has of a limited rate. Bytes per second."""

    available: float
    """What its transfers may use together."""
    level: float
    """What no transfer of any process may exceed."""


class _Allotment(NamedTuple):
    """What one transfer may use of a limited rate. Bytes per second."""

    level: float
    water: float
    """The rate at which the process's transfers together use up its share (`water_level`)."""


class _Sample(NamedTuple):
    at: float
    received: int
    """Bytes received until then."""
    allowed: float
    """Bytes that its rate allowed until then."""


class TransferRate:
    """One transfer's byte count, and its rate. Used by the transfer's thread and the rate controller.

    Attributes:
        rate: bytes per second it may receive now; None for unlimited. The controller sets it at any
            time, so read it again before each wait.
        use: bytes per second it has received lately; measured only while it has a rate.
        own_limit: bytes per second that came with its job; None for no such limit.
        scopes: the scopes that it shares with other transfers.
        job_scope: its own.
    """

    def __init__(self, job_id: str, host: str, own_limit: int | None = None) -> None:
        self.job_id = job_id
        self.own_limit = own_limit
        self.rate: float | None = None
        self.use = 0.0
        self.host = host
        self.job_scope = job_scope(job_id)
        self._bytes = 0
        self._samples: deque[_Sample] = deque(maxlen=WINDOW + 1)
        self._is_constrained = True
        #: The scope that constrains it; None while unknown.
        self._constrained_by: str | None = None

    @property
    def host(self) -> str:
        """The host whose limit applies: that of the job's URL, also after a redirect or on a mirror."""
        return self._host

    @host.setter
    def host(self, host: str) -> None:
        self._host = plain_host(host)
        self.scopes = (TOTAL, host_scope(self._host))

    def count(self, size: int) -> None:
        """Add bytes received."""
        self._bytes += size

    # ── called by the rate controller ───────────────────────────────────────────────────────────

    def measure(self, now: float) -> None:
        """Take a sample, and decide whether the rate constrains the transfer."""
        rate = self.rate
        if rate is None:
            # Nothing shows what it would use under a limit.
            self._samples.clear()
            self.use, self._is_constrained, self._constrained_by = 0.0, True, None
            return
        allowed = 0.0
        if self._samples:
            last = self._samples[-1]
            allowed = last.allowed + rate * (now - last.at)
        self._samples.append(_Sample(now, self._bytes, allowed))
        oldest = self._samples[0]
        if now > oldest.at:
            self.use = (self._samples[-1].received - oldest.received) / (now - oldest.at)
        if len(self._samples) > GRACE:
            # The last interval alone suffices: a transfer that moves again gets its part at once.
            self._is_constrained = self._used_all_since(0) or self._used_all_since(-2)

    def is_constrained_by(self, scope: str) -> bool:
        """Return whether it would use more of this scope's rate."""
        return self._is_constrained and self._constrained_by in {None, scope}

    def unconstrained_use(self, scope: str) -> float | None:
        """Return its use of a scope's rate; None when that scope constrains it."""
        if not self._is_constrained:
            return self.use
        # If another scope constrains it, it will use all that that one allows; its measured use may lag.
        return None if self.is_constrained_by(scope) else self.rate

    def allow(self, allotments: Mapping[str, _Allotment], own: float) -> None:
        """Set its rate to the lowest of what its scopes and its own job (`own`) allow."""
        rate, constrained_by = own, self.job_scope
        for scope in self.scopes:
            allotment = allotments.get(scope)
            if allotment is None:
                continue
            use = self.unconstrained_use(scope)
            fits = use is not None and use <= allotment.water
            allowed = allotment.level if fits else min(allotment)
            if allowed < rate:
                rate, constrained_by = allowed, scope
        if rate == math.inf:
            self.rate = None
            return
        self._constrained_by = constrained_by
        self.rate = rate if self._is_constrained else min(rate, growth(self.use))

    def _used_all_since(self, index: int) -> bool:
        first, last = self._samples[index], self._samples[-1]
        received, allowed = last.received - first.received, last.allowed - first.allowed
        return received >= CONSTRAINED_FROM * allowed


def demands_of(transfers: Iterable[TransferRate], limits: Mapping[str, int]) -> dict[str, Demand]:
    """Return the demand of transfers for each limited rate that they share."""
    return {scope: _demand(scope, some) for scope, some in _by_scope(transfers, limits).items()}


def assign_rates(
    transfers: Collection[TransferRate], limits: Mapping[str, int], shares: Mapping[str, Share]
) -> None:
    """Set the rate of each transfer of a process.

    Args:
        transfers: all of the process.
        limits: bytes per second by scope, those of jobs included.
        shares: the process's share of each limit; while one is unknown, transfers start slowly.
    """
    allotments = {}
    for scope, some in _by_scope(transfers, limits).items():
        available, level = _share(scope, limits, shares)
        uses = _unconstrained_uses(scope, some)
        # Demands are rounded to whole numbers: add a byte, so that rounding constrains nothing.
        water = water_level(available + 1, uses, len(some) - len(uses))
        allotments[scope] = _Allotment(level, water)
    for transfer in transfers:
        transfer.allow(allotments, _own_limit(transfer, limits))


def admit(
    transfer: TransferRate, count: int, limits: Mapping[str, int], shares: Mapping[str, Share]
) -> None:
    """Set the rate of one transfer alone, the newest of `count`: half of an equal part.

    The others keep theirs until the next `assign_rates`; until then all may exceed the limits a little.
    """
    allotments = {}
    for scope in transfer.scopes:
        if scope in limits:
            available, level = _share(scope, limits, shares)
            allotments[scope] = _Allotment(level, available / (2 * count))
    transfer.allow(allotments, _own_limit(transfer, limits))


def _share(scope: str, limits: Mapping[str, int], shares: Mapping[str, Share]) -> Share:
    """Return the process's share of a limit; of an unknown one a small part."""
    found = shares.get(scope)
    return found or Share(min(FIRST_STEP, limits[scope]), limits[scope])


def _own_limit(transfer: TransferRate, limits: Mapping[str, int]) -> float:
    own = limits.get(transfer.job_scope, transfer.own_limit)
    return math.inf if own is None else own


def _by_scope(
    transfers: Iterable[TransferRate], limits: Mapping[str, int]
) -> dict[str, list[TransferRate]]:
    found: dict[str, list[TransferRate]] = defaultdict(list)
    for transfer in transfers:
        for scope in transfer.scopes:
            if scope in limits:
                found[scope].append(transfer)
    return found


def _unconstrained_uses(scope: str, transfers: Iterable[TransferRate]) -> list[float]:
    uses = (transfer.unconstrained_use(scope) for transfer in transfers)
    return [use for use in uses if use is not None]


def _demand(scope: str, transfers: Collection[TransferRate]) -> Demand:
    uses = _unconstrained_uses(scope, transfers)
    return Demand(
        transfers=len(transfers),
        constrained=len(transfers) - len(uses),
        unconstrained=round(sum(uses)),
        used=round(sum(transfer.use for transfer in transfers)),
    )
