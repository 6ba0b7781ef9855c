"""Idempotency keys: a repeated request with a caller's own key returns the first one's job."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

import tasks
from domain.errors import IdempotencyKeyReusedError
from domain.job import JobStatus, SubmittedJob
from tests.support.build import unused_url
from tests.support.services.system import System

S = JobStatus


def test_a_key_gives_the_same_job_whatever_has_become_of_it(any_system: System) -> None:
    url = unused_url()
    job = any_system.submit(url, idempotency_key="order 7")
    tasks.cancel(job.id, runtime=any_system.runtime)
    again = any_system.submit(url, idempotency_key="order 7")
    assert (again.id, again.is_new, again.status) == (job.id, False, S.CANCELLED)
    assert any_system.submit(url, idempotency_key="order 8").is_new


def test_a_key_that_joined_a_living_job_stays_with_it(any_system: System) -> None:
    url = unused_url()
    job = any_system.submit(url)
    assert any_system.submit(url, idempotency_key="late").id == job.id
    tasks.cancel(job.id, runtime=any_system.runtime)
    assert any_system.submit(url, idempotency_key="late").id == job.id


def test_a_key_belongs_to_one_user(any_system: System) -> None:
    url = unused_url()
    jobs = [any_system.submit(url, idempotency_key="k", user_id=user) for user in ("a", "b", None)]
    assert len({job.id for job in jobs}) == 3


def test_a_key_for_something_else_is_refused_and_nothing_is_written(any_system: System) -> None:
    job = any_system.submit(unused_url(), idempotency_key="k")
    wanted = [
        tasks.DownloadRequest(url=unused_url()),
        tasks.DownloadRequest(url=unused_url(), idempotency_key="k"),
    ]
    with pytest.raises(IdempotencyKeyReusedError, match=job.id):
        tasks.submit_many(wanted, runtime=any_system.runtime)
    same = [tasks.DownloadRequest(url=unused_url(), idempotency_key="n") for _ in range(2)]
    with pytest.raises(IdempotencyKeyReusedError, match="another request"):
        tasks.submit_many(same, runtime=any_system.runtime)
    assert [one.id for one in any_system.runtime.jobs.find()] == [job.id]
    assert any_system.backlog() == 1


def test_callers_who_try_again_at_once_with_one_key_get_one_job(any_system: System) -> None:
    url = unused_url()

    def call(_number: int) -> SubmittedJob:
        job = any_system.submit(url, idempotency_key="k")
        if job.is_new:  # it ends at once: the key alone keeps the others from beginning another
            tasks.cancel(job.id, runtime=any_system.runtime)
        return job

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(call, range(40)))
    assert len({job.id for job in answers}) == 1
    assert sum(job.is_new for job in answers) == 1
