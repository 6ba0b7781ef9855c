"""Repeated requeues: one history line stands for all, with the true count."""

from __future__ import annotations

from datetime import timedelta

from database import JobRepository
from domain.byte_counts import ByteCounts
from domain.history import NO_MESSAGE, stop_reason
from domain.job import Job, JobStatus
from tests.support.build import NOW, new_job
from tests.support.histories import claims_in
from tests.support.services import operations

S = JobStatus
FULL = "The store refuses: OOM. It is full; free it."
REPLICA = "The store refuses: READONLY."


def claim(repo: JobRepository, job_id: str, number: int, worker: str = "host:1") -> Job:
    claimed = operations.claim(repo, job_id, worker=worker, now=NOW + timedelta(seconds=2 * number))
    assert claimed is not None
    return claimed


def hand_back(
    repo: JobRepository, job: Job, *, reason: str = FULL, kept: int = 0, may_repeat: bool = True
) -> None:
    """Queue a job again, as a worker does that was stopped by the store."""
    queued = repo.transition(
        job,
        S.QUEUED,
        now=job.updated_at + timedelta(seconds=1),
        reason=reason,
        changes={"attempts": job.attempts - 1, "worker": None, "bytes_durable": kept},
        event_reason=stop_reason(reason, ByteCounts(kept, kept)),
        may_repeat=may_repeat,
    )
    assert queued is not None


def added(repo: JobRepository) -> str:
    job = new_job()
    repo.add([job])
    return job.id


def history(repo: JobRepository, job_id: str) -> list[tuple[S, int, str | None]]:
    """Return the trail without its first event."""
    return [(one.to_status, one.fence, one.reason) for one in repo.events(job_id)[1:]]


def test_repeated_hand_backs_are_one_line_with_their_count(repo: JobRepository) -> None:
    job_id = added(repo)

    for number in range(7):
        hand_back(repo, claim(repo, job_id, number))

    why = FULL.removesuffix(".")
    assert history(repo, job_id) == [
        (S.DOWNLOADING, 1, None),
        (S.QUEUED, 7, f"{why}; 7 times in a row"),
    ]
    first, last = repo.events(job_id)[1:]
    assert (first.at, last.at) == (NOW, NOW + timedelta(seconds=13))
    assert (last.attempt, repo.get(job_id).fence, repo.get(job_id).attempts) == (0, 7, 0)
    assert [claims_in(event) for event in (first, last)] == [1, 6]


def test_a_running_claim_stands_in_the_history(repo: JobRepository) -> None:
    job_id = added(repo)
    for number in range(3):
        hand_back(repo, claim(repo, job_id, number))

    claim(repo, job_id, 3, worker="host:2")

    assert [(to, fence) for to, fence, _ in history(repo, job_id)] == [
        (S.DOWNLOADING, 1),
        (S.QUEUED, 3),
        (S.DOWNLOADING, 4),
    ]


def test_the_newest_count_of_durable_bytes_is_returned(repo: JobRepository) -> None:
    job_id = added(repo)

    for number in range(3):
        hand_back(repo, claim(repo, job_id, number), kept=1000 * number)

    assert history(repo, job_id)[-1][2] == (
        f"{FULL.removesuffix('.')}; 2,000 bytes are kept; 3 times in a row"
    )


def test_another_reason_has_a_line_of_its_own(repo: JobRepository) -> None:
    job_id = added(repo)

    for number, reason in enumerate([FULL, FULL, REPLICA, REPLICA, REPLICA]):
        hand_back(repo, claim(repo, job_id, number), reason=reason)

    assert [text for *_, text in history(repo, job_id) if text] == [
        f"{FULL.removesuffix('.')}; 2 times in a row",
        f"{REPLICA.removesuffix('.')}; 3 times in a row",
    ]


def test_an_event_in_between_keeps_hand_backs_apart(repo: JobRepository) -> None:
    job_id = added(repo)
    hand_back(repo, claim(repo, job_id, 0))

    job = claim(repo, job_id, 1)
    operations.note(repo, job, "the origin sent another file", now=job.updated_at)
    hand_back(repo, job)

    assert len(history(repo, job_id)) == 5


def test_a_hand_back_for_another_cause_is_never_counted(repo: JobRepository) -> None:
    job_id = added(repo)
    for number in range(2):
        hand_back(repo, claim(repo, job_id, number), may_repeat=False)
    assert len(history(repo, job_id)) == 4


def test_messages_that_were_sent_again_in_between_do_not_keep_hand_backs_apart(
    repo: JobRepository,
) -> None:
    job_id = added(repo)
    for number in range(4):
        repo.note_many([job_id], NO_MESSAGE, now=NOW + timedelta(seconds=2 * number))
        hand_back(repo, claim(repo, job_id, number))

    assert [(to, fence) for to, fence, _ in history(repo, job_id)] == [
        (S.QUEUED, 0),
        (S.DOWNLOADING, 1),
        (S.QUEUED, 4),
    ]


def test_a_note_that_repeats_the_newest_line_is_not_written(repo: JobRepository) -> None:
    jobs = [added(repo), added(repo)]
    for _ in range(3):
        repo.note_many(jobs, NO_MESSAGE, now=NOW)
    repo.note_many(jobs, "another", now=NOW)
    repo.note_many(jobs, NO_MESSAGE, now=NOW)

    for job_id in jobs:
        assert [text for *_, text in history(repo, job_id)] == [NO_MESSAGE, "another", NO_MESSAGE]


def test_a_pending_pause_is_returned(repo: JobRepository) -> None:
    job_id = added(repo)
    hand_back(repo, claim(repo, job_id, 0))
    job = claim(repo, job_id, 1)
    repo.request_control([job], "pause")

    hand_back(repo, job)

    assert [to for to, *_ in history(repo, job_id)] == [
        S.DOWNLOADING,
        S.QUEUED,
        S.DOWNLOADING,
        S.PAUSED,
    ]


def test_the_last_worker_is_known_after_hand_backs(repo: JobRepository) -> None:
    """Its disk has the part file."""
    job_id = added(repo)
    for number, worker in enumerate(["host:1", "other:7"]):
        hand_back(repo, claim(repo, job_id, number, worker))
    assert repo.last_workers([job_id]) == {job_id: "other:7"}
