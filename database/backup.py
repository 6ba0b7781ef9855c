"""Copies of an SQLite database: made while it is in use, and put in its place when it is not."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from database import migrate
from domain.errors import BackupError

#: What SQLite keeps beside a database.
_BESIDE = ("-wal", "-shm", "-journal")


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy that was checked: its size in bytes, its revision, and how many jobs it has."""

    size: int
    revision: str
    jobs: int


def back_up(database: Path, target: Path) -> Copy:
    """Write a consistent copy of a database, which may be in use, to a new file.

    The file appears under its name when it is whole, checked and on the disk.

    Raises:
        BackupError: the database cannot be read, the target exists, or it cannot be written.
    """
    if not target.name:
        raise BackupError(
            "The name of the file is empty, or a folder's. Give the name of a new file."
        )
    if os.path.lexists(target):
        raise BackupError(f"{target} exists. Give the name of a new file.")
    if not os.path.lexists(target.parent):
        raise BackupError(f"The folder {target.parent} does not exist. Create it first.")
    with _draft(target) as draft:
        copy = _copy(database, draft)
        try:
            target.hardlink_to(draft)
        except FileExistsError:
            raise BackupError(f"{target} exists. Give the name of a new file.") from None
        except OSError:  # a file system without hard links
            draft.replace(target)
        _sync_folder(target.parent)
    return copy


def restore(source: Path, database: Path) -> tuple[Copy, Path | None]:
    """Put a copy in the place of a database that no process has open.

    The database appears under its name in one step, migrated as far as the copy is.

    Returns:
        The copy, and the file that has the former database (None without one).

    Raises:
        BackupError: the copy is damaged or the database is in use; nothing was changed.
        UnknownRevisionError: the copy is of a newer version of this program.
    """
    if not source.is_file():
        what = "is not a file" if source.exists() else "does not exist"
        raise BackupError(f"{source} {what}.")
    if database.exists() and source.samefile(database):
        raise BackupError(f"{source} is the database itself.")
    database.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _draft(database) as draft:
        copy = _copy(source, draft)
        former = _set_aside(database)
        draft.replace(database)
        _sync_folder(database.parent)
    return copy, former


@contextmanager
def _draft(target: Path) -> Iterator[Path]:
    """Yield a new private file beside the target, which is removed at the end."""
    try:
        number, name = tempfile.mkstemp(
            prefix=f"{target.name}.", suffix=".partial", dir=target.parent
        )
    except OSError as error:
        raise BackupError(f"{target} cannot be written: {error.strerror}.") from None
    os.close(number)
    draft = Path(name)
    try:
        yield draft
    except OSError as error:
        raise BackupError(f"{target} cannot be written: {error.strerror}.") from None
    finally:
        for path in (draft, *_beside(draft)):
            path.unlink(missing_ok=True)


def _copy(source: Path, draft: Path) -> Copy:
    """Copy a database to the draft, check the copy, and write it to the disk."""
    try:
        with closing(_open(source)) as reader, closing(sqlite3.connect(draft)) as writer:
            _refuse_foreign(reader, source)
            # The draft is written to the disk at the end; a crash before that discards it.
            for pragma in ("journal_mode=OFF", "synchronous=OFF"):
                writer.execute(f"PRAGMA {pragma}").close()
            reader.backup(writer)
            # One file that needs no others beside it; a database is put into WAL mode when it is opened.
            writer.execute("PRAGMA journal_mode=DELETE").close()
            copy = _check(writer, source, draft)
    except sqlite3.Error as error:
        raise BackupError(f"{source} cannot be copied to {draft.parent}: {error}.") from None
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    return copy


def _open(path: Path) -> sqlite3.Connection:
    """Open a database that exists; reading changes nothing in it."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=30)


def _refuse_foreign(reader: sqlite3.Connection, source: Path) -> None:
    try:
        names = {row[0] for row in reader.execute("SELECT name FROM sqlite_master")}
    except sqlite3.DatabaseError as error:
        raise BackupError(f"{source} is not a database that can be read: {error}.") from None
    if not {"jobs", "alembic_version"} <= names:
        raise BackupError(f"{source} is not a database of this service.")


def _check(copy: sqlite3.Connection, source: Path, draft: Path) -> Copy:
    (found,) = copy.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise BackupError(f"{source} is damaged: {found}.")
    row = copy.execute("SELECT version_num FROM alembic_version").fetchone()
    if row is None:
        raise BackupError(f"{source} is not a database of this service.")
    migrate.refuse_unknown(row[0])
    (jobs,) = copy.execute("SELECT count(*) FROM jobs").fetchone()
    return Copy(draft.stat().st_size, str(row[0]), int(jobs))


def _set_aside(database: Path) -> Path | None:
    """Keep the former database under another name; refuse if a process has it open."""
    if not os.path.lexists(database):
        for path in _beside(database):  # of a database that was removed
            path.unlink(missing_ok=True)
        return None
    try:
        with closing(sqlite3.connect(database, timeout=0)) as former:
            # It needs the only connection: all others keep a lock while they are open.
            (mode,) = former.execute("PRAGMA journal_mode=DELETE").fetchone()
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise BackupError(f"{database} cannot be replaced: {error}.") from None
        mode = "locked"
    except sqlite3.DatabaseError:
        mode = "damaged"
    if mode in {"wal", "locked"}:
        raise BackupError(
            f"Another process has {database} open. Stop the workers, beat and all programs that use it."
        )
    return _move_aside(database)


def _move_aside(database: Path) -> Path:
    """Give the former database a second name, beside which its own files go."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    kept = database.with_name(f"{database.name}.before-restore-{stamp}")
    try:
        kept.hardlink_to(database)
    except OSError:  # a file system without hard links
        database.rename(kept)
    for path in _beside(database):
        with suppress(FileNotFoundError):
            path.rename(f"{kept}{path.name.removeprefix(database.name)}")
    return kept


def _beside(database: Path) -> list[Path]:
    return [database.with_name(f"{database.name}{end}") for end in _BESIDE]


def _sync_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)
