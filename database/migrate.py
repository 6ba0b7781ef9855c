"""Migrating a database to the newest revision, and reading its revision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from database.engine import Database
from domain.errors import BackupError, UnknownRevisionError

if TYPE_CHECKING:  # imported when there is something to migrate
    from alembic.config import Config

#: The newest revision in `migrations/versions`; a test compares. It stands here so that a start-up
#: without a migration need not import Alembic.
HEAD = "0015"

#: Any fixed number: the lock under which one process at a time migrates PostgreSQL.
_ADVISORY_LOCK = 0x5EE4


def _known() -> set[str]:
    """Return the revisions that this program can migrate from, by the names of their files."""
    files = (Path(__file__).parent / "migrations" / "versions").glob("[0-9]*.py")
    return {file.name.partition("_")[0] for file in files}


def refuse_unknown(revision: str | None) -> None:
    """Raise UnknownRevisionError for a revision of a newer version of this program."""
    if revision is not None and revision not in _known():
        raise UnknownRevisionError(revision, HEAD)


def current(database: Database) -> str | None:
    """Return the database's revision; None for an empty database."""
    with database.read() as connection:
        return _revision(connection)


def upgrade(database: Database) -> bool:
    """Migrate to HEAD; False when there was nothing to do.

    Safe for several processes at once: one migrates, the others wait for it and return False.

    Raises:
        UnknownRevisionError: a newer version of this program has migrated it; nothing is changed.
    """
    found = current(database)
    if found == HEAD:
        return False
    refuse_unknown(found)
    with _migrating(database) as config:
        from alembic import command

        # The process that had the lock before may have migrated. On SQLite the transaction is the lock.
        if _revision(config.attributes["connection"]) == HEAD:
            return False
        command.upgrade(config, "head")
    return True


def downgrade(database: Database, revision: str) -> bool:
    """Migrate back to an older revision, for the version of this program before; False if it is there.

    What only newer revisions store is lost.

    Raises:
        BackupError: there are no tables, or they are not newer than this revision.
        UnknownRevisionError: a newer version of this program has migrated it; nothing is changed.
    """
    if revision not in _known():
        known = ", ".join(sorted(_known()))
        raise BackupError(f"There is no revision {revision!r}. There are {known}.")
    found = current(database)
    refuse_unknown(found)
    if found == revision:
        return False
    if found is None or found < revision:
        raise BackupError(f"The database has revision {found or 'none'}, which is not newer.")
    with _migrating(database) as config:
        from alembic import command

        command.downgrade(config, revision)
    return True


@contextmanager
def _migrating(database: Database) -> Iterator[Config]:
    """Yield Alembic's configuration in a transaction, in one process at a time."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with database.write() as connection:
        if not database.is_sqlite:
            # No time-out for waiting and migrating.
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        config.attributes["connection"] = connection
        yield config


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if revision is None else str(revision)
