"""Migrating a database to the newest revision, and reading its revision."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from database.engine import Database
from domain.errors import UnknownRevisionError

#: The newest revision in `migrations/versions`; a test compares. It stands here so that a start-up
#: without a migration need not import Alembic.
HEAD = "0009"

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
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with database.write() as connection:
        if not database.is_sqlite:
            # No time-out for waiting and migrating.
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        # The process that had the lock before may have migrated. On SQLite the transaction is the lock.
        if _revision(connection) == HEAD:
            return False
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return True


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if revision is None else str(revision)
