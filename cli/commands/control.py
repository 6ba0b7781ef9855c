"""Changing jobs that are there: `seen pause`, `resume`, `cancel`, `retry`, `move`.

Each takes ids, or options that say which jobs are meant.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.context import check_ids, open_runtime
from cli.errors import USAGE_ERROR, RefusedError, report
from cli.output import formatting
from domain.job import Job, JobFilter, JobStatus, Priority
from domain.limits import check_host

if TYPE_CHECKING:  # loads Celery: not before the ids have been looked at
    from tasks import ControlResult

Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="The jobs' ids.")]
User = Annotated[str | None, typer.Option(help="All of this user's jobs.")]
Host = Annotated[str | None, typer.Option(help="All jobs from this host.")]
Status = Annotated[JobStatus | None, typer.Option(help="All jobs in this state.")]
Every = Annotated[bool, typer.Option("--all", help="All jobs for which it makes sense.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

Command = Callable[..., None]


def _command(action_name: str, doc: str) -> Command:
    def run(
        job_ids: Ids = None,
        user: User = None,
        host: Host = None,
        status: Status = None,
        every: Every = False,
        as_json: AsJson = False,
    ) -> None:
        where = _where(job_ids, user, host, status, every=every)
        runtime = open_runtime()
        import tasks

        action = tasks.Action(action_name)
        if where is None:
            result = tasks.control_many(action, job_ids or [], runtime=runtime)
        else:
            with _counting() as count:
                result = tasks.control_matching(action, where, runtime=runtime, progress=count)
        _print_result(
            action_name, result, formatting.state_text, named=where is None, as_json=as_json
        )

    run.__doc__ = doc
    return run


pause = _command("pause", "Stop jobs until they are resumed; what they have is kept.")
resume = _command("resume", "Let paused jobs go on, and those that wait do so at once.")
cancel = _command("cancel", "Stop jobs for good; what they have so far is removed.")
retry = _command("retry", "Queue failed or cancelled jobs again, with all their attempts.")


def move(
    to: Annotated[Priority, typer.Option(help="The queue they are to wait in.")],
    job_ids: Ids = None,
    user: User = None,
    host: Host = None,
    status: Status = None,
    every: Every = False,
    as_json: AsJson = False,
) -> None:
    """Give jobs another priority; those that wait change their queue at once."""
    where = _where(job_ids, user, host, status, every=every)
    runtime = open_runtime()
    import tasks

    if where is None:
        result = tasks.move_many(job_ids or [], to, runtime=runtime)
    else:
        with _counting() as count:
            result = tasks.move_matching(where, to, runtime=runtime, progress=count)
    _print_result("move", result, _state_and_priority, named=where is None, as_json=as_json)


def _where(
    job_ids: Sequence[str] | None,
    user: str | None,
    host: str | None,
    status: JobStatus | None,
    *,
    every: bool,
) -> JobFilter | None:
    """Return the filter that the options say; None when ids are given, and look at those.

    Raises:
        RefusedError: neither was given, or both.
        InvalidInputError: the host is none.
    """
    filtered = every or any(one is not None for one in (user, host, status))
    if bool(job_ids) == filtered:
        asked = "Give ids, or say which jobs by --user, --host, --status or --all"
        raise RefusedError(f"{asked}: not both." if filtered else f"{asked}.")
    if job_ids:
        check_ids(job_ids)
        return None
    return JobFilter(status, user, None if host is None else check_host(host))


@contextmanager
def _counting() -> Iterator[Callable[[int], None]]:
    """Yield what shows a person how many jobs have been changed so far."""
    shown = False

    def count(number: int) -> None:
        nonlocal shown
        if sys.stderr.isatty():
            print(f"\r{number:,} jobs … ", end="", file=sys.stderr, flush=True)
            shown = True

    try:
        yield count
    finally:
        if shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _print_result(
    action_name: str,
    result: ControlResult,
    describe: Callable[[Job], str],
    *,
    named: bool,
    as_json: bool,
) -> None:
    """Print the result; exit with status 2 when some jobs were refused."""
    if as_json:
        formatting.print_json(
            {
                "changed": [_describe(job) for job in result.changed],
                "unchanged": [_describe(job) for job in result.unchanged],
                "refused": [
                    {"id": error.job_id, "code": error.code, "message": str(error)}
                    for error in result.refused
                ],
            }
        )
    else:
        if named:
            for job in (*result.changed, *result.unchanged):
                print(f"{job.id} {describe(job)}")
        elif result.changed or not result.refused:
            _count_up(action_name, [describe(job) for job in result.changed])
        for error in result.refused:
            report(str(error), error.code, as_json=False)
    if result.refused:
        raise typer.Exit(USAGE_ERROR)


def _count_up(action_name: str, states: Sequence[str]) -> None:
    if not states:
        print(f"There are no such jobs to {action_name}.")
    for state in dict.fromkeys(states):
        print(f"{states.count(state):,} {state}")


def _state_and_priority(job: Job) -> str:
    return f"{formatting.state_text(job)}, {job.priority}"


def _describe(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "status": job.status.value,
        "control": job.control,
        "priority": job.priority.value,
    }
