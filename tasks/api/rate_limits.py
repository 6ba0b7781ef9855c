"""The limits as they are now, and what is used of them: of bytes a second, and of downloads at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from typing_extensions import TypedDict

if TYPE_CHECKING:  # it is not needed to refuse wrong arguments
    from cache import CacheManager
    from settings import Settings
from domain.limits import TOTAL, job_scope


class TotalLimit(TypedDict):
    """The limit of all downloads together, in bytes a second; null for none."""

    limit: int | None
    is_default: bool
    """Whether it is that of SEEN_MAX_RATE."""
    used: int


class DownloadsLimit(TypedDict):
    """The limit of downloads at once in all workers; null for none but that of each worker."""

    limit: int | None
    is_default: bool
    """Whether it is that of SEEN_MAX_DOWNLOADS."""
    running: int


class HostLimit(TypedDict):
    """The limit of one host."""

    host: str
    limit: int
    used: int
    transfers: int


class JobLimit(TypedDict):
    """The limit of one job."""

    job_id: str
    limit: int
    used: int


class Limits(TypedDict):
    """All limits: of downloads at once, the others in bytes a second."""

    total: TotalLimit
    concurrent_downloads: DownloadsLimit
    hosts: list[HostLimit]
    jobs: list[JobLimit]


def read_limits(manager: CacheManager, settings: Settings) -> Limits:
    """Return all limits and the present rates.

    Args:
        manager: the cache.
        settings: have those that hold where the store has none.

    Raises:
        StoreUnavailableError: the store does not answer.
    """
    rates = manager.limits.rates()
    hosts = sorted(scope for scope in rates if scope.startswith("host:"))
    job_ids = sorted(scope.removeprefix("job:") for scope in rates if scope.startswith("job:"))
    totals, most = manager.download.totals(), manager.limits.most_downloads()
    return {
        "total": {
            "limit": rates.get(TOTAL, settings.max_rate or None),
            "is_default": TOTAL not in rates,
            "used": round(totals.bytes_per_second),
        },
        "concurrent_downloads": {
            "limit": most or settings.max_downloads or None,
            "is_default": most is None,
            "running": totals.active,
        },
        "hosts": _hosts(manager, rates, hosts),
        "jobs": _jobs(manager, rates, job_ids),
    }


def _hosts(
    manager: CacheManager, rates: Mapping[str, int], scopes: Sequence[str]
) -> list[HostLimit]:
    demands = manager.limits.demands(scopes)
    return [
        {
            "host": scope.removeprefix("host:"),
            "limit": rates[scope],
            "used": round(demands[scope].used),
            "transfers": demands[scope].transfers,
        }
        for scope in scopes
    ]


def _jobs(
    manager: CacheManager, rates: Mapping[str, int], job_ids: Sequence[str]
) -> list[JobLimit]:
    running = manager.download.get_many(job_ids)
    used = {job_id: one.speed for job_id, one in running.items()}
    return [
        {
            "job_id": job_id,
            "limit": rates[job_scope(job_id)],
            "used": round(used.get(job_id, 0.0)),
        }
        for job_id in job_ids
    ]
