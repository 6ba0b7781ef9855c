"""The scopes of rate limits, and the valid values of rates and hosts."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

from domain.errors import InvalidInputError
from domain.hosts import HostError, normal_host

#: Bytes per second; a download with a smaller limit would hardly finish.
MIN_RATE = 1024
MAX_RATE = 2**50

#: Downloads at once, of all workers.
MAX_DOWNLOADS = 100_000

TOTAL = "total"

#: The error codes of jobs that wait for a slot: of their host, of their user, of all downloads.
HOST_BUSY, USER_BUSY, TOTAL_BUSY = "host_busy", "user_busy", "total_busy"


class SlotWait(NamedTuple):
    """How a job waits for a slot."""

    place: tuple[str, str] | None
    """Its place in a line: the resource and the job's id; None without one."""
    unchanged: float
    """Seconds since another job got slots of that resource."""
    called: int
    """For how many jobs that wait in SQL a slot was found free: they have to be called."""


def host_scope(host: str) -> str:
    """Return the scope of all transfers from one host."""
    return f"host:{plain_host(host)}"


def job_scope(job_id: str) -> str:
    """Return the scope of one job's transfer."""
    return f"job:{job_id}"


@lru_cache(maxsize=1024)
def plain_host(text: str) -> str:
    """Return the normalized host (`domain.hosts`), or an invalid one in lower case."""
    with suppress(HostError):
        return normal_host(text)
    return text.lower()


def check_host(text: str) -> str:
    """Return the normalized host; raise InvalidInputError for an invalid one."""
    try:
        host = normal_host(text)
    except HostError as error:
        raise _no_host(text, str(error)) from None
    if host.startswith("-"):
        raise _no_host(text, "It begins like an option.")
    return host


def check_downloads(count: int) -> int:
    """Return a valid number of downloads at once; raise InvalidInputError for an invalid one."""
    if not 1 <= count <= MAX_DOWNLOADS:
        remedy = f"It is a number from 1 to {MAX_DOWNLOADS:,}."
        raise InvalidInputError("downloads", count, remedy)
    return count


def parse_downloads(text: str) -> int:
    """Return the number of downloads at once in a text; raise InvalidInputError for any other text."""
    # Python refuses to read a number of thousands of digits.
    is_number = text.isascii() and text.isdigit() and len(text) < 20
    return check_downloads(int(text) if is_number else 0)


def _no_host(text: str, why: str) -> InvalidInputError:
    remedy = f"It is a host name or an address, without scheme, port or path. {why}"
    return InvalidInputError("host", text, remedy)


def check_rate(rate: int) -> int:
    """Return a valid limit in bytes per second; raise InvalidInputError for an invalid one."""
    if not MIN_RATE <= rate <= MAX_RATE:
        raise InvalidInputError(
            "rate", rate, f"A limit is {MIN_RATE} bytes a second at least and 2^50 at most."
        )
    return rate
