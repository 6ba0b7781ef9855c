"""How a run is shown: a table for people, JSON for programs."""

from __future__ import annotations

import json
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from tests.chaos.run import Outcome
from tests.chaos.small_files import SmallFilesOutcome
from tests.chaos.webhooks.run import WebhooksOutcome


def as_json(outcome: Outcome | SmallFilesOutcome | WebhooksOutcome) -> str:
    """Return everything, on one line."""
    return json.dumps(asdict(outcome))


def show(outcome: Outcome) -> None:
    """Print a table."""
    table = Table(title=f"seed {outcome.seed} on {outcome.database}", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for what, value in _rows(outcome):
        table.add_row(what, value)
    console = Console()
    console.print(table)
    for violation in outcome.violations:
        console.print(f"[red]violation[/red] {violation}", soft_wrap=True, highlight=False)


def _rows(outcome: Outcome) -> list[tuple[str, str]]:
    by_status = ", ".join(f"{n} {status}" for status, n in sorted(outcome.jobs_by_status.items()))
    return [
        ("faults", f"{outcome.faults:,}"),
        *((f"  {kind}", f"{n:,}") for kind, n in sorted(outcome.faults_by_kind.items())),
        ("jobs", f"{outcome.jobs:,}: {by_status}"),
        ("groups of small files", f"{outcome.groups:,}"),
        ("claims", f"{outcome.claims:,}"),
        ("requests at the origin", f"{outcome.requests:,}"),
        ("bytes of completed files", f"{outcome.bytes_of_files:,}"),
        ("bytes the origin sent", f"{outcome.bytes_sent:,}"),
        ("looks at live progress", f"{outcome.looks:,}"),
        ("wall time", f"{outcome.wall_seconds:,.0f} s"),
        ("violations", f"{len(outcome.violations):,}"),
    ]
