"""`Prefer: wait=N` (RFC 7240): an answer that waits until jobs have ended."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import anyio
from starlette.concurrency import run_in_threadpool

from tasks.api.job_view import JobReader, JobView
from worker.runtime import Runtime

#: Seconds that an answer waits at most: proxies between give up on longer ones.
MAX_WAIT = 60.0
#: Answers of one user that wait in a process at once: each reads its jobs twice a second.
MOST_OF_ONE = 100
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 0.5
_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,6})\"?\s*(?=[,;]|$)", re.IGNORECASE)


def preferred_wait(header: str | None) -> float | None:
    """Return the seconds that a Prefer header asks for, 60 at most; None if it asks for no wait."""
    found = _WAIT.search(header or "")
    return None if found is None else min(float(found[1]), MAX_WAIT)


_waiting: Counter[str] = Counter()


@contextmanager
def room_to_wait(user_id: str) -> Iterator[bool]:
    """Count an answer that waits; yield False if the user has too many, so that this one may not."""
    if _waiting[user_id] >= MOST_OF_ONE:
        yield False
        return
    _waiting[user_id] += 1
    try:
        yield True
    finally:
        _waiting.subtract({user_id: 1})


async def wait_until_idle(
    runtime: Runtime, job_ids: Sequence[str], seconds: float
) -> list[JobView]:
    """Return jobs when all have ended or are paused, or when the time is over.

    No thread waits: each look at them takes one for a moment. Jobs that were removed are left out.
    """
    reader = JobReader(runtime.jobs, runtime.cache.download)
    end, pause = time.monotonic() + seconds, _FIRST_PAUSE
    while True:
        views = await run_in_threadpool(reader.read, job_ids, skip_missing=True)
        left = end - time.monotonic()
        if left <= 0 or all(view.is_idle for view in views):
            return views
        await anyio.sleep(min(pause, left))
        pause = min(2 * pause, _LONGEST_PAUSE)
