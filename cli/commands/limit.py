"""`seen limit`: limits of bytes a second, in total, for a host, for a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.arguments.job_ids import resolve_ids
from cli.arguments.sizes import parse_rate
from cli.context import open_cache, open_reader
from cli.errors import RefusedError
from cli.output import formatting
from domain.errors import InvalidInputError, in_words
from domain.limits import TOTAL, check_host, host_scope, job_scope
from domain.text import printable
from seen_local.late_settings import settings_module

if TYPE_CHECKING:
    from cache import CacheManager


def limit(
    total: Annotated[
        str | None, typer.Option(metavar="RATE", help="All downloads together.")
    ] = None,
    host: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="HOST RATE", help="All downloads from one host together."),
    ] = None,
    job: Annotated[
        tuple[str, str] | None, typer.Option(metavar="ID RATE", help="One download.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Limit bytes a second, or show the limits. Workers apply a new limit within a second.

    RATE is a number such as 500k, 10M or 1.5MiB, or "none": k, M, G count in 1000s, Ki, Mi, Gi in 1024s.
    """
    changes: dict[str, int | None] = {}
    if total is not None:
        changes[TOTAL] = parse_rate("--total", total)
    if host is not None:
        changes[_host("--host", host[0])] = parse_rate("--host", host[1])
    if job is not None:
        rate = parse_rate("--job", job[1])
        (job_id,) = resolve_ids([job[0]])
        _check_job(job_id, is_limited=rate is not None)
        changes[job_scope(job_id)] = rate
    with open_cache() as manager:
        manager.limits.set_rates(changes)
        found = _read(manager)
    if as_json:
        formatting.print_json(found)
        return
    for what, allowed, used in _rows(found):
        print(printable(f"{what:<42} {allowed:<24} {used}"))


def _host(option: str, name: str) -> str:
    try:
        return host_scope(check_host(name))
    except InvalidInputError as error:
        raise InvalidInputError(option, name, error.remedy) from None


def _check_job(job_id: str, *, is_limited: bool) -> None:
    """Refuse to limit a job that has finished."""
    job = open_reader().read([job_id])[0].job
    if is_limited and job.is_finished:
        raise RefusedError(
            f"Job {job_id} {in_words(job.status)}; only unfinished jobs can be limited."
        )


def _read(manager: CacheManager) -> dict[str, Any]:
    """Return all limits and the present rates, in bytes a second."""
    rates = manager.limits.rates()
    hosts = sorted(scope for scope in rates if scope.startswith("host:"))
    job_ids = sorted(scope.removeprefix("job:") for scope in rates if scope.startswith("job:"))
    default = settings_module.load().max_rate or None
    return {
        "total": {
            "limit": rates.get(TOTAL, default),
            "is_default": TOTAL not in rates,
            "used": round(manager.download.totals().bytes_per_second),
        },
        "hosts": _read_hosts(manager, rates, hosts),
        "jobs": _read_jobs(manager, rates, job_ids),
    }


def _read_hosts(
    manager: CacheManager, rates: Mapping[str, int], scopes: Sequence[str]
) -> list[dict[str, Any]]:
    demands = manager.limits.demands(scopes)
    return [
        {
            "host": scope.removeprefix("host:"),
            "limit": rates[scope],
            "used": demands[scope].used,
            "transfers": demands[scope].transfers,
        }
        for scope in scopes
    ]


def _read_jobs(
    manager: CacheManager, rates: Mapping[str, int], job_ids: Sequence[str]
) -> list[dict[str, Any]]:
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


def _rows(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    total = found["total"]
    allowed = "no limit" if total["limit"] is None else formatting.rate(total["limit"])
    default = " (SEEN_MAX_RATE)" if total["limit"] and total["is_default"] else ""
    rows = [("total", allowed + default, _used(total))]
    for one in found["hosts"]:
        count = f" in {one['transfers']} downloads" if one["transfers"] else ""
        rows.append((f"host {one['host']}", formatting.rate(one["limit"]), _used(one) + count))
    rows += [
        (f"job {one['job_id']}", formatting.rate(one["limit"]), _used(one)) for one in found["jobs"]
    ]
    return rows


def _used(one: dict[str, Any]) -> str:
    return f"now {formatting.rate(one['used'])}"
