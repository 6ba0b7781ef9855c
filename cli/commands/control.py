"""`seen pause`, `resume`, `cancel`, `retry` and `move`: change jobs, selected by id or by a filter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.arguments.job_filter import JobSelection
from cli.arguments.option_group import expand_options
from cli.context import open_runtime
from cli.errors import USAGE_ERROR, report
from cli.output import formatting
from cli.output.counter import counter
from domain.job import Job, Priority

if TYPE_CHECKING:  # loads Celery, which is not needed to refuse wrong arguments
    from tasks import ControlResult

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

Command = Callable[..., None]


def _command(name: str, help_text: str) -> Command:
    def run(selection: JobSelection, as_json: AsJson = False) -> None:
        where, job_ids = selection.filter(), selection.ids()
        runtime = open_runtime()
        import tasks
        from cli.output.job_state import state_and_control

        action = tasks.Action(name)
        if where is None:
            result = tasks.control_many(action, job_ids, runtime=runtime)
        else:
            with counter() as count:
                result = tasks.control_matching(action, where, runtime=runtime, progress=count)
        _print_result(name, result, state_and_control, by_id=where is None, as_json=as_json)

    run.__doc__ = help_text
    return expand_options(run)


pause = _command("pause", "Stop jobs until they are resumed. Downloaded bytes are kept.")
resume = _command("resume", "Queue paused jobs, and waiting ones at once.")
cancel = _command("cancel", "Stop jobs for good. Downloaded bytes are deleted.")
retry = _command("retry", "Queue failed or cancelled jobs again, with all their attempts.")


@expand_options
def move(
    selection: JobSelection,
    to: Annotated[Priority, typer.Option(help="The new priority.")],
    as_json: AsJson = False,
) -> None:
    """Change the priority of jobs. Queued jobs change their queue at once."""
    where, job_ids = selection.filter(), selection.ids()
    runtime = open_runtime()
    import tasks

    if where is None:
        result = tasks.move_many(job_ids, to, runtime=runtime)
    else:
        with counter() as count:
            result = tasks.move_matching(where, to, runtime=runtime, progress=count)
    _print_result("move", result, _state_and_priority, by_id=where is None, as_json=as_json)


def _print_result(
    name: str,
    result: ControlResult,
    describe: Callable[[Job], str],
    *,
    by_id: bool,
    as_json: bool,
) -> None:
    """Print the result of the command `name`; exit with status 2 when some jobs were refused."""
    if as_json:
        formatting.print_json(_result_as_json(result))
    elif by_id:
        for job in (*result.changed, *result.unchanged):
            print(f"{job.id} {describe(job)}")
    elif result.changed or not result.refused:
        _print_counts(name, [describe(job) for job in result.changed])
    if result.refused:
        for error in () if as_json else result.refused:
            report(str(error), error.code, as_json=False)
        raise typer.Exit(USAGE_ERROR)


def _print_counts(name: str, states: Sequence[str]) -> None:
    if not states:
        print(f"There are no such jobs to {name}.")
    for state in dict.fromkeys(states):
        print(f"{states.count(state):,} {state}")


def _state_and_priority(job: Job) -> str:
    from cli.output.job_state import state_and_control

    return f"{state_and_control(job)}, {job.priority}"


def _result_as_json(result: ControlResult) -> dict[str, Any]:
    return {
        "changed": [_job_as_json(job) for job in result.changed],
        "unchanged": [_job_as_json(job) for job in result.unchanged],
        "refused": [
            {"id": error.job_id, "code": error.code, "message": str(error)}
            for error in result.refused
        ],
    }


def _job_as_json(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "status": job.status.value,
        "control": job.control,
        "priority": job.priority.value,
    }
