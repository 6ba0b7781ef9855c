"""The arithmetic of sharing a limited rate: max-min fairness, in processes and among them.

Nobody gets less than an equal share but who wants less, and what they leave goes to the others in equal
parts. A transfer is *hungry* for a rate that holds it back, else *satisfied* with what it uses.
Pure functions; everything is in bytes a second.
"""

from __future__ import annotations

from cache.limit_models import Demand

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
        return limit * own.transfers / everybody.transfers
    if everybody.hungry:
        return own.satisfied + left * own.hungry / everybody.hungry
    return own.satisfied + left * own.transfers / everybody.transfers


def level(available: float, demand: Demand) -> float:
    """Return the rate that no transfer may pass, so that together they use what is available.

    It is never less than an equal part, whatever some are thought to be satisfied with.
    """
    equal = available / max(1, demand.transfers)
    return max(equal, (available - demand.satisfied) / max(1, demand.hungry))


def growth(use: float) -> float:
    """Return what a satisfied transfer that uses `use` may use next."""
    return use * HEADROOM + FIRST_STEP
