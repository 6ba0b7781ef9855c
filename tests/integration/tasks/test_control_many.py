"""Pause, resume, cancel, retry and move: for several jobs, by filter, twice, and against each other."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise

import pytest

import tasks
from domain.errors import IllegalTransitionError, InvalidInputError, UnknownJobError, in_words
from domain.job import FINISHED, Action, Job, JobFilter, JobStatus, Priority
from tasks.api.control import BATCH
from tasks.api.move import _Mover
from tasks.periodic import maintenance
from tests.support.build import unused_url
from tests.support.faults.aging import age_jobs
from tests.support.origins.origin import Origin
from tests.support.services.operations import claim
from tests.support.services.running import downloaded, run_download, running
from tests.support.services.system import System
from tests.support.wait import wait_until
from worker.outcome import Outcome

S = JobStatus


def submit(system: System, count: int = 1, **fields: object) -> list[Job]:
    requests = [
        tasks.DownloadRequest.model_validate({"url": unused_url(), **fields}) for _ in range(count)
    ]
    return list(tasks.submit_many(requests, runtime=system.runtime))


def in_state(system: System, status: JobStatus) -> Job:
    """A job that reached this state by legal transitions."""
    runtime = system.runtime
    (job,) = submit(system)
    if status is S.QUEUED:
        return job
    if status is S.PAUSED:
        return tasks.pause(job.id, runtime=runtime)
    if status is S.CANCELLED:
        return tasks.cancel(job.id, runtime=runtime)
    now = runtime.now()
    moved = claim(runtime.jobs, job.id, worker="w", now=now)
    if status in {S.VERIFYING, S.COMPLETED} and moved is not None:
        moved = runtime.jobs.transition(moved, S.VERIFYING, now=now)
    if moved is not None and moved.status is not status:
        changes = {"next_attempt_at": now}
        moved = runtime.jobs.transition(moved, status, now=now, changes=changes)
    assert moved is not None
    return moved


#: The state after an action, by the state before; without one it is refused. After "?": the request.
OUTCOMES = {
    Action.PAUSE: {
        S.QUEUED: "paused",
        S.WAITING: "paused",
        S.PAUSED: "paused",
        S.DOWNLOADING: "downloading?pause",
        S.VERIFYING: "verifying?pause",
    },
    Action.CANCEL: {
        S.QUEUED: "cancelled",
        S.WAITING: "cancelled",
        S.PAUSED: "cancelled",
        S.CANCELLED: "cancelled",
        S.DOWNLOADING: "downloading?cancel",
        S.VERIFYING: "verifying?cancel",
    },
    Action.RESUME: {
        S.QUEUED: "queued",
        S.WAITING: "queued",
        S.PAUSED: "queued",
        S.DOWNLOADING: "downloading",
        S.VERIFYING: "verifying",
    },
    Action.RETRY: {
        S.QUEUED: "queued",
        S.WAITING: "waiting",
        S.FAILED: "queued",
        S.CANCELLED: "queued",
        S.DOWNLOADING: "downloading",
        S.VERIFYING: "verifying",
    },
}


@pytest.mark.parametrize("status", list(S))
@pytest.mark.parametrize("action", list(Action))
def test_what_each_action_does_in_each_state(
    system: System, action: Action, status: JobStatus
) -> None:
    job = in_state(system, status)
    expected = OUTCOMES[action].get(status)
    for _ in range(2):  # the second time there is nothing left to do
        if expected is None:
            with pytest.raises(IllegalTransitionError, match=in_words(status)):
                getattr(tasks, action)(job.id, runtime=system.runtime)
        else:
            getattr(tasks, action)(job.id, runtime=system.runtime)
        row = system.job(job)
        shown = row.status.value + (f"?{row.control}" if row.control else "")
        assert shown == (expected or status.value)
    history = system.runtime.jobs.events(job.id)
    assert history[-1].to_status is row.status


def test_several_jobs_are_changed_and_the_others_reported(any_system: System) -> None:
    runtime = any_system.runtime
    queued, paused, done = (in_state(any_system, state) for state in (S.QUEUED, S.PAUSED, S.FAILED))
    ids = [queued.id, paused.id, done.id, queued.id]
    result = tasks.control_many(Action.PAUSE, ids, runtime=runtime)
    assert [job.id for job in result.changed] == [queued.id]
    assert [job.id for job in result.unchanged] == [paused.id]
    assert [error.job_id for error in result.refused] == [done.id]
    resumed = tasks.control_many(Action.RESUME, ids[:2], runtime=runtime)
    assert [job.id for job in resumed.changed] == ids[:2]
    assert all(job.published_at for job in resumed.changed)


def test_an_unknown_job_keeps_all_from_being_changed(system: System) -> None:
    (job,) = submit(system)
    ids = [job.id, "01a20000-0000-7000-8000-000000000000"]
    with pytest.raises(UnknownJobError):
        tasks.control_many(Action.CANCEL, ids, runtime=system.runtime)
    with pytest.raises(UnknownJobError):
        tasks.move_many(ids, Priority.HIGH, runtime=system.runtime)
    with pytest.raises(UnknownJobError):
        tasks.cancel(ids[1], runtime=system.runtime)
    assert system.job(job).status is S.QUEUED


def test_a_filter_changes_all_matching_jobs_and_no_others(any_system: System) -> None:
    runtime = any_system.runtime
    count = BATCH + 20
    mine = submit(any_system, count, user_id="ada")
    other = submit(any_system, 3, user_id="bob")
    waiting = in_state(any_system, S.WAITING)
    reported: list[int] = []

    def where(**fields: object) -> JobFilter:
        return JobFilter(**fields)  # type: ignore[arg-type]

    paused = tasks.control_matching(
        Action.PAUSE, where(user_id="ada"), runtime=runtime, progress=reported.append
    )
    assert len(paused.changed) == count
    assert reported == [BATCH, count]
    assert runtime.jobs.count_by_status()[S.PAUSED] == count
    again = tasks.control_matching(Action.PAUSE, where(user_id="ada"), runtime=runtime)
    assert (again.changed, again.unchanged, again.refused) == ([], [], [])
    by_state = tasks.control_matching(Action.CANCEL, where(status=S.WAITING), runtime=runtime)
    assert [job.id for job in by_state.changed] == [waiting.id]
    by_host = tasks.control_matching(
        Action.CANCEL, where(host="127.0.0.1", user_id="bob"), runtime=runtime
    )
    assert {job.id for job in by_host.changed} == {job.id for job in other}
    none = tasks.control_matching(Action.CANCEL, where(host="elsewhere"), runtime=runtime)
    assert none.changed == []
    assert runtime.jobs.count_by_status() == {S.PAUSED: len(mine), S.CANCELLED: 4}


def test_concurrent_actions_leave_a_legal_history(any_system: System) -> None:
    (job,) = submit(any_system)

    def act(number: int) -> None:
        action = list(Action)[number % 4]
        with suppress(IllegalTransitionError):
            tasks.control_many(action, [job.id], runtime=any_system.runtime)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(act, range(80)))
    history = any_system.runtime.jobs.events(job.id)
    for before, after in pairwise(history):
        assert after.from_status is before.to_status
    assert history[-1].to_status is any_system.job(job).status


# ── on a transfer that runs ─────────────────────────────────────────────────────────────────────


@pytest.fixture
def slow_heartbeat(system: System) -> System:
    """A system whose silent downloads send no heartbeat for a long time."""
    object.__setattr__(system.runtime.reporter, "_heartbeat", 3600.0)
    return system


@pytest.mark.parametrize(("action", "end"), [("pause", S.PAUSED), ("cancel", S.CANCELLED)])
def test_a_download_that_receives_nothing_is_stopped_before_its_next_heartbeat(
    slow_heartbeat: System, origin: Origin, action: str, end: JobStatus
) -> None:
    system = slow_heartbeat
    job = system.submit(origin.serve("/a.bin", size=400_000, hang_after=200_000).url)
    with running(system, job) as outcomes:
        wait_until(lambda: downloaded(system, job) == 200_000)
        getattr(tasks, action)(job.id, runtime=system.runtime)
        system.wait_for(job, end, deadline=30)
    assert outcomes == [Outcome(end.value)]
    is_cancelled = end is S.CANCELLED
    assert system.job(job).bytes_durable == (0 if is_cancelled else 200_000)
    assert (list(system.downloads.iterdir()) == []) is is_cancelled


def test_a_pause_keeps_the_bytes_and_uses_no_attempt(system: System, origin: Origin) -> None:
    file = origin.serve("/a.bin", size=400_000, hang_after=100_000, faults=3)
    job = system.submit(file.url, max_attempts=2)
    for size in (100_000, 200_000, 300_000):
        with running(system, job) as outcomes:
            wait_until(lambda size=size: downloaded(system, job) == size)  # type: ignore[misc]
            tasks.pause(job.id, runtime=system.runtime)
            system.wait_for(job, S.PAUSED, deadline=30)
        assert outcomes == [Outcome.PAUSED]
        assert (system.job(job).attempts, system.job(job).bytes_durable) == (0, size)
        assert tasks.resume(job.id, runtime=system.runtime).status is S.QUEUED
    assert run_download(system.runtime, job.id) is Outcome.COMPLETED
    ranges = [request.range for request in origin.requests_for("/a.bin")]
    assert ranges == [None, (100_000, 399_999), (200_000, 399_999), (300_000, 399_999)]
    assert system.job(job).sha256 == file.sha256


def test_a_pending_pause_is_withdrawn_by_a_resume(system: System) -> None:
    job = in_state(system, S.DOWNLOADING)
    runtime = system.runtime
    tasks.pause(job.id, runtime=runtime)
    resumed = tasks.resume(job.id, runtime=runtime)
    assert (resumed.status, resumed.control) == (S.DOWNLOADING, None)
    # Its worker had already received the pause.
    ended = runtime.jobs.transition(job, S.PAUSED, now=runtime.now(), reason="pause requested")
    assert ended is not None
    assert (ended.status, ended.reason, ended.published_at) == (S.QUEUED, None, None)
    assert runtime.jobs.events(job.id)[-1].reason == "the pause was withdrawn"


def test_only_resume_withdraws_a_pause(system: System) -> None:
    job = in_state(system, S.DOWNLOADING)
    tasks.pause(job.id, runtime=system.runtime)
    tasks.retry(job.id, runtime=system.runtime)
    assert system.job(job).control == "pause"


def test_pause_and_resume_at_once_let_the_job_complete(system: System, origin: Origin) -> None:
    """Whenever the worker reads them, the last request counts."""
    file = origin.serve("/a.bin", size=3_000_000, bytes_per_second=1_500_000)
    job = system.submit(file.url)
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set() and system.job(job).status not in FINISHED:
            run_download(system.runtime, job.id)

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    try:
        wait_until(lambda: downloaded(system, job) > 0)
        for _ in range(5):
            tasks.pause(job.id, runtime=system.runtime)
            tasks.resume(job.id, runtime=system.runtime)
        done = system.wait_for(job, S.COMPLETED, deadline=30)
    finally:
        stop.set()
        worker.join(30)
    assert done.sha256 == file.sha256


# ── priorities ──────────────────────────────────────────────────────────────────────────────────


def test_a_job_waits_in_the_queue_of_its_priority(any_system: System) -> None:
    for priority in Priority:
        submit(any_system, priority=priority)
    assert any_system.runtime.broker.backlogs() == {"requeued": 0, "high": 1, "normal": 1, "low": 1}


def test_a_moved_job_runs_by_the_message_in_its_new_queue(
    any_system: System, origin: Origin
) -> None:
    runtime = any_system.runtime
    job = any_system.submit(origin.serve("/a.bin", size=10).url, priority="high")
    moved = tasks.move(job.id, Priority.LOW, runtime=runtime)
    assert moved.priority is Priority.LOW
    assert runtime.broker.backlogs() == {"requeued": 0, "high": 1, "normal": 0, "low": 1}
    assert run_download(runtime, job.id, Priority.HIGH) is Outcome.NOT_QUEUED
    assert any_system.job(job).status is S.QUEUED
    assert run_download(runtime, job.id, Priority.LOW) is Outcome.COMPLETED
    note = runtime.jobs.events(job.id)[1]
    assert (note.to_status, note.reason) == (S.QUEUED, "moved from high to low")


def test_moving_twice_changes_nothing_and_what_has_ended_is_refused(system: System) -> None:
    runtime = system.runtime
    queued, running_one, ended = (
        in_state(system, state) for state in (S.QUEUED, S.DOWNLOADING, S.CANCELLED)
    )
    ids = [queued.id, running_one.id, ended.id]
    first = tasks.move_many(ids, Priority.HIGH, runtime=runtime)
    assert [job.id for job in first.changed] == ids[:2]
    assert [str(error) for error in first.refused] == [
        f"Job {ended.id} is cancelled: it cannot be moved."
    ]
    messages = runtime.broker.backlogs()[Priority.HIGH]
    second = tasks.move_many(ids, Priority.HIGH, runtime=runtime)
    assert [job.id for job in second.unchanged] == ids[:2]
    assert runtime.broker.backlogs()[Priority.HIGH] == messages
    assert system.job(running_one).status is S.DOWNLOADING
    with pytest.raises(IllegalTransitionError):
        tasks.move(ended.id, Priority.LOW, runtime=runtime)


@pytest.mark.parametrize("end", [S.CANCELLED, S.QUEUED])
def test_a_job_that_changes_while_it_is_moved_is_reported(
    any_system: System, end: JobStatus
) -> None:
    """Given a caller who has read a running job, and moves it after it has ended or was requeued."""
    runtime = any_system.runtime
    job = in_state(any_system, S.DOWNLOADING)
    assert runtime.jobs.transition(job, end, now=runtime.now()) is not None
    if end is S.QUEUED:
        tasks.move(job.id, Priority.HIGH, runtime=runtime)
    mover = _Mover(Priority.HIGH, runtime.jobs, runtime.publisher, runtime.now)
    mover.move([job])
    result = mover.result
    reported = [(one.status, one.priority) for one in result.unchanged]
    assert reported == ([] if end is S.CANCELLED else [(S.QUEUED, Priority.HIGH)])
    refused = [str(error) for error in result.refused]
    assert refused == (
        [f"Job {job.id} is cancelled: it cannot be moved."] if end is S.CANCELLED else []
    )


@pytest.mark.parametrize(
    ("action", "states"),
    [
        (Action.PAUSE, {S.COMPLETED, S.FAILED, S.CANCELLED}),
        (Action.RESUME, {S.COMPLETED, S.FAILED, S.CANCELLED}),
        (Action.CANCEL, {S.COMPLETED, S.FAILED}),
        (Action.RETRY, {S.PAUSED, S.COMPLETED}),
    ],
)
def test_a_filter_by_a_state_that_never_allows_the_action_is_refused(
    system: System, action: Action, states: set[JobStatus]
) -> None:
    for status in S:
        if status in states:
            with pytest.raises(InvalidInputError, match=f"{status.capitalize()} jobs cannot be "):
                tasks.control_matching(action, JobFilter(status), runtime=system.runtime)
        else:
            tasks.control_matching(action, JobFilter(status), runtime=system.runtime)


def test_a_filter_moves_unfinished_jobs(system: System) -> None:
    runtime = system.runtime
    mine = submit(system, 3, user_id="ada")
    tasks.cancel(mine[0].id, runtime=runtime)
    submit(system, 2)
    moved = tasks.move_matching(JobFilter(user_id="ada"), Priority.HIGH, runtime=runtime)
    assert {job.id for job in moved.changed} == {job.id for job in mine[1:]}
    assert (moved.unchanged, moved.refused) == ([], [])
    with pytest.raises(InvalidInputError, match="status"):
        tasks.move_matching(JobFilter(S.FAILED), Priority.HIGH, runtime=runtime)


def test_a_moved_job_whose_message_is_lost_is_published_to_its_queue(system: System) -> None:
    job = in_state(system, S.WAITING)
    tasks.move(job.id, Priority.LOW, runtime=system.runtime)
    age_jobs(system)
    assert maintenance.requeue_due(system.runtime) == 1
    assert system.runtime.broker.backlogs()[Priority.LOW] == 1
