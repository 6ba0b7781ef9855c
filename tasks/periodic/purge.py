"""Finished jobs are forgotten after a while: what `download.purge` does. Their files stay."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from database.retention import Retention
from domain.errors import StoreError
from tasks.periodic.run_once import one_at_a_time
from worker.app import app
from worker.runtime import Runtime

logger = logging.getLogger(__name__)


class Purged(NamedTuple):
    """What was removed from the database."""

    jobs: int
    events: int


def purge(runtime: Runtime) -> Purged:
    """Remove the jobs that ended more than `SEEN_RETENTION_DAYS` ago; 0 days keep everything."""
    days = runtime.settings.retention_days
    removed = Purged(0, 0)
    if days:
        for so_far in purge_finished(runtime, days_ago(runtime, days)):
            removed = so_far
    if any(removed):
        logger.info("Removed jobs that ended more than %d days ago: %s", days, removed)
    return removed


def days_ago(runtime: Runtime, days: int) -> datetime:
    """Return the moment `days` days ago."""
    return runtime.now() - timedelta(days=days)


def purge_finished(runtime: Runtime, before: datetime) -> Iterator[Purged]:
    """Remove the jobs that ended before then, batch by batch; yield after each what is removed so far.

    Their events go with them, and what the store may still have of them. Files that were downloaded are
    left alone, as is the part file of a job that failed. It ends early when the process drains.

    Raises:
        DatabaseUnavailableError: what was removed before stays removed.
    """
    retention = Retention(runtime.database)
    removed = Purged(0, 0)
    store_available = True
    while not runtime.drain.has_started:
        deleted = retention.delete_some(before)
        if not deleted.job_ids:
            return
        # One that is away is asked once: each batch would wait for it.
        store_available = store_available and _remove_progress(runtime, deleted.job_ids)
        removed = Purged(removed.jobs + len(deleted.job_ids), removed.events + deleted.events)
        yield removed


def _remove_progress(runtime: Runtime, job_ids: Sequence[str]) -> bool:
    """Remove jobs' progress from the store; False without store, where it ends by itself."""
    try:
        runtime.cache.download.remove(*job_ids)
    except StoreError as error:
        logger.warning("What the store has of removed jobs stays for now: %s", error)
        return False
    return True


app.task(name="download.purge")(one_at_a_time(purge))
