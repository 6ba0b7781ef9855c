"""Migrated databases: copies of one that was migrated, and some that several tests share in turn.

A migration from nothing takes a hundred times as long as a copy of its result.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from database import Database, migrate
from database.models import metadata
from tests.support.servers.postgres import PostgresServer

KINDS = ("sqlite", "postgresql")


def write_migrated(file: Path) -> None:
    """Write a migrated SQLite database to a file that does not exist, readable by its owner alone."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    file.touch(mode=0o600, exist_ok=False)
    file.write_bytes(_migrated_file())


def create_migrated(server: PostgresServer) -> str:
    """Create a migrated database and return its SQLAlchemy URL."""
    return server.create_database(template=_migrated_template(server))


@cache
def _migrated_file() -> bytes:
    with TemporaryDirectory(prefix="seen-migrated-") as folder:
        file = Path(folder, "seen.db")
        with closing(Database(f"sqlite:///{file}")) as database:
            migrate.upgrade(database)
        assert list(Path(folder).iterdir()) == [file], "a part of the database is in other files"
        return file.read_bytes()


@cache
def _migrated_template(server: PostgresServer) -> str:
    url = server.create_database()
    with closing(Database(url)) as database:
        migrate.upgrade(database)
    return url


@contextmanager
def shared_database(
    request: pytest.FixtureRequest, folder: pytest.TempPathFactory
) -> Iterator[Database]:
    """A migrated database of the kind `request.param`, for a fixture of a module's life."""
    # Asked for by name, so that a test of SQLite starts no PostgreSQL.
    server: PostgresServer | None = (
        request.getfixturevalue("postgres") if request.param == "postgresql" else None
    )
    if server is not None:
        server.start()  # only after a test left it stopped
        url = create_migrated(server)
    else:
        file = folder.mktemp("shared") / "seen.db"
        write_migrated(file)
        url = f"sqlite:///{file}"
    database = Database(url)
    yield database
    database.close()
    if server is not None:
        server.start()
        server.drop_database(url)


def emptied(database: Database) -> Database:
    """The same database, without a row."""
    with database.write() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
    return database
