"""Rate limits: of requests by user, and of failed sign-ins by address.

Both are open without the store: a limit protects the service from load, and keys have too many bits to
be guessed at any rate (docs/adr/0081-accounts-and-permissions.md).
"""

from __future__ import annotations

import ipaddress
import logging

from cache.models import RateDecision
from domain.access import Principal
from domain.errors import RateLimitedError
from tasks.api.accounts.parts import AccountRuntime
from worker.metrics.catalog import RATE_LIMITED, SIGN_IN_FAILURES

logger = logging.getLogger(__name__)

_MINUTE = 60.0
#: Bits of an IPv6 address that one network has in common: who has one address has them all.
_IPV6_NETWORK = 64


def limit_requests(
    principal: Principal, *, runtime: AccountRuntime, cost: int = 1
) -> RateDecision | None:
    """Count a request of a user; return the state of its limit, for headers; None without limit.

    Args:
        principal: who makes it.
        runtime: of this process.
        cost: units to take; 0 only reads.

    Raises:
        RateLimitedError: it has made too many in the last minute; this one is not counted.
    """
    limit = runtime.settings.user_requests
    if principal.user_id is None or not limit:
        return None
    sessions = runtime.cache.session
    decision = sessions.rate_limit_check(
        principal.user_id, "requests", limit, _MINUTE, cost=cost, fail="open"
    )
    if not decision.allowed:
        runtime.instruments.count(RATE_LIMITED, "requests")
        raise RateLimitedError(
            f"More than {limit:,} requests in a minute. Repeat this one later.",
            retry_after=decision.retry_after,
        )
    return decision


def count_failure(address: str | None, reason: str, *, runtime: AccountRuntime) -> None:
    """Count and log a failed sign-in.

    Args:
        address: that it came from, as the server has it.
        reason: for the log; it holds no secret.
        runtime: of this process.

    Raises:
        RateLimitedError: there were too many from this address in the last minute; nothing is logged.
    """
    runtime.instruments.count(SIGN_IN_FAILURES)
    network, limit = network_of(address), runtime.settings.address_failures
    decision = runtime.cache.session.rate_limit_check(
        f"address:{network}", "sign-in", limit, _MINUTE, fail="open"
    )
    if not decision.allowed:
        runtime.instruments.count(RATE_LIMITED, "sign_in")
        raise RateLimitedError(
            "Too many failed sign-ins from this address. Repeat this one later.",
            retry_after=decision.retry_after,
        )
    logger.warning("A sign-in from %s failed: %s", network, reason)
    if decision.states and not decision.states[0].remaining:
        logger.warning("Further failed sign-ins from %s are refused for a while, unlogged", network)


def network_of(address: str | None) -> str:
    """Return the part of an address that one person has: an IPv4 address, or an IPv6 network."""
    try:
        found = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return "an unknown address"
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((int(found), _IPV6_NETWORK), strict=False))
    return str(found)
