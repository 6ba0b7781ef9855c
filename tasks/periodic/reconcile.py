"""Comparing SQL with the store, and correcting what differs.

Each case is found without reading every job, corrected by a compare-and-set (so two at once do no harm),
counted, and noted in the job's history.
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
#: A caller that has stored a job has this long to publish it. Seconds.
PUBLISHING_GRACE = 2.0
#: A message counts as lost when its job is still queued this long after it was sent, and the message is
#: in no queue: the one at the head was sent this long after it. Seconds.
DELIVERY_GRACE = 30.0
#: A change may reach SQL and the store at times that differ by this much. Seconds.
CONVERGENCE_GRACE = 5.0


class Reconciled(NamedTuple):
    """What one run corrected, in numbers of jobs."""

    orphaned: int
    """Running in SQL, without lock and updates: requeued, failed, or paused or cancelled on request."""
    ended: int
    """Running in SQL, finished in the store by a worker that is gone: saved to SQL."""
    published: int
    """Queued in SQL, without message: published."""
    resent: int
    """With a pending control request that the store lacks: sent to the store again."""
    stopped: int
    """Running in a worker, but not in SQL: the worker was stopped."""
    removed: int
    """Running in the store alone, without worker: the progress was removed."""


def reconcile(runtime: Runtime) -> Reconciled:
    """Compare SQL with the store, and correct what differs."""
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
    """Correct times that a machine with a fast clock has written."""
    longest = runtime.settings.retry_backoff_max
    corrected = correct_future_times(runtime.database, runtime.now(), longest)
    if corrected:
        logger.warning(
            "%d jobs had times in the future: the clock of a worker is fast, or this one is slow",
            corrected,
        )


# ── running without a worker ────────────────────────────────────────────────────────────────────


def requeue_orphans(runtime: Runtime) -> tuple[int, int]:
    """Requeue jobs whose workers are gone; return their number, and that of jobs found finished."""
    settings = runtime.settings
    # A running job is updated in SQL at least this often.
    quiet = min(settings.orphan_after, 2 * settings.heartbeat_interval + settings.persist_interval)
    # Called each time, also without quiet jobs: the detector knows only the time since its first call.
    is_certain = runtime.cache.data_loss.seconds_without_loss() >= settings.lock_ttl
    # A missing lock means a dead worker only if Redis has kept its data. Otherwise the worker may write
    # until its lease ends on its own clock.
    silence = quiet if is_certain else settings.orphan_after
    orphaned = finished = 0
    for page in _quiet_jobs(runtime, runtime.now() - timedelta(seconds=quiet)):
        locked = runtime.cache.held_download_locks([job.id for job in page])
        free = [job for job in page if job.id not in locked]
        hashes = runtime.cache.download.get_many([job.id for job in free])
        progress = {job.id: hashes[job.id] for job in free if _is_of_claim(hashes.get(job.id), job)}
        done = {job_id: one for job_id, one in progress.items() if one.status in FINISHED}
        finished += sum(save_final_state(runtime, one) for one in done.values())
        silent_since = runtime.now() - timedelta(seconds=silence)
        orphans = [
            job
            for job in free
            if job.id not in done and _last_update(job, progress.get(job.id)) <= silent_since
        ]
        orphaned += _requeue_or_fail(runtime, orphans)
    return orphaned, finished


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
    """Requeue orphans, or apply their pending control requests.

    A job whose attempts are used up fails: it may be the cause of its workers' deaths.
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
    runtime.publisher.publish(
        [job for job in moved if job.status is JobStatus.QUEUED], requeued=True
    )
    runtime.publisher.publish_for_file_removal(
        [job for job in moved if job.status is JobStatus.CANCELLED]
    )
    return len(moved)


# ── queued without a message ────────────────────────────────────────────────────────────────────


def publish_unpublished(runtime: Runtime) -> int:
    """Publish queued jobs without a message; return how many."""
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
    """Publish queued jobs again whose message is no longer in its queue; return how many."""
    delivered = runtime.now() - timedelta(seconds=DELIVERY_GRACE)
    # Read first: a message that is consumed after this is known to have been there.
    requeued = runtime.broker.requeued()
    published = _publish_lost_of(runtime, None, delivered, requeued)
    for priority in Priority:
        taken = _consumed_before(runtime, priority)
        if taken is not None:
            published += _publish_lost_of(runtime, priority, min(delivered, taken), requeued)
    return published


def _consumed_before(runtime: Runtime, priority: Priority) -> datetime | None:
    """Return the time before which all messages of one priority are consumed; None if unknown.

    A queue is first in, first out: a message that was sent well before the one at the head is not in it.
    So of many messages that were sent at the same time, a lost one is missed only when most of them are
    consumed. To find it sooner, the whole queue would have to be read.
    """
    head = runtime.broker.head(priority)
    if head is None:
        return runtime.now()
    if head.job_id is None or head.sent_at is None:
        return None  # the next message at the head may have one
    sent_at = head.sent_at
    first = runtime.jobs.get_many([head.job_id]).get(head.job_id)
    if first is not None and first.published_at is not None:
        # The job may have another message since. Or a fast clock has written this one's time, which was
        # then corrected in the row alone.
        sent_at = min(sent_at, first.published_at)
    return sent_at - timedelta(seconds=DELIVERY_GRACE)


def _publish_lost_of(
    runtime: Runtime, priority: Priority | None, before: datetime, requeued: Set[str]
) -> int:
    """Publish jobs again whose message was sent to one queue by `before`.

    The queue is that of a priority, or without one that for requeued jobs. Jobs in `requeued` have a
    message in the latter.
    """
    published = 0
    after_id = ""
    note = history.LOST_MESSAGE
    while jobs := runtime.jobs.published_before(before, priority, after_id=after_id, limit=BATCH):
        after_id = jobs[-1].id
        lost = [job for job in jobs if job.id not in requeued]
        if not _publish_with_note(runtime, lost, note, requeued=priority is None):
            break
        published += len(lost)
    return published


def _publish_with_note(
    runtime: Runtime, jobs: Sequence[QueuedJob], note: str, *, requeued: bool = False
) -> bool:
    if runtime.publisher.publish(jobs, requeued=requeued) is None:
        return False
    runtime.jobs.note_many([job.id for job in jobs], note, now=runtime.now())
    return True


# ── control requests, and runs that SQL does not know ───────────────────────────────────────────


def _resend_controls(runtime: Runtime) -> int:
    """Copy pending control requests to the store again, where it lacks them; return how many."""
    pending = runtime.jobs.pending_controls()
    known = runtime.cache.download.apply([], [(job.id, job.fence) for job in pending])
    missing = [
        job for job, reply in zip(pending, known, strict=True) if reply.control != job.control
    ]
    for control in ("pause", "cancel"):
        claims = [(job.id, job.fence) for job in missing if job.control == control]
        runtime.cache.download.request_control_many(control, claims)
        note = f"{control} was requested from its worker again"
        runtime.jobs.note_many([job_id for job_id, _ in claims], note, now=runtime.now())
    return len(missing)


def _stop_unknown_runs(runtime: Runtime) -> tuple[int, int]:
    """Stop runs that the store has and SQL lacks, or has under another claim.

    Returns how many workers were stopped, and how many hashes without worker were removed.
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
            ([one.job_id for one in leaving], "a worker that still ran it was stopped"),
            (gone, "progress of a run without worker was removed"),
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
