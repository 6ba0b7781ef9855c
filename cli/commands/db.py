"""`seen db`: migrate the database, and purge old jobs."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Annotated

import typer

import settings as settings_module
from cli.context import has_no_database, open_runtime
from cli.help.pages import SeenTyper
from cli.local_stack import environment
from cli.output import formatting
from domain.text import printable
from settings import Settings

app = SeenTyper(help="Migrate the database; purge old jobs.")


@app.command()
def upgrade() -> None:
    """Migrate the tables to the newest revision. May be run at any time, and concurrently."""
    settings = settings_module.load()
    if settings.database_url is None:
        environment.make_data_dir(settings)
    from database import Database, migrate

    database = Database(settings.sqlalchemy_url())
    changed = migrate.upgrade(database)
    print(f"{'Migrated to' if changed else 'Already at'} revision {migrate.HEAD}.")


@app.command()
def current() -> None:
    """Print the revision of the tables."""
    settings = settings_module.load()
    from database import Database, migrate

    found = (
        None if has_no_database(settings) else migrate.current(Database(settings.sqlalchemy_url()))
    )
    if found is None:
        print("The database has no tables yet. Run: seen db upgrade")
    else:
        migrate.refuse_unknown(found)
        newest = "the newest" if found == migrate.HEAD else f"the newest is {migrate.HEAD}"
        print(printable(f"{found} ({newest})"))


@app.command()
def purge(
    older_than: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=36_500,
            metavar="DAYS",
            help="Jobs that finished more days ago than this (SEEN_RETENTION_DAYS).",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print how many there are.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Delete jobs that finished long ago, with their history. Downloaded files stay."""
    settings = settings_module.load()
    days = _days(older_than, settings)
    jobs = 0 if has_no_database(settings) else _purge(days, dry_run=dry_run, quiet=as_json)
    if as_json:
        formatting.print_json({"jobs": jobs, "older_than_days": days, "dry_run": dry_run})
    elif dry_run:
        print(f"{jobs:,} jobs finished more than {days} days ago.")
    else:
        print(f"{jobs:,} jobs deleted that finished more than {days} days ago.")


def _days(older_than: int | None, settings: Settings) -> int:
    if older_than is not None:
        return older_than
    if not settings.retention_days:
        raise typer.BadParameter(
            "SEEN_RETENTION_DAYS is 0, which keeps all jobs. Give --older-than DAYS."
        )
    return settings.retention_days


def _purge(days: int, *, dry_run: bool, quiet: bool) -> int:
    """Delete the jobs, with a counter on a terminal; return their number."""
    runtime = open_runtime()
    from database.retention import Retention
    from tasks.periodic.purge import purge_finished

    retention = Retention(runtime.database)
    before = runtime.now() - timedelta(days=days)
    if dry_run:
        return retention.count(before)
    jobs = 0
    shown = not quiet and sys.stderr.isatty()
    for removed in purge_finished(before, retention, runtime.cache.download, runtime.drain):
        jobs = removed.jobs
        if shown:
            print(f"\r{jobs:,} jobs deleted", end="", file=sys.stderr, flush=True)
    if shown and jobs:
        print(file=sys.stderr)
    return jobs
