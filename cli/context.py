"""Opens the database and the store for a command, and imports only what it needs."""

from __future__ import annotations

import atexit
from typing import TYPE_CHECKING

from cli.local_stack import environment
from cli.local_stack.client import use_running_stack
from domain.errors import SettingsError, StoreRefusesError
from seen_local.file_lock import unusable_data_folder
from seen_local.late_settings import settings_module

if TYPE_CHECKING:  # imported in the functions, so that `seen --help` is fast
    from cache import CacheManager
    from database import Database
    from settings import Settings
    from tasks.api.accounts import AccountParts
    from tasks.api.job_view import JobReader
    from worker.outages import OutageLog
    from worker.runtime import Runtime


def open_runtime() -> Runtime:
    """Return the runtime, with which jobs are submitted and changed; create a missing embedded database.

    Raises:
        SettingsError: the configured database has no tables, or an older revision.
        UnknownRevisionError: the database has a newer revision than this program knows.
    """
    use_running_stack()
    settings = settings_module.load()
    environment.make_data_dir(settings)
    settings = environment.ensure_secret_key(settings)
    from worker.app import current_runtime

    runtime = current_runtime()
    atexit.register(runtime.database.close)
    ensure_schema(settings, runtime.database)
    return runtime


def why_unpublished(outages: OutageLog) -> str:
    """Return a sentence: why accepted jobs have not reached the broker, and when they start."""
    error = outages.newest
    if isinstance(error, StoreRefusesError):
        return f"{error} The download starts when the store accepts commands again."
    return "The store does not answer. The download starts when it does."


def open_reader(*, show_urls: bool = False) -> JobReader:
    """Return a reader of jobs, whose views may show whole URLs; imports neither Celery nor libcurl."""
    use_running_stack()
    settings = settings_module.load()
    environment.make_data_dir(settings)
    from cache import CacheManager
    from database import Database, JobRepository
    from tasks.api.job_view import JobReader

    database = Database(settings.sqlalchemy_url())
    atexit.register(database.close)  # the last connection that is closed empties SQLite's -wal file
    ensure_schema(settings, database)
    downloads = CacheManager.connect(settings, retries=0).download
    return JobReader(JobRepository(database), downloads, shows_urls=show_urls)


def open_accounts() -> AccountParts:
    """Return what users and keys need; create a missing embedded database. Imports no Celery.

    Raises: as `open_runtime`.
    """
    use_running_stack()
    settings = settings_module.load()
    environment.make_data_dir(settings)
    from cache import CacheManager
    from database import Database
    from tasks.api.accounts import AccountParts

    database = Database(settings.sqlalchemy_url())
    atexit.register(database.close)
    ensure_schema(settings, database)
    cache = CacheManager.connect(settings, retries=0)
    return AccountParts(settings=settings, database=database, cache=cache)


def open_cache() -> CacheManager:
    """Return the cache of the running local stack, or of the configured store."""
    use_running_stack()
    from cache import CacheManager

    return CacheManager.connect(settings_module.load(), retries=0)


def ensure_schema(settings: Settings, database: Database) -> None:
    """Migrate the embedded database; refuse to work on a configured one that needs a migration."""
    from database import migrate

    if settings.database_url is None:
        migrate.upgrade(database)
        return
    revision = migrate.current(database)
    if revision != migrate.HEAD:
        migrate.refuse_unknown(revision)
        found = "no tables" if revision is None else f"revision {revision}"
        raise SettingsError(
            f"The database has {found}; this program needs revision {migrate.HEAD}. "
            "Run: seen db upgrade"
        )


def has_no_database(settings: Settings) -> bool:
    """Return whether there is no embedded database yet, and so no job; reading does not create one.

    Raises:
        SettingsError: the data folder is no folder, or may not be entered.
    """
    if settings.database_url is not None:
        return False
    try:
        (settings.data_dir / "seen.db").stat()
    except FileNotFoundError:
        return True
    except OSError as error:
        raise unusable_data_folder(settings.data_dir, error) from None
    return False
