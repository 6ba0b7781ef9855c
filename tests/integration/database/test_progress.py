"""Saved progress only goes forward, and only for the claim that runs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from cache.models import version
from database import JobRepository
from database.job_rows import ProgressRow
from domain.byte_counts import ByteCounts
from domain.job import RUNNING, Job, JobStatus
from tests.support.build import NOW, new_job
from tests.support.services.operations import claim

LATER = NOW + timedelta(seconds=5)


def row(job: Job, fence: int, sequence: int, **values: Any) -> ProgressRow:
    defaults: dict[str, Any] = {
        "job_id": job.id,
        "version": version(fence, sequence),
        "counts": ByteCounts(100 * sequence, 50 * sequence, 2**62),
        "speed_mbps": 1.5,
        "reported_at": LATER,
    }
    return ProgressRow(**(defaults | values))


def running(repo: JobRepository, **values: Any) -> Job:
    job = new_job(**{"status": JobStatus.DOWNLOADING, "fence": 2, **values})
    repo.add([job])
    return job


def test_progress_goes_forward(repo: JobRepository) -> None:
    job = running(repo)
    repo.save_progress([row(job, 2, 1)], LATER)
    found = repo.get(job.id)
    assert (found.bytes_downloaded, found.bytes_durable, found.bytes_total) == (100, 50, 2**62)
    assert (found.speed_mbps, found.updated_at) == (1.5, LATER)
    repo.save_progress([row(job, 2, 2, counts=ByteCounts(200, 100, None))], LATER)
    assert (repo.get(job.id).bytes_downloaded, repo.get(job.id).bytes_total) == (200, None)
    assert len(repo.events(job.id)) == 1


@pytest.mark.parametrize("sequence", [4, 5])
def test_an_older_version_changes_nothing(repo: JobRepository, sequence: int) -> None:
    job = running(repo)
    repo.save_progress([row(job, 2, 5)], NOW)
    before = repo.get(job.id)
    repo.save_progress([row(job, 2, sequence, counts=ByteCounts(1))], LATER)
    assert repo.get(job.id) == before


@pytest.mark.parametrize("fence", [0, 1, 3])
def test_another_claim_changes_nothing(repo: JobRepository, fence: int) -> None:
    job = running(repo)
    repo.save_progress([row(job, fence, 9)], LATER)
    assert repo.get(job.id) == job


@pytest.mark.parametrize("status", list(JobStatus))
def test_only_a_running_job_is_changed(repo: JobRepository, status: JobStatus) -> None:
    job = running(repo, status=status)
    repo.save_progress([row(job, 2, 9)], LATER)
    assert (repo.get(job.id) != job) is (status in RUNNING)


def test_a_count_may_fall_when_a_transfer_restarts_from_zero(repo: JobRepository) -> None:
    job = running(repo)
    repo.save_progress([row(job, 2, 5)], NOW)
    repo.save_progress([row(job, 2, 6, counts=ByteCounts(0, 0, 2**62))], NOW)
    assert repo.get(job.id).bytes_downloaded == 0


def test_many_are_saved_at_once_and_unknown_ones_passed_over(repo: JobRepository) -> None:
    jobs = [running(repo) for _ in range(3)]
    repo.save_progress([row(new_job(), 2, 1), *(row(job, 2, 3) for job in reversed(jobs))], LATER)
    assert {job.bytes_downloaded for job in repo.get_many([job.id for job in jobs]).values()} == {
        300
    }
    repo.save_progress([], LATER)


def test_a_claim_after_a_save_starts_a_new_version(repo: JobRepository) -> None:
    job = running(repo)
    repo.save_progress([row(job, 2, 500)], NOW)
    queued = repo.transition(job, JobStatus.QUEUED, now=NOW)
    assert queued is not None
    again = claim(repo, job.id, worker="w", now=NOW)
    assert again is not None
    repo.save_progress([row(job, 2, 501, counts=ByteCounts(1))], LATER)
    assert repo.get(job.id) == again
    repo.save_progress([row(job, 3, 1)], LATER)
    assert repo.get(job.id).bytes_downloaded == 100
