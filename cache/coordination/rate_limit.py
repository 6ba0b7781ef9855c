"""Rate limits: a sliding log, exact in every interval, one round trip and one key a check.

Why not GCRA or a counter a window: a counter lets twice the limit through around a window's edge, and
GCRA with a burst of the limit lets nearly twice through in some window's length. The log never lets
one too many through; it costs about 11 bytes a unit of the limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from cache import arguments
from cache.models import RateDecision, RateLimit, RateState
from cache.store import scripts
from cache.store.circuit_breaker import OPEN_SECONDS
from cache.store.flow import Flow
from domain.errors import InvalidInputError, StoreReplyError, StoreUnavailableError

#: Which way a limit fails when the store does not answer: everything is allowed, or nothing.
FailMode = Literal["open", "closed"]


def check(key: str, limits: Sequence[RateLimit], cost: int, fail: FailMode) -> Flow[RateDecision]:
    """Take `cost` from all of `limits` at once, or from none; see `lua/rate_limit.lua`."""
    limits = [arguments.instance("limits", one, RateLimit) for one in _several(limits)]
    smallest = min(limit.limit for limit in limits)
    try:
        cost = arguments.integer("cost", cost, most=smallest)
    except InvalidInputError as error:
        problem = f"It is a whole number, 0 to the smallest limit, {smallest}."
        raise InvalidInputError(error.field, cost, problem) from None
    arguments.choice("fail", fail, ("open", "closed"))
    pairs = [
        number for limit in limits for number in (limit.limit, round(limit.window * 1_000_000))
    ]
    try:
        # Once: taken twice for one request is wrong, too.
        reply = yield from scripts.run("rate_limit", key, cost, *pairs, once=True)
    except (StoreUnavailableError, StoreReplyError):
        allowed = fail == "open"
        return RateDecision(
            allowed=allowed, retry_after=0.0 if allowed else OPEN_SECONDS, states=()
        )
    return _decision(limits, reply)


def _several(limits: Sequence[RateLimit]) -> list[RateLimit]:
    found = arguments.items("limits", limits)
    if not found:
        raise InvalidInputError("limits", limits, "There is at least one.")
    return found


def _decision(limits: Sequence[RateLimit], reply: Sequence[int]) -> RateDecision:
    states, wait = [], 0
    for limit, at in zip(limits, range(1, len(reply), 3), strict=True):
        used, its_wait, reset = reply[at : at + 3]
        wait = max(wait, its_wait)
        # A limit may be smaller than it was when something was taken.
        remaining = max(0, limit.limit - used)
        states.append(
            RateState(
                limit=limit.limit, window=limit.window, remaining=remaining, reset=reset / 1e6
            )
        )
    return RateDecision(allowed=reply[0] == 1, retry_after=wait / 1e6, states=tuple(states))
