"""The arithmetic of sharing a limited rate: max-min fairness, in a process and among them.

Nobody gets less than an equal part but who wants less, and what they leave goes to the others in equal
parts. A transfer is *hungry* for a rate that holds it back, else *satisfied* with what it uses.
Pure functions; everything is in bytes a second.
"""

from __future__ import annotations

from collections.abc import Iterable

from cache.coordination.limit_models import Demand

#: A transfer that uses this part of what it may is held back by it.
HUNGRY_FROM = 0.9
#: A satisfied transfer may grow this much at once, so that it can show that it wants more…
HEADROOM = 1.25
#: …and begin to move from nothing.
FIRST_STEP = 16 * 1024


def share(limit: float, own: Demand, everybody: Demand) -> float:
    """Return what one process may use of a limit; the shares of all processes add up to it.

    What its satisfied transfers use, and its hungry ones' part of what all the satisfied ones leave.

    Args:
        own: the process's demand.
        everybody: the demand of all processes, this one's in it.
    """
    if not own.transfers:
        return 0.0
    left = limit - everybody.satisfied
    if left <= 0:
        if everybody.hungry:
            return limit * own.transfers / everybody.transfers
        return limit * own.satisfied / everybody.satisfied
    if everybody.hungry:
        return own.satisfied + left * own.hungry / everybody.hungry
    return own.satisfied + left * own.transfers / everybody.transfers


def fair_level(limit: float, everybody: Demand) -> float:
    """Return the rate that no transfer of any process may pass.

    It is never less than an equal part, whatever some are thought to be satisfied with; and the limit
    itself where all are satisfied: then shares alone see to it that they do not pass it.
    """
    if not everybody.hungry:
        return limit
    left = limit - everybody.satisfied
    return max(limit / everybody.transfers, left / everybody.hungry)


def water_level(available: float, uses: Iterable[float], hungry: int) -> float:
    """Return the rate at which transfers fill what is available, each up to what it wants.

    Args:
        uses: what satisfied transfers want.
        hungry: how many want more than they could get. Without any, what nobody wants is on top.
    """
    left, wants = available, sorted(uses)
    for place, want in enumerate(wants):
        above = len(wants) - place + hungry
        if want > left / above:
            return left / above
        left -= want
    return left / hungry if hungry else (wants[-1] if wants else 0.0) + left


def growth(use: float) -> float:
    """Return what a satisfied transfer that uses `use` may use next."""
    return use * HEADROOM + FIRST_STEP
