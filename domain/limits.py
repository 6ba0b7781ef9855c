"""What a rate may be limited for, and how its limit and a host are written."""

from __future__ import annotations

import re

from domain.errors import InvalidInputError

#: Bytes a second; slower than this nothing would ever end.
MIN_RATE = 1024
MAX_RATE = 2**50

TOTAL = "total"

_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?|[0-9a-f:.]{2,45}")


def host_scope(host: str) -> str:
    """Return the scope of all transfers from one host."""
    return f"host:{plain_host(host)}"


def job_scope(job_id: str) -> str:
    """Return the scope of one job's transfer."""
    return f"job:{job_id}"


def plain_host(text: str) -> str:
    """Return a host's one spelling: lower case, IDNA, no brackets, no dot at its end.

    Raises:
        InvalidInputError: it is no host name or address.
    """
    bare = text.removeprefix("[").removesuffix("]") if text.startswith("[") else text
    host = bare.rstrip(".").lower()
    if not host.isascii():
        try:
            host = host.encode("idna").decode()
        except UnicodeError:
            host = ""
    if not _HOST.fullmatch(host):
        raise InvalidInputError(
            "host", text, "It is a host name or an address, without scheme, port or path."
        )
    return host


def check_rate(rate: int) -> int:
    """Return a limit in bytes a second if it is one, else raise InvalidInputError."""
    if not MIN_RATE <= rate <= MAX_RATE:
        raise InvalidInputError(
            "rate", rate, f"A limit is {MIN_RATE} bytes a second at least and 2^50 at most."
        )
    return rate
