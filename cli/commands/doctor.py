"""`seen doctor`: check what the service needs, and say how to repair what is wrong."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.errors import FAILED
from cli.output import formatting
from domain.text import escaped


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check settings, store, workers, database and disk; exit status 1 when there is a problem."""
    from cli.diagnostics.findings import Level
    from cli.diagnostics.run import examine

    findings = examine()
    if as_json:
        formatting.print_json([one.as_json() for one in findings])
    else:
        for one in findings:
            # Parts of a message may come from a server or another program.
            print(escaped(f"{_MARKS[one.level.value]} {one.what}: {one.message}"))
            if one.remedy:
                print(escaped(f"          → {one.remedy}"))
    problems = any(one.level is Level.PROBLEM for one in findings)
    raise typer.Exit(FAILED if problems else 0)


_MARKS = {"ok": "ok       ", "warning": "warning  ", "problem": "problem  "}
