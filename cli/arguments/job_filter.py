"""The options that select jobs: ids, owner, host and state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from cli.arguments.job_ids import resolve_ids
from cli.errors import RefusedError
from cli.output.messages import say
from domain.job import JobFilter, JobStatus
from domain.limits import check_host

#: For help texts.
STATES = ", ".join(JobStatus)


def owner_from(owner: str | None, user: str | None) -> str | None:
    """Return the value of ``--owner``, or of its former name ``--user`` with a warning."""
    if user is None:
        return owner
    if owner is not None:
        raise RefusedError("--user is the former name of --owner here; give only --owner.")
    say("--user is now --owner here; the next version refuses it.")
    return user


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSelection:
    """Jobs by id, or by a filter; one of the two."""

    job_ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="The jobs' ids, or their beginnings.")
    ] = None
    owner: Annotated[str | None, typer.Option(metavar="NAME", help="All jobs of this owner.")] = (
        None
    )
    user: Annotated[str | None, typer.Option("--user", hidden=True)] = None
    """The former name of `--owner`."""
    host: Annotated[str | None, typer.Option(metavar="HOST", help="All jobs from this host.")] = (
        None
    )
    status: Annotated[
        JobStatus | None,
        typer.Option(metavar="STATE", help=f"All jobs in this state: {STATES}."),
    ] = None
    every: Annotated[bool, typer.Option("--all", help="All jobs that can be changed so.")] = False

    def filter(self) -> JobFilter | None:
        """Return the filter; None when ids are given.

        Raises:
            RefusedError: both ids and filters are given, or neither.
            InvalidInputError: the host is malformed.
        """
        owner = owner_from(self.owner, self.user)
        is_filter = self.every or any(one is not None for one in (owner, self.host, self.status))
        if bool(self.job_ids) == is_filter:
            advice = "Give ids, or select jobs by --owner, --host, --status or --all"
            raise RefusedError(f"{advice}: not both." if is_filter else f"{advice}.")
        if self.job_ids:
            return None
        return JobFilter(self.status, owner, None if self.host is None else check_host(self.host))

    def ids(self) -> list[str]:
        """Return the whole ids of the given jobs; raises as `resolve_ids`."""
        return resolve_ids(self.job_ids or [])
