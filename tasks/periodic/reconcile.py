"""Comparing SQL with what is going on, and putting right what does not fit.

Each case is found without looking at every job, repaired by a compare-and-set (so two at once do no
harm), counted, and written into the job's history.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence, Set
from datetime import datetime, timedelta
from typing import NamedTuple

from cache import DownloadProgress
from database.clock_skew import correct_future_times
from domain import history
from domain.ids import is_job_id
from domain.job import FINISHED, RUNNING, Job, JobStatus, Priority, QueuedJob
from tasks.periodic.persist import save_final_state
from tasks.periodic.run_once import one_at_a_time
from worker.app import app
from worker.runtime import Runtime

logger = logging.getLogger(__name__)

#: Jobs that are read, compared and changed in one step.
BATCH = 500
#: A caller that stored a job is given this long to publish it itself. Seconds.
PUBLISHING_GRACE = 2.0
#: A message counts as lost when its job is still queued this long after it was sent, and no queue has it
#: any more: one that was sent this long before the message at the head has been taken. Seconds.
DELIVERY_GRACE = 30.0
#: What has just changed may still be on its way from one place to the other. Seconds.
CONVERGENCE_GRACE = 5.0


class Reconciled(NamedTuple):
    """What one reconcile repaired, in jobs."""

    orphaned: int
    """Running by SQL, without lock and silent: queued again, ended as a person had asked, or failed."""
    ended: int
    """Running by SQL, ended by the word of a worker that is gone: brought to SQL."""
    published: int
    """Queued by SQL, without message: published."""
    resent: int
    """Asked to pause or cancel, without the store's knowing: told once more."""
    stopped: int
    """Running by their worker and not by SQL: the worker was told to leave."""
    removed: int
    """Running by their progress alone, with no worker: the progress was removed."""


def reconcile(runtime: Runtime) -> Reconciled:
    """Compare SQL with what is going on, and put right what does not fit."""
    _correct_future_times(runtime)  # first: what follows compares times
    orphaned, ended = requeue_orphans(runtime)
    published = publish_unpublished(runtime) + _publish_lost(runtime)
    resent = _resend_controls(runtime)
    stopped, removed = _stop_unknown_runs(runtime)
    report = Reconciled(orphaned, ended, published, resent, stopped, removed)
    if any(report):
        logger.info("Reconciled: %s", report)
    return report


def _correct_future_times(runtime: Runtime) -> None:
    """Let no job wait for a time that only a machine with a fast clock could write."""
    longest = runtime.settings.retry_backoff_max
    corrected = correct_future_times(runtime.database, runtime.now(), longest)
    if corrected:
        logger.warning(
            "%d jobs had times in the future: the clock of a worker is fast, or ours is slow",
            corrected,
        )


# ── running without a worker ────────────────────────────────────────────────────────────────────


def requeue_orphans(runtime: Runtime) -> tuple[int, int]:
    """Queue jobs whose workers are gone; return how many those were, and how many had ended instead."""
    settings = runtime.settings
    # Of a job that runs, SQL hears at least this often.
    quiet = min(settings.orphan_after, 2 * settings.heartbeat_interval + settings.persist_interval)
    # Asked each time, also where nothing is quiet: what was not watched proves nothing.
    certain = runtime.cache.data_loss.seconds_without_loss() >= settings.lock_ttl
    # A lock that has expired is the end of its holder's lease. One that was lost with the store's data
    # is not: then the holder may write until its lease ends on its own clock.
    patience = quiet if certain else settings.orphan_after
    orphaned = ended = 0
    for page in _quiet_jobs(runtime, runtime.now() - timedelta(seconds=quiet)):
        locked = runtime.cache.held_download_locks([job.id for job in page])
        free = [job for job in page if job.id not in locked]
        hashes = runtime.cache.download.get_many([job.id for job in free])
        told = {job.id: hashes[job.id] for job in free if _is_of_claim(hashes.get(job.id), job)}
        done = {job_id: one for job_id, one in told.items() if one.status in FINISHED}
        ended += sum(save_final_state(runtime, progress) for progress in done.values())
        silent_since = runtime.now() - timedelta(seconds=patience)
        orphans = [
            job
            for job in free
            if job.id not in done and _last_update(job, told.get(job.id)) <= silent_since
        ]
        orphaned += _requeue_or_fail(runtime, orphans)
    return orphaned, ended


