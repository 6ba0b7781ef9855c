"""`seen db`: migrate, back up and restore the database, and purge old jobs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import has_no_database, open_runtime
from cli.errors import RefusedError
from cli.help.pages import SeenTyper
from cli.local_stack import environment
from cli.output import formatting
from cli.output.counter import counter
from domain.errors import BackupError
from domain.text import printable
from seen_local import stack_state
from seen_local.late_settings import settings_module

if TYPE_CHECKING:  # imported in the functions, so that `seen --help` is fast
    from database.backup import Copy
    from settings import Settings

app = SeenTyper(help="Migrate, back up and restore the database; purge old jobs.")


@app.command()
def upgrade() -> None:
    """Migrate the tables to the newest revision. May be run at any time, and concurrently."""
    settings = settings_module.load()
    if settings.database_url is None:
        environment.make_data_dir(settings)
    from database import Database, migrate

    with closing(Database(settings.sqlalchemy_url())) as database:
        changed = migrate.upgrade(database)
    print(f"{'Migrated to' if changed else 'Already at'} revision {migrate.HEAD}.")


@app.command()
def current() -> None:
    """Print the revision of the tables."""
    settings = settings_module.load()
    from database import Database, migrate

    found = None
    if not has_no_database(settings):
        with closing(Database(settings.sqlalchemy_url())) as database:
            found = migrate.current(database)
    if found is None:
        print("The database has no tables yet. Run: seen db upgrade")
    else:
        migrate.refuse_unknown(found)
        newest = "the newest" if found == migrate.HEAD else f"the newest is {migrate.HEAD}"
        print(printable(f"{found} ({newest})"))


@app.command()
def downgrade(
    revision: Annotated[str, typer.Argument(help="Of the version to go back to, such as 0007.")],
) -> None:
    """Migrate the tables back, for the version of this program before.

    Stop all processes of this version first; back up the database, because what only newer
    revisions store is lost.
    """
    settings = settings_module.load()
    from database import Database, migrate

    with _no_local_stack(settings):
        if has_no_database(settings):
            raise BackupError("There is no database yet.")
        with closing(Database(settings.sqlalchemy_url())) as database:
            changed = migrate.downgrade(database, revision)
    print(printable(f"{'Migrated back to' if changed else 'Already at'} revision {revision}."))
    if settings.database_url is None:
        print("Commands of this version migrate it again: use the older version now.")


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="A new file, for the copy.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Copy the SQLite database to a file, also while downloads run.

    PostgreSQL has pg_dump. The key file secret.key is not copied: keep a copy of it elsewhere.
    """
    settings = settings_module.load()
    database = _sqlite_file(settings, "pg_dump")
    if not database.exists():
        raise BackupError("There is no database yet: the first download creates it.")
    from database.backup import back_up

    copy = back_up(database, file)
    _print_copy(copy, "Backed up", f"to {file}", as_json=as_json)


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A copy made by `seen db backup`.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Put a copy in the place of the SQLite database, while nothing runs.

    The former database is kept beside it under another name.
    """
    settings = settings_module.load()
    database = _sqlite_file(settings, "pg_restore")
    from database.backup import restore as put_back

    with _no_local_stack(settings):
        copy, former = put_back(file, database)
    kept = f" The former database is {former}." if former else ""
    _print_copy(copy, "Restored", f"from {file}.{kept}", as_json=as_json, former=former)


def _sqlite_file(settings: Settings, program: str) -> Path:
    """Return the database's file; refuse a database server."""
    from sqlalchemy.engine import make_url

    url = make_url(settings.sqlalchemy_url())
    if url.get_backend_name() != "sqlite" or not url.database:
        raise RefusedError(
            f"The database is not an SQLite file. Use {program} (docs/operations/backup.md)."
        )
    return Path(url.database).resolve()


@contextmanager
def _no_local_stack(settings: Settings) -> Iterator[None]:
    """Keep a local stack from starting; refuse if one runs."""
    data_dir = environment.make_data_dir(settings)
    with stack_state.start_lock(data_dir):
        state = stack_state.running(data_dir)
        if state is not None or stack_state.supervisor_is_running(data_dir):
            process = f" (process {state.pid})" if state else ""
            raise RefusedError(
                f"A local stack runs here{process}. Stop it first; jobs continue later."
            )
        yield


def _print_copy(
    copy: Copy, done: str, where: str, *, as_json: bool, former: Path | None = None
) -> None:
    if as_json:
        values = {"jobs": copy.jobs, "revision": copy.revision, "bytes": copy.size}
        formatting.print_json({**values, "former": str(former) if former else None})
        return
    jobs = "1 job" if copy.jobs == 1 else f"{copy.jobs:,} jobs"
    print(
        printable(f"{done} {jobs} ({formatting.size(copy.size)}, revision {copy.revision}) {where}")
    )


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
    with counter("jobs deleted") as count:
        for removed in purge_finished(before, retention, runtime.cache.download, runtime.drain):
            jobs = removed.jobs
            if not quiet:
                count(jobs)
    return jobs
