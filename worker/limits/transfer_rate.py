"""The rate of one transfer: its count of bytes, and the rate it may have; and how a rate is divided.

A transfer is bound by the least of three rates: its job's own, its part of its host's, its part of the
total. Which of them holds it back decides where it counts as constrained, see
`worker.limits.max_min_fairness`.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from cache.coordination.limit_models import Demand
from domain.limits import TOTAL, host_scope, job_scope, plain_host
from worker.limits.max_min_fairness import CONSTRAINED_FROM, FIRST_STEP, growth, water_level

#: Looks over which use is measured: bytes come in bursts.
WINDOW = 4
#: Looks after which a transfer may count as unconstrained; before, it has hardly begun.
GRACE = 2


class Share(NamedTuple):
    """What one process has of a limited rate, in bytes a second."""

    available: float
    """What its transfers may use together."""
    level: float
    """What none of them may pass, as none of any other process."""


class _Allotment(NamedTuple):
    """What a transfer may take of a limited rate."""

    level: float
    water: float
    """The rate at which the process's transfers fill its share."""


class TransferRate:
    """One transfer's count of bytes, and the rate it may have. Used by one transfer thread.

    Attributes:
        rate: bytes a second it may take now, None for as fast as it can. Another thread sets it at any
            time: read it anew whenever you ask yourself how long to wait.
        use: bytes a second it has taken lately; measured only under a limit.
        scopes: the scopes whose rates it shares with other transfers.
    """

    def __init__(self, job_id: str, host: str) -> None:
        self.job_id = job_id
        self.rate: float | None = None
        self.use = 0.0
        self.host = host
        self._job_scope = job_scope(job_id)
        self._bytes = 0
        #: (when, bytes until then, bytes it might have taken until then), the oldest first.
        self._marks: deque[tuple[float, int, float]] = deque(maxlen=WINDOW + 1)
        self._is_constrained = True
        #: The scope whose rate holds it back, as far as that is known.
        self._held_by: str | None = None

    @property
    def host(self) -> str:
        """Where the bytes come from; set it when a redirect leads elsewhere."""
        return self._host

    @host.setter
    def host(self, host: str) -> None:
        self._host = plain_host(host)
        self.scopes = (TOTAL, host_scope(self._host))

    def count(self, size: int) -> None:
        """Add bytes that have come."""
        self._bytes += size

    # ── the rate controller's side ───────────────

    def measure(self, now: float) -> None:
        """Note what has come since the last look, and judge whether its rate holds it back."""
        rate = self.rate
        if rate is None:
            # What it would take under a limit is not known.
            self._marks.clear()
            self.use, self._is_constrained, self._held_by = 0.0, True, None
            return
        might = 0.0
        if self._marks:
            when, _, before = self._marks[-1]
            might = before + rate * (now - when)
        self._marks.append((now, self._bytes, might))
        begun, size_then, _ = self._marks[0]
        if now > begun:
            self.use = (self._marks[-1][1] - size_then) / (now - begun)
        if len(self._marks) > GRACE:
            # The last look by itself, too: one that moves again is to have its part at once.
            self._is_constrained = self._used_all_since(0) or self._used_all_since(-2)

    def is_constrained_by(self, scope: str) -> bool:
        """Say whether it would take more of this scope's rate, if it might."""
        return self._is_constrained and self._held_by in {None, scope}

    def unconstrained_use(self, scope: str) -> float | None:
        """Return what it will use of a scope's rate; None when that is as much as it may."""
        if not self._is_constrained:
            return self.use
        # Another scope holds it back, to what it may have there: its use may lag behind that.
        return None if self.is_constrained_by(scope) else self.rate

    def allow(self, parts: Mapping[str, _Allotment], own: float) -> None:
        """Set its rate to the least of what its scopes and its own job (`own`) allow."""
        rate, held_by = own, self._job_scope
        for scope in self.scopes:
            part = parts.get(scope)
            if part is None:
                continue
            unconstrained_use = self.unconstrained_use(scope)
            within = unconstrained_use is not None and unconstrained_use <= part.water
            allowed = part.level if within else min(part)
            if allowed < rate:
                rate, held_by = allowed, scope
        if rate == math.inf:
            self.rate = None
            return
        self._held_by = held_by
        self.rate = rate if self._is_constrained else min(rate, growth(self.use))

    def _used_all_since(self, place: int) -> bool:
        _, size, might = self._marks[-1]
        _, size_then, might_then = self._marks[place]
        return size - size_then >= CONSTRAINED_FROM * (might - might_then)


def demands_of(rates: Iterable[TransferRate], limits: Mapping[str, int]) -> dict[str, Demand]:
    """Return what transfers demand of each limited rate that they share."""
    return {scope: _demand(scope, some) for scope, some in _by_scope(rates, limits).items()}


def assign_rates(
    rates: Collection[TransferRate], limits: Mapping[str, int], shares: Mapping[str, Share]
) -> None:
    """Set the rate of each transfer of a process.

    Args:
        limits: bytes a second by scope, those of jobs among them.
        shares: what the process has of each; where that is not known yet, transfers begin slowly.
    """
    parts = {}
    for scope, some in _by_scope(rates, limits).items():
        unknown = Share(min(FIRST_STEP, limits[scope]), limits[scope])
        available, level = shares.get(scope, unknown)
        unconstrained = _unconstrained_use(scope, some)
        # A byte more: demands are told in whole ones, and a rounded share is to hold nobody back.
        water = water_level(available + 1, unconstrained, len(some) - len(unconstrained))
        parts[scope] = _Allotment(level, water)
    for rate in rates:
        rate.allow(parts, limits.get(job_scope(rate.job_id), math.inf))


def _by_scope(
    rates: Iterable[TransferRate], limits: Mapping[str, int]
) -> dict[str, list[TransferRate]]:
    found: dict[str, list[TransferRate]] = defaultdict(list)
    for rate in rates:
        for scope in rate.scopes:
            if scope in limits:
                found[scope].append(rate)
    return found


def _unconstrained_use(scope: str, rates: Iterable[TransferRate]) -> list[float]:
    """Return what those use that would not take more of a scope's rate."""
    unconstrained_use = (rate.unconstrained_use(scope) for rate in rates)
    return [use for use in unconstrained_use if use is not None]


def _demand(scope: str, rates: Collection[TransferRate]) -> Demand:
    unconstrained = _unconstrained_use(scope, rates)
    return Demand(
        transfers=len(rates),
        constrained=len(rates) - len(unconstrained),
        unconstrained=round(sum(unconstrained)),
        used=round(sum(rate.use for rate in rates)),
    )