def _quiet_jobs(runtime: Runtime, since: datetime) -> Iterator[list[Job]]:
    last: Job | None = None
    while page := runtime.jobs.running_not_updated_since(since, after=last, limit=BATCH):
        last = page[-1]
        yield page


def _is_of_claim(progress: DownloadProgress | None, job: Job) -> bool:
    return progress is not None and progress.fence == job.fence


def _last_update(job: Job, progress: DownloadProgress | None) -> datetime:
    if progress is None or progress.updated_at is None:
        return job.updated_at
    return max(job.updated_at, progress.updated_at)


def _requeue_or_fail(runtime: Runtime, orphans: Sequence[Job]) -> int:
    """Do what their workers can do no more: hand jobs back, or stop them where a person wanted so.

    A job whose attempts are used up fails: it may be what its workers die of.
    """
    moved = runtime.jobs.transition_many(
        [job for job in orphans if job.attempts < job.max_attempts],
        JobStatus.QUEUED,
        now=runtime.now(),
        reason="its worker is gone",
        changes={"worker": None},
    )
    moved += runtime.jobs.transition_many(
        [job for job in orphans if job.attempts >= job.max_attempts],
        JobStatus.FAILED,
        now=runtime.now(),
        reason="Its worker is gone, and this was the last attempt.",
        changes={"error_code": "worker_lost"},
    )
    runtime.publisher.publish([job for job in moved if job.status is JobStatus.QUEUED], front=True)
    runtime.publisher.publish_cleanup([job for job in moved if job.status is JobStatus.CANCELLED])
    return len(moved)


# ── queued without a message ────────────────────────────────────────────────────────────────────


def publish_unpublished(runtime: Runtime) -> int:
    """Publish what nobody has; return how many jobs that were."""
    published = 0
    before = runtime.now() - timedelta(seconds=PUBLISHING_GRACE)
    after_id = ""
    while jobs := runtime.jobs.unpublished(before, after_id=after_id, limit=BATCH):
        after_id = jobs[-1].id
        if not _publish_with_note(runtime, jobs, history.NO_MESSAGE):
            break
        published += len(jobs)
    return published


def _publish_lost(runtime: Runtime) -> int:
    """Publish again what must have been taken from its queue long ago, and is still queued."""
    delivered = runtime.now() - timedelta(seconds=DELIVERY_GRACE)
    # First: what is taken from it while we look is known to have been there.
    requeued = runtime.broker.requeued()
    published = _publish_lost_of(runtime, None, delivered, requeued)
    for priority in Priority:
        taken = _consumed_before(runtime, priority)
        if taken is not None:
            published += _publish_lost_of(runtime, priority, min(delivered, taken), requeued)
    return published


def _consumed_before(runtime: Runtime, priority: Priority) -> datetime | None:
    """Return until when messages of one priority were sent that all have been taken; None: nobody knows.

    A queue is first in, first out: what was sent well before the message at its head is not in it. So a
    message that was lost out of many that were sent at the same time is not missed before most of them
    have been taken: to find it sooner, the whole queue would have to be read.
    """
    head = runtime.broker.head(priority)
    if head is None:
        return runtime.now()
    if head.job_id is None or head.sent_at is None:
        return None  # once it is taken, the next one tells
    sent_at = head.sent_at
    first = runtime.jobs.get_many([head.job_id]).get(head.job_id)
    if first is not None and first.published_at is not None:
        # The job may have had another message since. It may also be that a fast clock wrote this one's
        # time, and then it was put right in the row alone.
        sent_at = min(sent_at, first.published_at)
    return sent_at - timedelta(seconds=DELIVERY_GRACE)


