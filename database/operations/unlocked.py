"""Work on many rows of jobs when another session has locked some of them for too long.

On PostgreSQL a statement behind a locked row ends after 30 s, and with it its transaction: one row would
hold up hundreds. SQLite locks the whole database, and all that waits fails together; it is done later.

| on many rows | behind a locked row |
|---|---|
| `perform` | each operation alone, with half a second |
| `mark_published`, `save_progress`, `note_many`, `reset_progress`, orphans, times in the future | here |
| `requeue_due`, slots, purge | locked rows are passed over at once |
| `add` | nothing is stored, and the caller is told: it is all or none |
| pause, cancel, retry, priority, removal of many | the same for a batch: a person repeats it |
| `mark_messages_lost` | nothing is changed: a message that is thought to be there would be missing |
| deliveries of webhooks | nothing is claimed; only their senders lock these rows, for one statement |

"Here" is: all rows but the locked ones, which the next round of maintenance has.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeVar

from sqlalchemy import Connection, select

from database.conditions.verdicts import is_conflict, is_timeout
from database.engine import Database
from database.job_rows import batches
from database.models import jobs
from domain.errors import DatabaseUnavailableError

T = TypeVar("T")


def on_unlocked(
    database: Database,
    job_ids: Collection[str],
    work: Callable[[Connection, Collection[str]], T],
) -> tuple[T, list[str]]:
    """Do work on jobs in one transaction; if that takes too long, on those that no one else has locked.

    Args:
        database: of the jobs.
        job_ids: the jobs, as a set or the keys of a mapping if they are many.
        work: is given those of them that it is for; it may be called twice.

    Returns:
        What it returned, and the ids of those that were left out.

    Raises:
        DatabaseUnavailableError: nothing was written.
    """
    try:
        return database.transact(lambda connection: work(connection, job_ids)), []
    except DatabaseUnavailableError as error:
        if not (is_timeout(error.__cause__) or is_conflict(error.__cause__)):
            raise
        free: set[str] = set()

    def rest(connection: Connection) -> T:
        free.clear()
        for some in batches(sorted(job_ids)):
            query = select(jobs.c.id).where(jobs.c.id.in_(some)).order_by(jobs.c.id)
            unlocked = query.with_for_update(key_share=True, skip_locked=True)
            free.update(connection.execute(unlocked).scalars())
        return work(connection, free)

    return database.transact(rest), [one for one in job_ids if one not in free]
