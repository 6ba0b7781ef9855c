"""`seen rm`: remove the records of finished jobs, and if wanted the files they published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.arguments.job_filter import JobSelection
from cli.arguments.option_group import expand_options
from cli.context import open_runtime
from cli.errors import USAGE_ERROR, RefusedError, report
from cli.output import formatting
from cli.output.counter import counter
from domain.text import printable

if TYPE_CHECKING:  # loads Celery, which is not needed to refuse wrong arguments
    from tasks import RemoveResult

EXAMPLES = """
Examples:
  seen rm 0199a2b3
  seen rm --file 0199a2b3
  seen rm --status failed --owner ada
"""


@expand_options
def remove(
    selection: JobSelection,
    file: Annotated[
        bool,
        typer.Option(
            "--file",
            help="Remove the file, too, if it is unchanged since the job published it; ids only.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Remove finished jobs and their histories. Without --file, downloaded files stay.

    A job that is not finished is refused: cancel it first.
    """
    where = selection.filter()
    if file and where is not None:
        raise RefusedError("--file needs ids: files are not removed by a filter.")
    job_ids = selection.ids()
    runtime = open_runtime()
    import tasks

    if where is None:
        result = tasks.remove_many(job_ids, with_files=file, runtime=runtime)
    else:
        with counter() as count:
            result = tasks.remove_matching(where, runtime=runtime, progress=count)
    _print_result(result, by_id=where is None, as_json=as_json)


def _print_result(result: RemoveResult, *, by_id: bool, as_json: bool) -> None:
    """Print the result; exit with status 2 when some jobs were refused."""
    if as_json:
        formatting.print_json(_as_json(result))
    elif by_id:
        for job in result.removed:
            path = f", with {printable(job.path)}" if job.path in result.files else ""
            print(f"{job.id} removed{path}")
    else:
        print(f"{len(result.removed):,} removed")
    for error in () if as_json else result.refused:
        report(str(error), error.code, as_json=False)
    if result.refused:
        raise typer.Exit(USAGE_ERROR)


def _as_json(result: RemoveResult) -> dict[str, Any]:
    return {
        "removed": [job.id for job in result.removed],
        "files": result.files,
        "refused": [
            {"id": error.job_id, "code": error.code, "message": str(error)}
            for error in result.refused
        ],
    }
