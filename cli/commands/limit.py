"""`seen limit`: how fast downloads may go in total, from a host, for a job; changed while they run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

import settings as settings_module
from cli.context import check_ids, open_cache, open_reader
from cli.errors import RefusedError
from cli.output import formatting
from domain.errors import InvalidInputError
from domain.limits import MAX_RATE, MIN_RATE, TOTAL, check_host, host_scope, job_scope
from domain.text import printable

if TYPE_CHECKING:  # loaded where it is needed: `seen --help` waits for none of it
    from cache import CacheManager

#: As curl and wget have it: a K is 1024.
_UNITS = "KMGT"
_RATE = re.compile(
    rf"(?P<number>[0-9]{{1,15}}(\.[0-9]{{1,6}})?)(?P<unit>[{_UNITS}]?)", re.IGNORECASE
)
_NO_LIMIT = "none"


def limit(
    total: Annotated[
        str | None, typer.Option(metavar="RATE", help="All downloads of all workers together.")
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
    """Limit bytes a second, or show the limits there are. Workers follow within a second.

    RATE is a number with K, M or G behind it, where 1K is 1024 as for curl and wget, or "none".
    """
    changes: dict[str, int | None] = {}
    if total is not None:
        changes[TOTAL] = parse_rate("--total", total)
    if host is not None:
        changes[_host("--host", host[0])] = parse_rate("--host", host[1])
    if job is not None:
        changes[job_scope(job[0])] = parse_rate("--job", job[1])
        _check_job(job[0], is_limited=changes[job_scope(job[0])] is not None)
    with open_cache() as manager:
        manager.limits.set_rates(changes)
        found = _read(manager)
    if as_json:
        formatting.print_json(found)
        return
    for what, allowed, used in _rows(found):
        print(printable(f"{what:<42} {allowed:<24} {used}"))


def parse_rate(option: str, text: str) -> int | None:
    """Return bytes a second, or None for "none".

    Raises:
        InvalidInputError: names the option and what would be right.
    """
    if text.lower() == _NO_LIMIT:
        return None
    match = _RATE.fullmatch(text)
    if match is None:
        raise InvalidInputError(
            option, text, 'It is a number of bytes a second such as 500K, 10M or 1.5G, or "none".'
        )
    unit = match["unit"].upper()
    rate = int(float(match["number"]) * 1024 ** (_UNITS.index(unit) + 1 if unit else 0))
    if not MIN_RATE <= rate <= MAX_RATE:
        raise InvalidInputError(
            option, text, f'It is 1K at least and {MAX_RATE >> 40}T at most, or "none".'
        )
    return rate


def rate_text(rate: int) -> str:
    """Return a limit as it may be typed, and in the units that speeds are shown in."""
    typed, unit = float(rate), ""
    for larger in _UNITS:
        if typed < 1024:
            break
        typed, unit = typed / 1024, larger
    return f"{typed:.6g}{unit} ({formatting.size(rate)}/s)"


def _host(option: str, name: str) -> str:
    try:
        return host_scope(check_host(name))
    except InvalidInputError as error:
        raise InvalidInputError(option, name, error.remedy) from None


def _check_job(job_id: str, *, is_limited: bool) -> None:
    """A limit of a job that has ended would limit nothing, and can hardly be meant."""
    check_ids([job_id])
    job = open_reader().read([job_id])[0].job
    if is_limited and job.is_finished:
        raise RefusedError(f"Job {job_id} is {job.status.value}: there is nothing left to limit.")


def _read(manager: CacheManager) -> dict[str, Any]:
    """Return all limits, and what is used of each now, in bytes a second."""
    rates = manager.limits.rates()
    hosts = [scope for scope in rates if scope.startswith("host:")]
    job_ids = [scope.removeprefix("job:") for scope in rates if scope.startswith("job:")]
    demands = manager.limits.demands(hosts)
    running = manager.download.get_many(job_ids)
    speeds = {job_id: one.download_speed_mbps * 1e6 / 8 for job_id, one in running.items()}
    default = settings_module.load().max_rate or None
    return {
        "total": {
            "limit": rates.get(TOTAL, default),
            "is_default": TOTAL not in rates,
            "used": round(manager.download.totals().bytes_per_second),
        },
        "hosts": [
            {
                "host": scope.removeprefix("host:"),
                "limit": rates[scope],
                "used": demands[scope].used,
                "transfers": demands[scope].transfers,
            }
            for scope in sorted(hosts)
        ],
        "jobs": [
            {
                "job_id": job_id,
                "limit": rates[job_scope(job_id)],
                "used": round(speeds.get(job_id, 0.0)),
            }
            for job_id in sorted(job_ids)
        ],
    }


def _rows(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    total = found["total"]
    allowed = "no limit" if total["limit"] is None else rate_text(total["limit"])
    by_default = " (SEEN_MAX_RATE)" if total["limit"] and total["is_default"] else ""
    rows = [("total", allowed + by_default, _now(total))]
    for one in found["hosts"]:
        many = f" in {one['transfers']} downloads" if one["transfers"] else ""
        rows.append((f"host {one['host']}", rate_text(one["limit"]), _now(one) + many))
    rows += [(f"job {one['job_id']}", rate_text(one["limit"]), _now(one)) for one in found["jobs"]]
    return rows


def _now(one: dict[str, Any]) -> str:
    return f"now {formatting.size(one['used'])}/s"
