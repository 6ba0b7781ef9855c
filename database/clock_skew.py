"""Correcting times in the future, which a machine with a fast clock has written."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, bindparam, case, or_, select, union_all, update

from database.engine import Database
from database.job_rows import in_state, limited, note_statement
from database.models import PUBLISHED, UNPUBLISHED, jobs
from database.operations.unlocked import on_unlocked
from domain.job import UNFINISHED, JobStatus

#: Rows that are corrected in one transaction.
BATCH = 500
#: Clocks that follow NTP differ by less than this, which makes no difference here. Seconds.
TOLERANCE = 5.0

_NOTE = "a time in the future was corrected: the clock of a machine is fast"

_NOW = bindparam("b_now", type_=jobs.c.updated_at.type)
_LATEST = bindparam("b_latest", type_=jobs.c.next_attempt_at.type)
#: The latest possible value of each column. On these wait: finding an orphan, publishing a lost message
#: again, marking a new message as published, and the end of a back-off.
_LIMITS = {
    jobs.c.updated_at: _NOW,
    jobs.c.published_at: _NOW,
    jobs.c.message_consumed_at: _NOW,
    jobs.c.next_attempt_at: _LATEST,
}

_NOT_QUEUED = sorted(UNFINISHED - {JobStatus.QUEUED})
_IS_WRONG = or_(*(time > end for time, end in _LIMITS.items()))
_CORRECT = (
    update(jobs)
    .where(jobs.c.id == bindparam("b_id"))
    .values({time.name: case((time > end, end), else_=time) for time, end in _LIMITS.items()})
)


def _find(limit: int) -> Select[Any]:
    """Return the query for jobs with a wrong time, by the index of each state.

    Of a job with a message only the message's time is looked at, which is in the index: on its other
    times nothing waits before it is claimed, or its message is consumed.
    """
    parts = [
        select(jobs.c.id).where(PUBLISHED, jobs.c.published_at > _NOW),
        select(jobs.c.id).where(UNPUBLISHED, _IS_WRONG),
        *(select(jobs.c.id).where(in_state(one), _IS_WRONG) for one in _NOT_QUEUED),
    ]
    ordered = [part.order_by(jobs.c.id).limit(limited(limit)) for part in parts]
    found = union_all(*(select(part.subquery()) for part in ordered)).subquery()
    return select(found.c.id).limit(limited(limit))


def correct_future_times(database: Database, now: datetime, longest_wait: float) -> int:
    """Set times of unfinished jobs that lie in the future to the latest they can be, and note it.

    Args:
        database: of the jobs.
        now: the time, by the clock that decides when a job is due.
        longest_wait: seconds after which a waiting job is tried again at the latest.

    Returns:
        How many jobs had such a time.

    Raises:
        DatabaseUnavailableError: some may have been corrected.
    """
    times = {"b_now": now, "b_latest": now + timedelta(seconds=longest_wait)}
    tolerated = {name: time + timedelta(seconds=TOLERANCE) for name, time in times.items()}
    corrected = 0
    while True:
        # Mostly there are none: reading needs no lock for writing.
        with database.read() as connection:
            job_ids = sorted(connection.execute(_find(BATCH), tolerated).scalars())
        if not job_ids:
            return corrected

        def work(connection: Connection, job_ids: Collection[str]) -> None:
            if not job_ids:
                return
            connection.execute(_CORRECT, [{"b_id": job_id, **times} for job_id in sorted(job_ids)])
            connection.execute(
                note_statement(jobs.c.id.in_(job_ids)), {"b_now": now, "b_reason": _NOTE}
            )

        _, locked = on_unlocked(database, job_ids, work)
        corrected += len(job_ids) - len(locked)
        if locked:  # the next time, or they would be found again at once
            return corrected
