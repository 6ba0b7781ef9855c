"""Copies of an SQLite database: whole or absent, and put back only where nothing is lost."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from database import Database, JobRepository, migrate
from database.backup import back_up, restore
from domain.errors import BackupError, UnknownRevisionError
from domain.job import Job
from tests.support.build import new_job
from tests.support.databases import write_migrated

ROOT = Path(__file__).parents[3]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "seen.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    write_migrated(path)
    database = Database(f"sqlite:///{path}")
    yield database
    database.close()


def add(database: Database, *numbers: int) -> list[Job]:
    return JobRepository(database).add([new_job(url=f"https://a.org/{one}") for one in numbers])


def ids(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        return {row[0] for row in connection.execute("SELECT id FROM jobs")}


def left(folder: Path) -> set[str]:
    return {one.name for one in folder.iterdir()}


def test_a_copy_is_one_private_file_with_all_that_was_committed(
    database: Database, path: Path, tmp_path: Path
) -> None:
    jobs = add(database, 1, 2)
    assert (tmp_path / "seen.db-wal").exists(), "they are not in the file itself yet"

    copy = back_up(path, tmp_path / "copy")

    assert (copy.jobs, copy.revision) == (2, migrate.HEAD)
    assert copy.size == (tmp_path / "copy").stat().st_size
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600
    assert ids(tmp_path / "copy") == {job.id for job in jobs}
    assert left(tmp_path) == {"seen.db", "seen.db-wal", "seen.db-shm", "copy"}


def test_a_copy_made_between_writes_is_one_moment(
    database: Database, path: Path, tmp_path: Path
) -> None:
    """Each transaction adds two jobs: no copy has an odd number."""
    done = threading.Event()

    def write() -> None:
        number = 0
        while not done.is_set():
            add(database, number, number + 1)
            number += 2

    writer = threading.Thread(target=write)
    writer.start()
    try:
        counts = [back_up(path, tmp_path / f"copy{number}").jobs for number in range(10)]
    finally:
        done.set()
        writer.join()

    assert all(count % 2 == 0 for count in counts)
    assert counts == sorted(counts)
    assert counts[-1] > counts[0], "it went on writing"


def other_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE films (id)")


def replaced(path: Path) -> None:
    path.unlink()
    other_database(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def text(path: Path) -> None:
    path.write_text("not a database")


def newer_revision(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")


def no_revision(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM alembic_version")


def damaged(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


#: SQLite finds it in one place or another.
SPOILED = "is damaged|cannot be copied|is not a database that can be read"

NOT_COPIES: list[tuple[str, Callable[[Path], object], str]] = [
    ("missing", lambda path: path.unlink(), "does not exist"),
    ("text", text, "is not a database that can be read"),
    ("empty", lambda path: path.write_bytes(b""), "is not a database of this service"),
    ("another", replaced, "of this service"),
    ("without revision", no_revision, "is not a database of this service"),
    ("of a newer version", newer_revision, "'9999', which this program does not know"),
    ("damaged", damaged, SPOILED),
    ("cut", cut, SPOILED),
    ("a folder", folder, "is not a file"),
]


@pytest.mark.parametrize(
    ("spoil", "says"), [row[1:] for row in NOT_COPIES], ids=[row[0] for row in NOT_COPIES]
)
def test_what_is_no_copy_replaces_nothing(
    database: Database, path: Path, tmp_path: Path, spoil: Callable[[Path], object], says: str
) -> None:
    add(database, *range(20))
    copy = tmp_path / "copy"
    back_up(path, copy)
    database.close()
    before = ids(path)
    spoil(copy)

    with pytest.raises((BackupError, UnknownRevisionError), match=says):
        restore(copy, path)

    assert ids(path) == before
    assert left(tmp_path) <= {"seen.db", "copy"}


@pytest.mark.parametrize("spoil", [damaged, cut, newer_revision])
def test_a_damaged_database_gives_no_copy(
    database: Database, path: Path, tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    add(database, *range(20))
    database.close()
    spoil(path)

    with pytest.raises((BackupError, UnknownRevisionError)):
        back_up(path, tmp_path / "copy")

    assert left(tmp_path) <= {"seen.db", "seen.db-shm", "seen.db-wal"}


@pytest.mark.parametrize("taken", ["file", "link", "dangling", "folder"])
def test_nothing_is_overwritten_by_a_copy(
    database: Database, path: Path, tmp_path: Path, taken: str
) -> None:
    target = tmp_path / "copy"
    match taken:
        case "file":
            target.touch()
        case "folder":
            target.mkdir()
        case _:
            target.symlink_to(path if taken == "link" else "nowhere")

    with pytest.raises(BackupError, match=r"copy exists\. Give the name of a new file"):
        back_up(path, target)


def test_a_folder_that_does_not_exist_is_named(path: Path, database: Database) -> None:
    with pytest.raises(BackupError, match=r"none does not exist\. Create it first\."):
        back_up(path, path.parent / "none" / "copy")


@pytest.mark.parametrize("name", ["", ".", "/"])
def test_a_copy_needs_the_name_of_a_file(path: Path, database: Database, name: str) -> None:
    with pytest.raises(BackupError, match=r"^The name of the file is empty, or a folder's"):
        back_up(path, Path(name))


# ── restoring ───────────────────────────────────────────────────────────────────────────────────


def test_the_former_database_is_kept_and_its_log_is_not_applied_to_the_copy(
    database: Database, path: Path, tmp_path: Path
) -> None:
    (first,) = add(database, 1)
    back_up(path, tmp_path / "copy")
    (second,) = add(database, 2)
    # As after a kill: the newest job is in the -wal only.
    for name in ("seen.db", "seen.db-wal"):
        (tmp_path / f"kept-{name}").write_bytes((tmp_path / name).read_bytes())
    database.close()
    for name in ("seen.db", "seen.db-wal"):
        (tmp_path / f"kept-{name}").rename(tmp_path / name)

    copy, former = restore(tmp_path / "copy", path)

    assert copy.jobs == 1
    assert ids(path) == {first.id}
    assert former is not None
    assert ids(former) == {first.id, second.id}
    assert path.stat().st_mode & 0o777 == 0o600


def test_without_a_database_the_copy_becomes_it(
    database: Database, path: Path, tmp_path: Path
) -> None:
    (job,) = add(database, 1)
    back_up(path, tmp_path / "copy")
    database.close()
    new = tmp_path / "new" / "folder" / "seen.db"

    assert restore(tmp_path / "copy", new)[1] is None

    assert ids(new) == {job.id}
    assert left(new.parent) == {"seen.db"}


def test_a_log_without_its_database_is_removed(
    database: Database, path: Path, tmp_path: Path
) -> None:
    add(database, 1)
    back_up(path, tmp_path / "copy")
    add(database, 2)
    log = (tmp_path / "seen.db-wal").read_bytes()
    database.close()
    path.unlink()
    (tmp_path / "seen.db-wal").write_bytes(log)

    restore(tmp_path / "copy", path)

    assert len(ids(path)) == 1


@pytest.mark.parametrize("spoil", [damaged, text])
def test_a_damaged_database_is_replaced_and_kept(
    database: Database, path: Path, tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    (job,) = add(database, 1)
    back_up(path, tmp_path / "copy")
    database.close()
    spoil(path)
    content = path.read_bytes()

    _, former = restore(tmp_path / "copy", path)

    assert ids(path) == {job.id}
    assert former is not None
    assert former.read_bytes() == content


@pytest.mark.parametrize("writes", [False, True])
def test_a_database_in_use_is_not_replaced(
    database: Database, path: Path, tmp_path: Path, writes: bool
) -> None:
    add(database, 1)
    back_up(path, tmp_path / "copy")
    add(database, 2)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE" if writes else "SELECT 1 FROM jobs").fetchall()
        database.close()

        with pytest.raises(BackupError, match=r"Another process has .* open\. Stop the workers"):
            restore(tmp_path / "copy", path)

    assert len(ids(path)) == 2
    assert left(tmp_path) <= {"seen.db", "seen.db-wal", "seen.db-shm", "copy"}


def test_the_database_is_not_its_own_copy(database: Database, path: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(path)

    with pytest.raises(BackupError, match="is the database itself"):
        restore(tmp_path / "link", path)


STOP_AT = """
import os, sys, time
from pathlib import Path
import database.backup as backup

