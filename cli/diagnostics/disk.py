"""Checks of the database, the folders, and limits of the machine."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import text

from cli.context import has_no_database
from cli.diagnostics.findings import Finding, ok, problem, warning
from cli.output import formatting
from database import Database, JobRepository, migrate
from domain.errors import DatabaseUnavailableError
from domain.job import JobStatus
from domain.remedies import parts
from worker.celery_ext import descriptors
from worker.storage.folder_check import folder_error

if TYPE_CHECKING:
    from settings import Settings

#: Error codes of jobs that wait for a disk; at most this many waiting jobs are read.
_DISK_CODES = frozenset({"disk_full", "disk_unavailable"})
_MAX_JOBS = 10_000


def examine(settings: Settings) -> Iterator[Finding]:
    """Yield the findings."""
    yield _database(settings)
    yield _check_folder("data folder", settings.data_dir, "SEEN_DATA_DIR")
    yield _check_folder("download folder", settings.files_dir, "SEEN_DOWNLOAD_DIR")
    yield _free_space(settings)
    yield _descriptors(settings)
    yield from _waiting_jobs(settings)


def _descriptors(settings: Settings) -> Finding:
    """Check the hard limit; a worker raises its soft limit to it."""
    downloads, connections = settings.download_concurrency, settings.connections
    wanted, (_soft, hard) = descriptors.needed(downloads, connections), descriptors.limits()
    if hard >= wanted:
        return ok("file descriptors", f"a worker may open {hard:,} and needs at most {wanted:,}")
    return warning(
        "file descriptors",
        f"{downloads} concurrent downloads may need {wanted:,}, and a process of this user may open "
        f"{hard:,}: a worker runs {descriptors.allowed(hard, connections)} at once",
        "Raise the hard limit (ulimit -Hn, LimitNOFILE=, --ulimit nofile=), or lower "
        "SEEN_DOWNLOAD_CONCURRENCY.",
    )


def _database(settings: Settings) -> Finding:
    if has_no_database(settings):
        return ok("database", "none yet; the first download creates it in the data folder")
    database = Database(settings.sqlalchemy_url())
    try:
        revision = migrate.current(database)
        version = _version(database)
    except DatabaseUnavailableError as error:
        return problem("database", str(error), parts.START_DATABASE)
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


def _check_folder(what: str, folder: Path, variable: str) -> Finding:
    existing = _existing(folder)
    if not existing.is_dir():
        return problem(what, f"{existing} is a file", parts.of_folder(variable))
    if not os.access(existing, os.W_OK | os.X_OK):
        return problem(what, f"{existing} is not writable", parts.of_folder(variable))
    error = folder_error(existing.resolve())
    if error is not None:
        return problem(what, str(error), parts.of_folder(variable))
    return ok(what, str(folder) if existing == folder else f"{folder} (will be created)")


def _waiting_jobs(settings: Settings) -> Iterator[Finding]:
    """Check for jobs that wait for a disk, of this or another machine."""
    if has_no_database(settings):
        return
    database = Database(settings.sqlalchemy_url())
    try:
        jobs = JobRepository(database).find(statuses=[JobStatus.WAITING], limit=_MAX_JOBS)
    except DatabaseUnavailableError:
        return  # _database has a finding for it
    finally:
        database.close()
    reasons = Counter(job.reason or "" for job in jobs if job.error_code in _DISK_CODES)
    if reasons:
        reason, _ = reasons.most_common(1)[0]
        yield problem(
            "waiting for a disk",
            f"{reasons.total()} jobs; the most frequent reason: {reason}",
            "Repair it. The jobs then continue by themselves, with the bytes they have.",
        )


def _free_space(settings: Settings) -> Finding:
    try:
        free = shutil.disk_usage(_existing(settings.files_dir)).free
    except OSError as error:
        return warning(
            "free space",
            f"unknown for {settings.files_dir}: {error.strerror}",
            "Downloads continue, but SEEN_MIN_FREE_BYTES is not kept free.",
        )
    if free < settings.min_free_bytes:
        return problem(
            "free space",
            f"{formatting.size(free)}, less than SEEN_MIN_FREE_BYTES "
            f"({formatting.size(settings.min_free_bytes)})",
            parts.FREE_SPACE,
        )
    if free < 4 * settings.min_free_bytes:
        return warning("free space", formatting.size(free), "Free disk space soon.")
    return ok("free space", formatting.size(free))


def _existing(folder: Path) -> Path:
    """Return the path, or its nearest parent that exists."""
    while not folder.exists():
        folder = folder.parent
    return folder
