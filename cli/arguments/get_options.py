"""The options of `seen get` beside those that describe a download: where to, for how long, how soon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from cli.arguments.download_options import FILE, TRANSFER
from cli.following.timeout import DEFAULT_ATTEMPTS, GetTimeout
from domain.job import Priority


@dataclass(frozen=True, slots=True, kw_only=True)
class GetOptions:
    """What only `seen get` knows; the fields are its options."""

    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="The file; or an existing folder, or with a slash at its end a new one.",
            rich_help_panel=FILE,
        ),
    ] = ""
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            metavar="N",
            min=1,
            max=1000,
            help="Downloads at once; the others start as these end. Default: as many as the workers "
            "take.",
            rich_help_panel=TRANSFER,
        ),
    ] = None
    attempts: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help=f"Attempts, 1 to 1000. Default: {DEFAULT_ATTEMPTS}, and a pause after a minute "
            "without bytes.",
            rich_help_panel=TRANSFER,
        ),
    ] = None
    max_time: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0.1,
            help="Stop after this time, finished or not.",
            rich_help_panel=TRANSFER,
        ),
    ] = None
    priority: Annotated[
        Priority,
        typer.Option(
            help="The queue they wait in; `seen move` changes it.", rich_help_panel=TRANSFER
        ),
    ] = Priority.HIGH

    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print errors only; see the exit status.")
    ] = False

    @property
    def max_attempts(self) -> int:
        """The attempts of each job."""
        return self.attempts or DEFAULT_ATTEMPTS

    def timeout(self) -> GetTimeout:
        """Return how long to wait; its clock starts now."""
        return GetTimeout(max_time=self.max_time, has_attempts=self.attempts is not None)