def _publish_lost_of(
    runtime: Runtime, priority: Priority | None, before: datetime, requeued: Set[str]
) -> int:
    """Publish again what was sent to one queue by `before` and is not `requeued`.

    The queue is that of a priority; without one, that of what was begun.
    """
    published = 0
    after_id = ""
    note = history.LOST_MESSAGE
    while jobs := runtime.jobs.published_before(before, priority, after_id=after_id, limit=BATCH):
        after_id = jobs[-1].id
        lost = [job for job in jobs if job.id not in requeued]
        if not _publish_with_note(runtime, lost, note, front=priority is None):
            break
        published += len(lost)
    return published


def _publish_with_note(
    runtime: Runtime, jobs: Sequence[QueuedJob], note: str, *, front: bool = False
) -> bool:
    if runtime.publisher.publish(jobs, front=front) is None:
        return False
    runtime.jobs.note_many([job.id for job in jobs], note, now=runtime.now())
    return True


# ── wishes, and workers that SQL knows nothing of ───────────────────────────────────────────────


def _resend_controls(runtime: Runtime) -> int:
    """Tell workers once more what was asked of their jobs, where the store has lost it."""
    asked = runtime.jobs.pending_controls()
    known = runtime.cache.download.apply([], [(job.id, job.fence) for job in asked])
    unheard = [job for job, reply in zip(asked, known, strict=True) if reply.control != job.control]
    for word in ("pause", "cancel"):
        claims = [(job.id, job.fence) for job in unheard if job.control == word]
        runtime.cache.download.request_control_many(word, claims)
        note = f"its worker was told once more to {word} it"
        runtime.jobs.note_many([job_id for job_id, _ in claims], note, now=runtime.now())
    return len(unheard)


def _stop_unknown_runs(runtime: Runtime) -> tuple[int, int]:
    """Put right what the store lists as running and SQL does not, or under another claim.

    Returns how many workers were told to leave, and how many left only their progress behind.
    """
    stopped = removed = 0
    after: str | None = None
    while True:
        page = runtime.cache.download.page_active_downloads(after=after, limit=BATCH)
        unknown = _unknown_runs(runtime, [one for one in page.items if is_job_id(one.job_id)])
        alive = runtime.cache.held_download_locks([one.job_id for one in unknown])
        leaving = [one for one in unknown if one.job_id in alive]
        gone = [one.job_id for one in unknown if one.job_id not in alive]
        download = runtime.cache.download
        download.request_control_many("leave", [(one.job_id, one.fence) for one in leaving])
        download.remove(*gone)
        for job_ids, note in (
            ([one.job_id for one in leaving], "a worker that still ran it was told to leave"),
            (gone, "progress that a worker had left behind was removed"),
        ):
            runtime.jobs.note_many(job_ids, note, now=runtime.now())
        stopped, removed = stopped + len(leaving), removed + len(gone)
        after = page.next_after
        if after is None:
            return stopped, removed


def _unknown_runs(runtime: Runtime, running: Sequence[DownloadProgress]) -> list[DownloadProgress]:
    rows = runtime.jobs.get_many([progress.job_id for progress in running])
    changed_before = runtime.now() - timedelta(seconds=CONVERGENCE_GRACE)
    return [one for one in running if _is_unknown(one, rows.get(one.job_id), changed_before)]


def _is_unknown(progress: DownloadProgress, job: Job | None, changed_before: datetime) -> bool:
    if job is None:
        return True
    if job.updated_at > changed_before:
        return False
    return job.fence > progress.fence or (job.fence == progress.fence and job.status not in RUNNING)


app.task(name="download.reconcile")(one_at_a_time(reconcile))
