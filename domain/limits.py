"""What a rate may be limited for, and how its limit and a host are written."""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress

from domain.errors import InvalidInputError

#: Bytes a second; slower than this nothing would ever end.
MIN_RATE = 1024
MAX_RATE = 2**50

TOTAL = "total"

_HOST_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?")


def host_scope(host: str) -> str:
    """Return the scope of all transfers from one host."""
    return f"host:{plain_host(host)}"


def job_scope(job_id: str) -> str:
    """Return the scope of one job's transfer."""
    return f"job:{job_id}"


def plain_host(text: str) -> str:
    """Return a host's one spelling: lower case, IDNA, no brackets, no dot at its end.

    What is no host comes back nearly as it is: whoever connects to it finds that out.
    """
    host = text.removeprefix("[").removesuffix("]").rstrip(".").lower()
    with suppress(ValueError):
        if ":" in host:
            return str(ipaddress.IPv6Address(host))
        if not host.isascii():
            return host.encode("idna").decode()
    return host


def check_host(text: str) -> str:
    """Return a host's one spelling if it is a name or an address, else raise InvalidInputError."""
    host = plain_host(text)
    if not _HOST_NAME.fullmatch(host) and not _is_ipv6(host):
        raise InvalidInputError(
            "host", text, "It is a host name or an address, without scheme, port or path."
        )
    return host


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def check_rate(rate: int) -> int:
    """Return a limit in bytes a second if it is one, else raise InvalidInputError."""
    if not MIN_RATE <= rate <= MAX_RATE:
        raise InvalidInputError(
            "rate", rate, f"A limit is {MIN_RATE} bytes a second at least and 2^50 at most."
        )
    return rate
