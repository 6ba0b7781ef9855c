"""Deleting old finished jobs: the task `download.purge`. Their files stay."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from cache.downloads.download_cache import DownloadCache
from database.accounts import IdempotentRequests
from database.retention import Retention
from domain.errors import StoreError
from tasks.periodic.run_once import one_at_a_time
from tasks.webhooks.background import purge_deliveries
from worker.app import app
from worker.leases.drain import Drain
from worker.runtime import Runtime

logger = logging.getLogger(__name__)


#: For this long a repeated HTTP request with an Idempotency-Key gets the response of the first one.
_REPEATABLE = timedelta(hours=24)


class Purged(NamedTuple):
    """The numbers of deleted rows."""

    jobs: int
    events: int


def purge(runtime: Runtime) -> Purged:
    """Delete jobs that finished more than `SEEN_RETENTION_DAYS` ago; 0 days keep all of them.

    Responses that are kept for repeated HTTP requests go after a day.
    """
    days = runtime.settings.retention_days
    removed = Purged(0, 0)
    purge_deliveries(runtime)
    if days:
        before = runtime.now() - timedelta(days=days)
        retention, progress = Retention(runtime.database), runtime.cache.download
        for so_far in purge_finished(before, retention, progress, runtime.drain):
            removed = so_far
    if any(removed):
        logger.info("Deleted jobs that finished more than %d days ago: %s", days, removed)
    IdempotentRequests(runtime.database).purge(runtime.now() - _REPEATABLE)
    return removed


def purge_finished(
    before: datetime, retention: Retention, progress: DownloadCache, drain: Drain
) -> Iterator[Purged]:
    """Delete jobs that finished before then; after each batch, yield the numbers deleted so far.

    Their events and their progress in the store are deleted, too. Downloaded files stay, as do the part
    files of failed jobs. It stops early when the process drains.

    Args:
        before: when the newest of them finished.
        retention: deletes their rows.
        progress: deletes their progress hashes.
        drain: of this process.

    Raises:
        DatabaseUnavailableError: the batches before stay deleted.
    """
    removed = Purged(0, 0)
    store_available = True
    while not drain.has_started:
        deleted = retention.delete_some(before)
        if not deleted.job_ids:
            return
        # After one error the store is left out: otherwise each batch would wait for it.
        store_available = store_available and remove_progress(progress, deleted.job_ids)
        removed = Purged(removed.jobs + len(deleted.job_ids), removed.events + deleted.events)
        yield removed


def remove_progress(progress: DownloadCache, job_ids: Sequence[str]) -> bool:
    """Remove the progress of jobs from the store; False without store, where it expires."""
    try:
        progress.remove(*job_ids)
    except StoreError as error:
        logger.warning("Progress of deleted jobs stays in the store until it expires: %s", error)
        return False
    return True


app.task(name="download.purge")(one_at_a_time(purge))
