"""What `seen doctor` asks of the database and the folders."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import text

from cli.context import has_no_database
from cli.diagnostics.findings import Finding, ok, problem, warning
from cli.output import formatting
from database import Database, JobRepository, migrate
from domain.errors import DatabaseUnavailableError
from domain.job import JobStatus
from settings import Settings
from worker.celery_ext import descriptors
from worker.storage.folder_check import folder_error

#: Why jobs wait for a disk, and of how many waiting jobs that is asked.
_DISK_CODES = frozenset({"disk_full", "disk_unavailable"})
_MOST_JOBS = 10_000


def examine(settings: Settings) -> Iterator[Finding]:
    """Yield the findings."""
    yield _database(settings)
    yield _folder("data folder", settings.data_dir, "SEEN_DATA_DIR")
    yield _folder("download folder", settings.files_dir, "SEEN_DOWNLOAD_DIR")
    yield _room(settings)
    yield _descriptors(settings)
    yield from _waiting_jobs(settings)


def _descriptors(settings: Settings) -> Finding:
    """A worker raises its soft limit by itself; the hard one is another's to raise."""
    downloads, connections = settings.download_concurrency, settings.connections
    wanted, (_soft, hard) = descriptors.needed(downloads, connections), descriptors.limits()
    if hard >= wanted:
        return ok("file descriptors", f"a worker may have {hard:,}, and needs {wanted:,} at most")
    return warning(
        "file descriptors",
        f"{downloads} downloads at once may need {wanted:,}, and a process of this user may have "
        f"{hard:,}: a worker runs {descriptors.carried(hard, connections)} at once",
        "Raise the hard limit (ulimit -Hn, LimitNOFILE=, --ulimit nofile=), or lower "
        "SEEN_DOWNLOAD_CONCURRENCY.",
    )


def _database(settings: Settings) -> Finding:
    if has_no_database(settings):
        return ok("database", "none yet; the first download makes one in the data folder")
    database = Database(settings.sqlalchemy_url())
    try:
        revision = migrate.current(database)
        version = _version(database)
    except DatabaseUnavailableError as error:
        return problem("database", str(error), "Start it, or set SEEN_DATABASE_URL.")
    finally:
        database.close()
    if revision != migrate.HEAD:
        found = revision or "none"
        return problem(
            "database",
            f"{version}, tables at revision {found}, needed {migrate.HEAD}",
            "Run: seen db upgrade",
        )
    return ok("database", f"{version}, revision {revision}")


def _version(database: Database) -> str:
    question = "SELECT sqlite_version()" if database.is_sqlite else "SHOW server_version"
    with database.read() as connection:
        number = connection.execute(text(question)).scalar()
    return f"{'SQLite' if database.is_sqlite else 'PostgreSQL'} {number}"


def _folder(what: str, folder: Path, variable: str) -> Finding:
    there = _existing(folder)
    if not there.is_dir():
        return problem(what, f"{there} is a file", f"Set {variable} to a folder.")
    if not os.access(there, os.W_OK | os.X_OK):
        return problem(what, f"{there} cannot be written", f"Change its owner, or set {variable}.")
    trouble = folder_error(there.resolve())
    if trouble is not None:
        return problem(what, str(trouble), f"Put that right, or set {variable}. Jobs wait for it.")
    return ok(what, str(folder) if there == folder else f"{folder} (will be made)")


def _waiting_jobs(settings: Settings) -> Iterator[Finding]:
    """Tell of jobs that wait for a folder, which may be another one, or on another machine."""
    if has_no_database(settings):
        return
    database = Database(settings.sqlalchemy_url())
    try:
        jobs = JobRepository(database).find(statuses=[JobStatus.WAITING], limit=_MOST_JOBS)
    except DatabaseUnavailableError:
        return  # told already
    finally:
        database.close()
    reasons = Counter(job.reason or "" for job in jobs if job.error_code in _DISK_CODES)
    if reasons:
        reason, _ = reasons.most_common(1)[0]
        yield problem(
            "waiting for a disk",
            f"{reasons.total()} jobs, most of them because: {reason}",
            "Put that right: they go on by themselves, with the bytes they have.",
        )


def _room(settings: Settings) -> Finding:
    try:
        free = shutil.disk_usage(_existing(settings.files_dir)).free
    except OSError as error:
        return warning(
            "free space",
            f"{settings.files_dir} does not tell its room: {error.strerror}",
            "Downloads go on; nothing sees to it that room stays free there.",
        )
    if free < settings.min_free_bytes:
        return problem(
            "free space",
            f"{formatting.size(free)}, less than SEEN_MIN_FREE_BYTES "
            f"({formatting.size(settings.min_free_bytes)})",
            "Make room, or set SEEN_DOWNLOAD_DIR to another disk.",
        )
    if free < 4 * settings.min_free_bytes:
        return warning("free space", formatting.size(free), "Make room before it is needed.")
    return ok("free space", formatting.size(free))


def _existing(folder: Path) -> Path:
    """Return the nearest part of a path that is there."""
    while not folder.exists():
        folder = folder.parent
    return folder
