"""The arithmetic of max-min fairness, within a process and among processes.

A limited rate is divided into equal parts; what a transfer does not use of its part goes to the others.
A transfer is *constrained* by a rate that holds it back, else *unconstrained*, and then it has a use.
Pure functions; all numbers are bytes per second.
"""

from __future__ import annotations

from collections.abc import Iterable

from cache.coordination.limit_models import Demand

#: A transfer that uses this part of its rate is constrained by it.
CONSTRAINED_FROM = 0.9
#: Each update lets an unconstrained transfer grow by this factor, so that a growing need shows.
HEADROOM = 1.25
#: Each update adds this, so that a transfer without bytes can start. Bytes per second.
FIRST_STEP = 16 * 1024


def share(limit: float, own: Demand, total: Demand) -> float:
    """Return what one process may use of a limit; the shares of all processes add up to it.

    It is what its unconstrained transfers use, and an equal part of the remainder for each of its
    constrained ones.

    Args:
        own: the demand of the process.
        total: the demand of all processes, this one included.
    """
    if not own.transfers:
        return 0.0
    left = limit - total.unconstrained
    if left <= 0:
        if total.constrained:
            return limit * own.transfers / total.transfers
        return limit * own.unconstrained / total.unconstrained
    if total.constrained:
        return own.unconstrained + left * own.constrained / total.constrained
    return own.unconstrained + left * own.transfers / total.transfers


def fair_level(limit: float, total: Demand) -> float:
    """Return the rate that no transfer of any process may exceed.

    At least an equal part, whatever the others use. Without constrained transfers it is the limit: the
    shares keep the sum below it.
    """
    if not total.constrained:
        return limit
    left = limit - total.unconstrained
    return max(limit / total.transfers, left / total.constrained)


def water_level(available: float, uses: Iterable[float], constrained: int) -> float:
    """Return the rate at which transfers use all that is available, each up to its need (water-filling).

    Args:
        uses: what unconstrained transfers use.
        constrained: how many need more than they can get. Without any, the rest is added on top.
    """
    left, needs = available, sorted(uses)
    for index, need in enumerate(needs):
        above = len(needs) - index + constrained
        if need > left / above:
            return left / above
        left -= need
    return left / constrained if constrained else (needs[-1] if needs else 0.0) + left


def growth(use: float) -> float:
    """Return the rate for an unconstrained transfer that uses `use`."""
    return use * HEADROOM + FIRST_STEP
