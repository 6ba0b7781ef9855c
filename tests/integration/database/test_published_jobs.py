"""Which jobs have a message, as SQL records it: published, consumed, moved; on both databases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest

from database import JobRepository
from domain.ids import new_job_id
from domain.job import Job, JobStatus, Priority, QueuedJob
from tests.support.build import NOW, new_job
from tests.support.services import operations

S = JobStatus
LATER = NOW + timedelta(seconds=5)
NORMAL = Priority.NORMAL


def ids(queued: Sequence[QueuedJob]) -> list[str]:
    """Their ids, in the same order."""
    return [job.id for job in queued]


def test_unpublished_jobs_are_found(repo: JobRepository) -> None:
    old, fresh = new_job(), new_job(updated_at=LATER)
    done, busy = new_job(published_at=NOW), new_job(status=S.DOWNLOADING)
    repo.add([old, fresh, done, busy])
    assert ids(repo.unpublished(NOW)) == [old.id]
    assert ids(repo.unpublished(LATER)) == [old.id, fresh.id]
    assert ids(repo.unpublished(LATER, limit=1)) == [old.id]
    repo.mark_published([old], LATER)
    assert ids(repo.unpublished(LATER)) == [fresh.id]
    repo.mark_published([], LATER)


def test_published_jobs_that_were_not_claimed_are_found(repo: JobRepository) -> None:
    old, fresh = new_job(published_at=NOW), new_job(published_at=LATER)
    repo.add([old, fresh, new_job(), new_job(status=S.FAILED, published_at=NOW)])
    assert ids(repo.published_before(NOW, NORMAL)) == [old.id]
    assert ids(repo.published_before(LATER, NORMAL)) == [old.id, fresh.id]
    assert ids(repo.published_before(LATER, NORMAL, limit=1)) == [old.id]


def test_only_a_queued_job_gets_another_message(repo: JobRepository) -> None:
    queued = new_job(published_at=NOW)
    running = new_job(published_at=NOW, status=S.DOWNLOADING)
    repo.add([queued, running])
    operations.consume_message(repo, queued.id)
    operations.consume_message(repo, running.id)
    assert repo.get(queued.id).published_at is None
    assert repo.get(running.id) == running


def claim(repo: JobRepository, job: Job) -> Job | None:
    return operations.claim(repo, job.id, worker="w", now=LATER)


def claim_and_requeue(repo: JobRepository, job: Job) -> Job | None:
    running = claim(repo, job)
    return running and repo.transition(running, S.QUEUED, now=LATER)


def pause(repo: JobRepository, job: Job) -> Job | None:
    return repo.transition(job, S.PAUSED, now=LATER)


def pause_and_resume(repo: JobRepository, job: Job) -> Job | None:
    paused = pause(repo, job)
    return paused and repo.transition(paused, S.QUEUED, now=LATER)


def move(repo: JobRepository, job: Job) -> Job | None:
    return repo.move([job], Priority.HIGH, now=LATER)[0]


def move_and_back(repo: JobRepository, job: Job) -> Job | None:
    return repo.move(repo.move([job], Priority.HIGH, now=LATER), NORMAL, now=LATER)[0]


@pytest.mark.parametrize(
    "change", [claim, claim_and_requeue, pause, pause_and_resume, move, move_and_back]
)
def test_a_change_before_the_note_of_a_message_wins(
    repo: JobRepository, change: Callable[[JobRepository, Job], Job | None]
) -> None:
    job = new_job()
    repo.add([job])
    changed = change(repo, job)
    repo.mark_published([job], LATER)
    assert changed is not None
    assert repo.get(job.id) == changed
    assert changed.published_at is None


def test_a_consumed_message_is_not_noted_and_a_newer_one_is(repo: JobRepository) -> None:
    job = new_job()
    repo.add([job])
    operations.consume_message(repo, job.id, LATER)
    operations.consume_message(repo, job.id, NOW)  # an older message, recorded late
    repo.mark_published([job], LATER)
    assert repo.get(job.id).published_at is None
    newer = LATER + timedelta(microseconds=1)
    repo.mark_published([job], newer)
    repo.mark_published([job], LATER)
    operations.consume_message(repo, job.id, LATER)
    assert repo.get(job.id).published_at == newer
    operations.consume_message(repo, job.id, newer)
    assert repo.get(job.id).published_at is None


def test_a_move_changes_the_time_of_a_job_only_where_it_waits(repo: JobRepository) -> None:
    queued, running = new_job(), new_job(status=S.DOWNLOADING)
    repo.add([queued, running])
    moved = repo.move([queued, running], Priority.LOW, now=LATER)
    assert [job.updated_at for job in moved] == [LATER, NOW]


def test_requeued_jobs_are_distinguished_from_queued_ones(repo: JobRepository) -> None:
    made = [new_job() for _ in range(3)]
    repo.add(made)
    requeued, behind, again = made
    repo.mark_published([requeued, again], NOW, requeued=True)
    repo.mark_published([behind], NOW)
    repo.mark_published([again], LATER)
    assert ids(repo.published_before(LATER, None)) == [requeued.id]
    assert ids(repo.published_before(LATER, NORMAL)) == [behind.id, again.id]
    assert ids(repo.published_before(LATER, NORMAL, after_id=behind.id)) == [again.id]
    assert ids(repo.published_before(NOW, NORMAL)) == [behind.id]


def test_many_jobs_at_once(repo: JobRepository) -> None:
    made = [new_job() for _ in range(2_000)]
    repo.add(made)
    # More than a statement may have parameters on PostgreSQL.
    unknown = [QueuedJob(new_job_id(), NORMAL, NOW) for _ in range(70_000)]
    some: list[Job | QueuedJob] = [*made, *unknown]
    repo.mark_published(some, LATER)
    assert len(repo.get_many([job.id for job in some])) == 2_000
    assert repo.unpublished(LATER) == []
    assert len(repo.published_before(LATER, NORMAL, limit=5000)) == 2_000