def stop(*_):
    print("there", flush=True)
    time.sleep(60)

setattr(backup, sys.argv[1], stop)
getattr(backup, sys.argv[2])(Path(sys.argv[3]), Path(sys.argv[4]))
"""


@pytest.mark.parametrize("step", ["_check", "_sync_folder"])
@pytest.mark.parametrize("what", ["back_up", "restore"])
def test_a_kill_leaves_a_whole_file_or_none(
    database: Database, path: Path, tmp_path: Path, what: str, step: str
) -> None:
    (first,) = add(database, 1)
    copy = tmp_path / "copy"
    back_up(path, copy)
    (second,) = add(database, 2)
    database.close()
    paths = [path, tmp_path / "second"] if what == "back_up" else [copy, path]
    process = subprocess.Popen(
        [sys.executable, "-c", STOP_AT, step, what, *map(str, paths)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"there\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()

    whole = {first.id, second.id}
    if what == "back_up":
        assert (tmp_path / "second").exists() == (step == "_sync_folder")
        back_up(path, tmp_path / "third")
        assert ids(tmp_path / "third") == whole
    else:
        assert ids(path) == (whole if step == "_check" else {first.id})
        restore(copy, path)
        assert ids(path) == {first.id}
    abandoned = [name for name in left(tmp_path) if name.endswith(".partial")]
    renamed = what == "restore" and step == "_sync_folder"
    assert len(abandoned) == (0 if renamed else 1), "it can be removed"


# ── migrating back ──────────────────────────────────────────────────────────────────────────────


def test_tables_are_migrated_back_and_again(database_url: str) -> None:
    database = Database(database_url)
    try:
        migrate.upgrade(database)
        (job,) = JobRepository(database).add([new_job()])

        assert migrate.downgrade(database, "0006") is True
        assert migrate.current(database) == "0006"
        assert migrate.downgrade(database, "0006") is False
        with pytest.raises(BackupError, match="has revision 0006, which is not newer"):
            migrate.downgrade(database, "0007")
        assert migrate.upgrade(database) is True
        assert JobRepository(database).get(job.id).url == job.url
    finally:
        database.close()


@pytest.mark.parametrize("revision", ["", "base", "9999", "head", "-1", "0007; DROP TABLE jobs"])
def test_only_known_revisions_are_migrated_back_to(database: Database, revision: str) -> None:
    with pytest.raises(BackupError, match=r"There is no revision .* There are 0001, 0002"):
        migrate.downgrade(database, revision)
    assert migrate.current(database) == migrate.HEAD


def test_without_tables_there_is_nothing_to_migrate_back(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    with pytest.raises(BackupError, match="has revision none"):
        migrate.downgrade(database, "0001")
    database.close()
