"""Single flight and idempotency keys: who asks for the very same gets the job that is there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

import tasks
from domain.errors import DuplicateJobError, IdempotencyKeyReusedError
from domain.job import JobStatus, SubmittedJob
from tests.support.build import unused_url
from tests.support.origin import Origin
from tests.support.store import StoreServer
from tests.support.system import System
from worker.runner import Outcome, run_download

S = JobStatus
KEYED = {"SEEN_SECRET_KEY": "0123456789abcdef0123456789abcdef"}


def submit(system: System, url: str, **fields: object) -> SubmittedJob:
    request = tasks.DownloadRequest.model_validate({"url": url, **fields})
    return tasks.submit(request, runtime=system.runtime)


# ── the same while it is alive ──────────────────────────────────────────────────────────────────


def test_a_double_click_is_one_job_and_one_message(any_system: System) -> None:
    url = unused_url()
    first = submit(any_system, url)
    second = submit(any_system, url.upper().replace("BIN", "bin"), priority="high", connections=9)
    assert (first.is_new, second.is_new) == (True, False)
    assert second.id == first.id
    assert any_system.backlog() == 1
    assert len(any_system.runtime.jobs.events(first.id)) == 1


@pytest.mark.parametrize("status", [S.QUEUED, S.DOWNLOADING, S.WAITING, S.PAUSED])
def test_a_job_is_the_same_until_it_has_ended(system: System, status: JobStatus) -> None:
    url = unused_url()
    job = submit(system, url)
    now = system.runtime.now()
    if status is S.PAUSED:
        tasks.pause(job.id, runtime=system.runtime)
    elif status is not S.QUEUED:
        claimed = system.runtime.jobs.claim(job.id, worker="w", now=now)
        assert claimed is not None
        if status is S.WAITING:
            changes = {"next_attempt_at": now}
            system.runtime.jobs.transition(claimed, status, now=now, changes=changes)
    again = submit(system, url)
    assert (again.id, again.is_new, again.status) == (job.id, False, status)


def test_what_has_ended_is_fetched_anew(any_system: System) -> None:
    url = unused_url()
    job = submit(any_system, url)
    tasks.cancel(job.id, runtime=any_system.runtime)
    again = submit(any_system, url)
    assert again.is_new
    assert again.id != job.id


def test_others_and_other_credentials_have_jobs_of_their_own(
    tmp_path_factory: pytest.TempPathFactory, store: StoreServer
) -> None:
    with System(tmp_path_factory.mktemp("keyed"), store, settings=KEYED) as system:
        url = unused_url()
        jobs = [
            submit(system, url, **fields)
            for fields in (
                {},
                {"user_id": "ada"},
                {"headers": {"X-Token": "one"}},
                {"headers": {"X-Token": "two"}},
                {"headers": {"x-token": "one"}},  # the same header
                {"username": "ada", "password": "pw"},
                {"cookies": "a=b"},
            )
        ]
        assert [job.is_new for job in jobs] == [True, True, True, True, False, True, True]
        assert jobs[4].id == jobs[2].id
        assert all("one" not in (system.job(job).flight or "") for job in jobs)


def test_one_call_may_name_the_same_twice(any_system: System) -> None:
    one, other = unused_url(), unused_url()
    requests = [tasks.DownloadRequest(url=url) for url in (one, other, one)]
    first, second, third = tasks.submit_many(requests, runtime=any_system.runtime)
    assert [first.is_new, second.is_new, third.is_new] == [True, True, False]
    assert third.id == first.id
    assert third.published_at is not None
    assert any_system.backlog() == 2


def test_many_who_submit_the_same_at_once_share_one_job(any_system: System) -> None:
    urls = [unused_url() for _ in range(5)]
    requests = [tasks.DownloadRequest(url=url) for url in urls]

    def click(number: int) -> list[SubmittedJob]:
        # In different orders: nobody may wait for the other for ever.
        wanted = requests[::-1] if number % 2 else requests
        return tasks.submit_many(wanted, runtime=any_system.runtime)

    with ThreadPoolExecutor(8) as pool:
        answers = [job for jobs in pool.map(click, range(40)) for job in jobs]
    assert len({job.id for job in answers}) == len(urls)
    assert sum(job.is_new for job in answers) == len(urls)
    assert len(any_system.runtime.jobs.find(limit=100)) == len(urls)
    assert any_system.backlog() == len(urls)


def test_the_origin_is_asked_once(system: System, origin: Origin) -> None:
    file = origin.serve("/a.bin", size=1000)
    jobs = [submit(system, file.url) for _ in range(3)]
    assert run_download(system.runtime, jobs[0].id) is Outcome.COMPLETED
    assert run_download(system.runtime, jobs[2].id) is Outcome.NOT_QUEUED
    assert len(origin.requests_for("/a.bin")) == 1
    assert len(list(system.downloads.iterdir())) == 1


def test_a_job_that_has_ended_is_not_retried_beside_its_living_twin(any_system: System) -> None:
    url = unused_url()
    ended = submit(any_system, url)
    tasks.cancel(ended.id, runtime=any_system.runtime)
    living = submit(any_system, url)
    with pytest.raises(DuplicateJobError, match=living.id):
        tasks.retry(ended.id, runtime=any_system.runtime)
    assert any_system.job(ended).status is S.CANCELLED
    # Of two that have ended, one can be retried.
    tasks.cancel(living.id, runtime=any_system.runtime)
    both = [ended.id, living.id]
    result = tasks.control_many(tasks.Action.RETRY, both, runtime=any_system.runtime)
    assert [job.id for job in result.changed] == [ended.id]
    assert [type(error) for error in result.refused] == [DuplicateJobError]


# ── idempotency keys ────────────────────────────────────────────────────────────────────────────


def test_a_key_gives_the_same_job_whatever_has_become_of_it(any_system: System) -> None:
    url = unused_url()
    job = submit(any_system, url, idempotency_key="order 7")
    tasks.cancel(job.id, runtime=any_system.runtime)
    again = submit(any_system, url, idempotency_key="order 7")
    assert (again.id, again.is_new, again.status) == (job.id, False, S.CANCELLED)
    assert submit(any_system, url, idempotency_key="order 8").is_new


def test_a_key_that_joined_a_living_job_stays_with_it(any_system: System) -> None:
    url = unused_url()
    job = submit(any_system, url)
    assert submit(any_system, url, idempotency_key="late").id == job.id
    tasks.cancel(job.id, runtime=any_system.runtime)
    assert submit(any_system, url, idempotency_key="late").id == job.id


def test_a_key_belongs_to_one_user(any_system: System) -> None:
    url = unused_url()
    jobs = [submit(any_system, url, idempotency_key="k", user_id=user) for user in ("a", "b", None)]
    assert len({job.id for job in jobs}) == 3


def test_a_key_for_something_else_is_refused_and_nothing_is_written(any_system: System) -> None:
    job = submit(any_system, unused_url(), idempotency_key="k")
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
        job = submit(any_system, url, idempotency_key="k")
        if job.is_new:  # it ends at once: the key alone keeps the others from beginning another
            tasks.cancel(job.id, runtime=any_system.runtime)
        return job

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(call, range(40)))
    assert len({job.id for job in answers}) == 1
    assert sum(job.is_new for job in answers) == 1


def test_without_broker_the_same_is_still_one_job(system: System) -> None:
    """Given a job that was accepted and not published, as its caller may never have heard."""
    url = unused_url()
    job = submit(system, url)
    system.runtime.jobs.mark_unpublished(job.id)
    again = submit(system, url)
    assert (again.id, again.published_at) == (job.id, None)
