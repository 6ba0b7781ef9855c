"""Rate limits of calls by a sliding log: exact in every interval, with one round trip and one key.

It costs about 11 bytes for each unit of the limit (docs/adr/0032-rate-limits-keep-a-log.md).
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

#: The decision while the store does not answer: allow all calls ("open") or none ("closed").
FailMode = Literal["open", "closed"]


def check(key: str, limits: Sequence[RateLimit], cost: int, fail: FailMode) -> Flow[RateDecision]:
    """Take `cost` from all `limits`, or from none; see `lua/rate_limit.lua`."""
    limits = [arguments.instance("limits", one, RateLimit) for one in _several(limits)]
    smallest = min(limit.limit for limit in limits)
    try:
        cost = arguments.integer("cost", cost, most=smallest)
    except InvalidInputError as error:
        problem = f"It must be an integer from 0 to the smallest limit, {smallest}."
        raise InvalidInputError(error.field, cost, problem) from None
    arguments.choice("fail", fail, ("open", "closed"))
    pairs = [
        number for limit in limits for number in (limit.limit, round(limit.window * 1_000_000))
    ]
    try:
        # Not retried: a retry could take the cost twice.
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
        raise InvalidInputError("limits", limits, "At least one limit is required.")
    return found


def _decision(limits: Sequence[RateLimit], reply: Sequence[int]) -> RateDecision:
    states, wait = [], 0
    for limit, at in zip(limits, range(1, len(reply), 3), strict=True):
        used, its_wait, reset = reply[at : at + 3]
        wait = max(wait, its_wait)
        # `used` exceeds the limit after the limit was lowered.
        remaining = max(0, limit.limit - used)
        states.append(
            RateState(
                limit=limit.limit, window=limit.window, remaining=remaining, reset=reset / 1e6
            )
        )
    return RateDecision(allowed=reply[0] == 1, retry_after=wait / 1e6, states=tuple(states))
