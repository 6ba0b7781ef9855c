"""Deduplication: a repeated request returns the existing job while that one is unfinished."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

import tasks
from domain.errors import DuplicateJobError, SeenError
from domain.job import Job, JobStatus, SubmittedJob
from tests.support.build import unused_url
from tests.support.origins.origin import Origin
from tests.support.services.operations import claim, consume_message
from tests.support.services.running import run_download, running
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.outcome import Outcome

S = JobStatus
KEYED = {"SEEN_SECRET_KEY": "0123456789abcdef0123456789abcdef"}


# ── while a job is unfinished ───────────────────────────────────────────────────────────────────


def test_a_double_click_is_one_job_and_one_message(any_system: System) -> None:
    url = unused_url()
    first = any_system.submit(url)
    second = any_system.submit(url.upper().replace("BIN", "bin"), priority="high", connections=9)
    assert (first.is_new, second.is_new) == (True, False)
    assert second.id == first.id
    assert any_system.backlog() == 1
    assert len(any_system.runtime.jobs.events(first.id)) == 1


@pytest.mark.parametrize("status", [S.QUEUED, S.DOWNLOADING, S.WAITING, S.PAUSED])
def test_a_job_is_the_same_until_it_has_ended(system: System, status: JobStatus) -> None:
    url = unused_url()
    job = system.submit(url)
    now = system.runtime.now()
    if status is S.PAUSED:
        tasks.pause(job.id, runtime=system.runtime)
    elif status is not S.QUEUED:
        claimed = claim(system.runtime.jobs, job.id, worker="w", now=now)
        assert claimed is not None
        if status is S.WAITING:
            changes = {"next_attempt_at": now}
            system.runtime.jobs.transition(claimed, status, now=now, changes=changes)
    again = system.submit(url)
    assert (again.id, again.is_new, again.status) == (job.id, False, status)


def test_a_finished_download_is_fetched_again(any_system: System) -> None:
    url = unused_url()
    job = any_system.submit(url)
    tasks.cancel(job.id, runtime=any_system.runtime)
    again = any_system.submit(url)
    assert again.is_new
    assert again.id != job.id


def test_others_and_other_credentials_have_jobs_of_their_own(
    tmp_path_factory: pytest.TempPathFactory, store: StoreServer
) -> None:
    with System(tmp_path_factory.mktemp("keyed"), store, settings=KEYED) as system:
        url = unused_url()
        jobs = [
            system.submit(url, **fields)
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
        assert all("one" not in (system.job(job).dedup_key or "") for job in jobs)


def test_one_call_may_name_the_same_twice(any_system: System) -> None:
    one, other = unused_url(), unused_url()
    requests = [tasks.DownloadRequest(url=url) for url in (one, other, one)]
    first, second, third = tasks.submit_many(requests, runtime=any_system.runtime)
    assert [first.is_new, second.is_new, third.is_new] == [True, True, False]
    assert third.id == first.id
    assert third.published_at is not None
    assert any_system.backlog() == 2


def test_equal_requests_at_once_share_one_job(any_system: System) -> None:
    urls = [unused_url() for _ in range(5)]
    requests = [tasks.DownloadRequest(url=url) for url in urls]

    def submit_once(number: int) -> list[SubmittedJob]:
        # In different orders: this must not deadlock.
        wanted = requests[::-1] if number % 2 else requests
        return tasks.submit_many(wanted, runtime=any_system.runtime)

    with ThreadPoolExecutor(8) as pool:
        answers = [job for jobs in pool.map(submit_once, range(40)) for job in jobs]
    assert len({job.id for job in answers}) == len(urls)
    assert sum(job.is_new for job in answers) == len(urls)
    assert len(any_system.runtime.jobs.find(limit=100)) == len(urls)
    assert any_system.backlog() == len(urls)


def test_the_same_requests_in_other_orders_do_not_deadlock(
    any_system: System,
) -> None:
    names = [unused_url() + f"?{number}" for number in range(1_000)]
    requests = [tasks.DownloadRequest(url=url) for url in names]
    ready = threading.Barrier(4)

    def bring(turn: int) -> set[str]:
        mine = requests if turn % 2 else requests[::-1]
        ready.wait()
        return {job.id for job in tasks.submit_many(mine, runtime=any_system.runtime)}

    with ThreadPoolExecutor(4) as pool:
        first, *others = pool.map(bring, range(4))
    assert len(first) == len(names)
    assert all(other == first for other in others)


def test_the_origin_is_asked_once(system: System, origin: Origin) -> None:
    file = origin.serve("/a.bin", size=1000)
    jobs = [system.submit(file.url) for _ in range(3)]
    assert run_download(system.runtime, jobs[0].id) is Outcome.COMPLETED
    assert run_download(system.runtime, jobs[2].id) is Outcome.NOT_QUEUED
    assert len(origin.requests_for("/a.bin")) == 1
    assert len(list(system.downloads.iterdir())) == 1


def test_a_finished_job_is_not_retried_beside_an_unfinished_one_of_its_key(
    any_system: System,
) -> None:
    url = unused_url()
    ended = any_system.submit(url)
    tasks.cancel(ended.id, runtime=any_system.runtime)
    unfinished = any_system.submit(url)
    with pytest.raises(DuplicateJobError, match=unfinished.id):
        tasks.retry(ended.id, runtime=any_system.runtime)
    assert any_system.job(ended).status is S.CANCELLED
    # Of two that have ended, one can be retried.
    tasks.cancel(unfinished.id, runtime=any_system.runtime)
    both = [ended.id, unfinished.id]
    result = tasks.control_many(tasks.Action.RETRY, both, runtime=any_system.runtime)
    assert [job.id for job in result.changed] == [ended.id]
    assert [type(error) for error in result.refused] == [DuplicateJobError]


# ── while it is being cancelled ─────────────────────────────────────────────────────────────────


def claimed(system: System, url: str, **fields: object) -> Job:
    """A job that is claimed without a worker: it keeps its state until the test ends it."""
    job = system.submit(url, **fields)
    running = claim(system.runtime.jobs, job.id, worker="w", now=system.runtime.now())
    assert running is not None
    return running


def end(system: System, job: Job, status: JobStatus = S.CANCELLED) -> None:
    assert system.runtime.jobs.transition(job, status, now=system.runtime.now()) is not None


def test_a_submit_after_a_cancel_gets_a_job_that_will_run(any_system: System) -> None:
    runtime, url = any_system.runtime, unused_url()
    job = claimed(any_system, url)
    assert tasks.cancel(job.id, runtime=runtime).control == "cancel"

    again = any_system.submit(url)
    assert (again.is_new, again.status, again.control) == (True, S.QUEUED, None)
    assert again.id != job.id
    third = any_system.submit(url)
    assert (third.is_new, third.id) == (False, again.id)

    end(any_system, job)
    assert any_system.job(again).status is S.QUEUED
    assert any_system.submit(url).id == again.id


def test_a_cancelled_job_is_not_retried_beside_the_one_that_took_its_place(
    any_system: System,
) -> None:
    runtime, url = any_system.runtime, unused_url()
    job = claimed(any_system, url)
    tasks.cancel(job.id, runtime=runtime)
    again = any_system.submit(url)
    end(any_system, job)
    with pytest.raises(DuplicateJobError, match=again.id):
        tasks.retry(job.id, runtime=runtime)
    tasks.cancel(again.id, runtime=runtime)
    assert tasks.retry(job.id, runtime=runtime).status is S.QUEUED
    # Further requests return this job from now on.
    assert any_system.submit(url).id == job.id
    with pytest.raises(DuplicateJobError, match=job.id):
        tasks.retry(again.id, runtime=runtime)


def test_of_two_that_were_being_cancelled_at_once_one_is_retried(
    any_system: System,
) -> None:
    runtime, url = any_system.runtime, unused_url()
    jobs = []
    for _ in range(2):
        job = claimed(any_system, url)
        tasks.cancel(job.id, runtime=runtime)
        jobs.append(job)
    for job in jobs:
        end(any_system, job)
    result = tasks.control_many(tasks.Action.RETRY, [job.id for job in jobs], runtime=runtime)
    assert [job.id for job in result.changed] == [jobs[0].id]
    assert [error.job_id for error in result.refused] == [jobs[1].id]


@pytest.mark.parametrize("status", [S.COMPLETED, S.FAILED])
def test_a_job_that_ends_before_its_cancel_keeps_its_result(
    any_system: System, status: JobStatus
) -> None:
    runtime, url = any_system.runtime, unused_url()
    job = claimed(any_system, url)
    verifying = runtime.jobs.transition(job, S.VERIFYING, now=runtime.now())
    assert verifying is not None
    tasks.cancel(job.id, runtime=runtime)
    again = any_system.submit(url)
    assert again.is_new
    end(any_system, verifying, status)
    assert any_system.submit(url).id == again.id


@pytest.mark.parametrize("action", [tasks.Action.PAUSE, tasks.Action.RESUME, tasks.Action.RETRY])
def test_nothing_brings_a_job_back_that_another_one_has_replaced(
    any_system: System, action: tasks.Action
) -> None:
    runtime, url = any_system.runtime, unused_url()
    job = claimed(any_system, url)
    tasks.cancel(job.id, runtime=runtime)
    again = any_system.submit(url)
    result = tasks.control_many(action, [job.id], runtime=runtime)
    assert (result.changed, [one.control for one in result.unchanged]) == ([], ["cancel"])
    # Its worker requeues it, or is gone: the job ends instead.
    requeued = runtime.jobs.transition(job, S.QUEUED, now=runtime.now())
    assert requeued is not None
    assert requeued.status is S.CANCELLED
    assert any_system.job(again).status is S.QUEUED


def test_a_pause_that_has_not_come_is_no_cancel(any_system: System) -> None:
    url = unused_url()
    job = claimed(any_system, url)
    tasks.pause(job.id, runtime=any_system.runtime)
    again = any_system.submit(url)
    assert (again.id, again.is_new, again.control) == (job.id, False, "pause")


def test_a_key_stays_with_the_job_that_is_being_cancelled(any_system: System) -> None:
    url = unused_url()
    job = claimed(any_system, url, idempotency_key="order 7")
    tasks.cancel(job.id, runtime=any_system.runtime)
    same = any_system.submit(url, idempotency_key="order 7")
    assert (same.id, same.is_new, same.control) == (job.id, False, "cancel")
    other = any_system.submit(url, idempotency_key="order 8")
    assert other.is_new
    assert any_system.submit(url).id == other.id
    # In one call, each gets what it gets alone.
    wanted = [
        tasks.DownloadRequest(url=url, idempotency_key="order 7"),
        tasks.DownloadRequest(url=url),
    ]
    answers = tasks.submit_many(wanted, runtime=any_system.runtime)
    assert [one.id for one in answers] == [job.id, other.id]


def test_requests_at_the_time_of_a_cancel_share_one_new_job(any_system: System) -> None:
    """All who submit after the cancel get the same job, which is not cancelled."""
    runtime = any_system.runtime
    for _ in range(5):
        url = unused_url()
        job = claimed(any_system, url)
        noted = threading.Event()

        def submit_once(
            number: int, url: str = url, job: Job = job, noted: threading.Event = noted
        ) -> tuple[bool, str]:
            if number == 8:
                tasks.cancel(job.id, runtime=runtime)
                noted.set()
            after = noted.is_set()
            return after, any_system.submit(url).id

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(submit_once, range(24)))
        late = {job_id for after, job_id in answers if after}
        assert len(late) == 1
        assert job.id not in late
        assert {job_id for _, job_id in answers} <= {job.id, *late}
        assert len(unfinished(any_system, job)) == 1


def test_there_are_never_two_unfinished_jobs_of_one_dedup_key(any_system: System) -> None:
    """Given people who submit, cancel and retry the same at once, and workers that claim and stop."""
    runtime, url = any_system.runtime, unused_url()
    first = any_system.submit(url)

    def act(number: int) -> int:
        with suppress(SeenError):
            known: Job = any_system.submit(url) if number % 3 else first
            if number % 2:
                claim(runtime.jobs, known.id, worker="w", now=runtime.now())
            if number % 5 < 2:
                known = tasks.cancel(known.id, runtime=runtime)
            if number % 5 == 1:
                runtime.jobs.transition(any_system.job(known), S.QUEUED, now=runtime.now())
        return len(unfinished(any_system, first))

    with ThreadPoolExecutor(8) as pool:
        assert max(pool.map(act, range(120))) == 1
    found = runtime.jobs.find(limit=200)
    assert len(found) > 3
    assert all(one.dedup_key == first.dedup_key for one in found)


def unfinished(system: System, job: Job) -> list[Job]:
    """The unfinished jobs with the same dedup key that are not being cancelled."""
    return [
        one
        for one in system.runtime.jobs.find(limit=200)
        if one.dedup_key == job.dedup_key and not one.is_finished and one.control != "cancel"
    ]


def test_the_old_download_and_the_new_one_do_not_touch_each_other(
    system: System, origin: Origin
) -> None:
    """Given a worker that has not received the cancel when the new job is complete already."""
    file = origin.serve("/a.bin", size=400_000, hang_after=200_000, faults=1)
    job = system.submit(file.url)
    with running(system, job) as outcomes:
        wait_until(lambda: len(origin.requests_for("/a.bin")) == 1)
        assert system.runtime.jobs.request_control([system.job(job)], "cancel")
        again = system.submit(file.url)
        assert again.is_new
        assert run_download(system.runtime, again.id) is Outcome.COMPLETED
        assert system.job(job).status is S.DOWNLOADING
        tasks.cancel(job.id, runtime=system.runtime)
    assert outcomes == [Outcome.CANCELLED]
    assert [path.name for path in system.downloads.iterdir()] == ["a.bin"]
    assert system.job(again).sha256 == file.sha256


def test_without_broker_the_same_is_still_one_job(system: System) -> None:
    """Given a job that was accepted and not published, as when its caller got no response."""
    url = unused_url()
    job = system.submit(url)
    consume_message(system.runtime.jobs, job.id)
    again = system.submit(url)
    assert (again.id, again.published_at) == (job.id, None)
