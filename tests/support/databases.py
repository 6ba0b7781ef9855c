"""Migrated databases that several tests share, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from database import Database, migrate
from database.models import metadata
from tests.support.servers.postgres import PostgresServer

KINDS = ("sqlite", "postgresql")


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
        url = server.create_database()
    else:
        url = f"sqlite:///{folder.mktemp('shared') / 'seen.db'}"
    database = Database(url)
    migrate.upgrade(database)
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
