"""The arithmetic of sharing a limited rate: max-min fairness, in a process and among them.

Nobody gets less than an equal part but who wants less, and what they leave goes to the others in equal
parts. A transfer is *constrained* for a rate that holds it back, else *unconstrained* with what it uses.
Pure functions; everything is in bytes a second.
"""

from __future__ import annotations

from collections.abc import Iterable

from cache.coordination.limit_models import Demand

#: A transfer that uses this part of what it may is held back by it.
CONSTRAINED_FROM = 0.9
#: A unconstrained transfer may grow this much at once, so that it can show that it wants more…
HEADROOM = 1.25
#: …and begin to move from nothing.
FIRST_STEP = 16 * 1024


def share(limit: float, own: Demand, total: Demand) -> float:
    """Return what one process may use of a limit; the shares of all processes add up to it.

    The use of its unconstrained transfers, and its constrained ones' part of what those of all leave.

    Args:
        own: the process's demand.
        total: the demand of all processes, this one's in it.
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
    """Return the rate that no transfer of any process may pass.

    It is never less than an equal part, however much some seem to need; and the limit
    itself where all are unconstrained: then shares alone see to it that they do not pass it.
    """
    if not total.constrained:
        return limit
    left = limit - total.unconstrained
    return max(limit / total.transfers, left / total.constrained)


def water_level(available: float, uses: Iterable[float], constrained: int) -> float:
    """Return the rate at which transfers fill what is available, each up to what it wants.

    Args:
        uses: what unconstrained transfers want.
        constrained: how many want more than they could get. Without any, what nobody wants is on top.
    """
    left, wants = available, sorted(uses)
    for place, want in enumerate(wants):
        above = len(wants) - place + constrained
        if want > left / above:
            return left / above
        left -= want
    return left / constrained if constrained else (wants[-1] if wants else 0.0) + left


def growth(use: float) -> float:
    """Return what a unconstrained transfer that uses `use` may use next."""
    return use * HEADROOM + FIRST_STEP
