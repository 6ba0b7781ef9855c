"""`seen limit`: limits of downloads at once, and of bytes a second in total, for a host, for a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.arguments.job_ids import resolve_ids
from cli.arguments.sizes import parse_rate
from cli.context import open_cache, open_reader
from cli.errors import RefusedError
from cli.output import formatting
from domain.errors import InvalidInputError, in_words
from domain.limits import TOTAL, check_host, host_scope, job_scope, parse_downloads
from domain.text import printable
from seen_local.late_settings import settings_module

if TYPE_CHECKING:  # imported in the function, so that `seen --help` is fast
    from tasks.api.rate_limits import DownloadsLimit, HostLimit, JobLimit, Limits, TotalLimit


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
    downloads: Annotated[
        str | None, typer.Option(metavar="N", help='Downloads at once in all workers, or "none".')
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Limit bytes a second or downloads at once, or show the limits. Workers apply them within a second.

    RATE is a number such as 500k, 10M or 1.5MiB, or "none": k, M, G count in 1000s, Ki, Mi, Gi in 1024s.
    """
    most = None if downloads is None else _count(downloads)
    changes = _changes(total, host, job)
    from tasks.api.rate_limits import read_limits

    with open_cache() as manager:
        manager.limits.set_rates(changes)
        if downloads is not None:
            manager.limits.set_most_downloads(most)
        found = read_limits(manager, settings_module.load())
    if as_json:
        formatting.print_json(found)
        return
    for what, allowed, used in _rows(found):
        print(printable(f"{what:<42} {allowed:<24} {used}"))


def _changes(
    total: str | None, host: tuple[str, str] | None, job: tuple[str, str] | None
) -> dict[str, int | None]:
    """Return the rates to set, by scope."""
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
    return changes


def _count(text: str) -> int | None:
    if text == "none":
        return None
    try:
        return parse_downloads(text)
    except InvalidInputError as error:
        remedy = f'{error.remedy} Or it is "none".'
        raise InvalidInputError("--downloads", text, remedy) from None


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


def _rows(found: Limits) -> list[tuple[str, str, str]]:
    total = found["total"]
    allowed = "no limit" if total["limit"] is None else formatting.rate(total["limit"])
    default = " (SEEN_MAX_RATE)" if total["limit"] and total["is_default"] else ""
    rows = [("total", allowed + default, _used(total)), _downloads(found["concurrent_downloads"])]
    for one in found["hosts"]:
        count = f" in {one['transfers']} downloads" if one["transfers"] else ""
        rows.append((f"host {one['host']}", formatting.rate(one["limit"]), _used(one) + count))
    rows += [
        (f"job {one['job_id']}", formatting.rate(one["limit"]), _used(one)) for one in found["jobs"]
    ]
    return rows


def _downloads(one: DownloadsLimit) -> tuple[str, str, str]:
    allowed = "no limit" if one["limit"] is None else str(one["limit"])
    default = " (SEEN_MAX_DOWNLOADS)" if one["limit"] and one["is_default"] else ""
    return "downloads at once", allowed + default, f"now {one['running']}"


def _used(one: TotalLimit | HostLimit | JobLimit) -> str:
    return f"now {formatting.rate(one['used'])}"
