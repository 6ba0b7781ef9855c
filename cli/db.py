"""`seen db`: the tables of the database."""

from __future__ import annotations

import typer

import settings as settings_module
from cli import environment
from cli.session import is_empty

app = typer.Typer(help="Make the database's tables, and tell where they stand.")


@app.command()
def upgrade() -> None:
    """Bring the tables up to date; safe to run at any time, also twice at once."""
    settings = settings_module.load()
    if settings.database_url is None:
        environment.make_data_dir(settings)
    from database import Database, migrate

    database = Database(settings.sqlalchemy_url())
    changed = migrate.upgrade(database)
    print(f"{'Migrated to' if changed else 'Already at'} revision {migrate.HEAD}.")


@app.command()
def current() -> None:
    """Print the revision the tables are at."""
    settings = settings_module.load()
    from database import Database, migrate

    found = None if is_empty(settings) else migrate.current(Database(settings.sqlalchemy_url()))
    if found is None:
        print("The database has no tables yet. Run: seen db upgrade")
    else:
        newest = "the newest" if found == migrate.HEAD else f"the newest is {migrate.HEAD}"
        print(f"{found} ({newest})")
