"""Each outcome of a job ends its message's task in one state, by what the task returns or raises."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from celery import states
from celery.exceptions import Ignore, Retry

from tasks import downloads
from worker.app import app
from worker.broker.task_messages import MAINTENANCE_TASKS
from worker.celery_ext.task_states import STATES, DownloadNotCompletedError, Request, end_task
from worker.outcome import JobEnd, Outcome

EXPECTED = {
    Outcome.COMPLETED: states.SUCCESS,
    Outcome.FAILED: states.FAILURE,
    Outcome.WAITING: states.RETRY,
    Outcome.REQUEUED: states.RETRY,
    Outcome.PUT_BACK: states.RETRY,
    Outcome.NOT_STARTED: states.RETRY,
    Outcome.UNSAVED: states.RETRY,
    Outcome.FENCED: states.RETRY,
    Outcome.PAUSED: states.REVOKED,
    Outcome.CANCELLED: states.REVOKED,
    Outcome.ALREADY_RUNNING: states.REVOKED,
    Outcome.NOT_QUEUED: states.REVOKED,
}
RAISED: dict[str, type[Exception]] = {
    states.FAILURE: DownloadNotCompletedError,
    states.RETRY: Retry,
    states.REVOKED: Ignore,
}


def test_every_outcome_has_a_state() -> None:
    assert dict(STATES) == EXPECTED
    assert EXPECTED.keys() == set(Outcome)


def ended(ends: list[JobEnd]) -> tuple[str, str]:
    """Return the state of a message's task and its text, as they leave a child of a pool."""
    try:
        return states.SUCCESS, end_task(ends)
    except tuple(RAISED.values()) as raised:
        copy = pickle.loads(pickle.dumps(raised))
    state = next(state for state, kind in RAISED.items() if type(copy) is kind)
    error: Any = copy.exc if isinstance(copy, Retry) else copy
    if isinstance(copy, Ignore):
        (error,) = copy.args
    assert (type(error), error.state) == (DownloadNotCompletedError, state)
    return state, str(error)


@pytest.mark.parametrize("outcome", Outcome)
def test_task_of_one_job_ends_in_the_state_of_its_outcome(outcome: Outcome) -> None:
    assert ended([JobEnd("a", outcome)]) == (EXPECTED[outcome], str(outcome))
    expected = (EXPECTED[outcome], f"{outcome}: no route to host")
    assert ended([JobEnd("a", outcome, "no route to host")]) == expected


O = Outcome  # noqa: E741
#: How the jobs of a message ended, with their reasons, and what its task shows.
GROUPS: dict[str, tuple[list[tuple[Outcome, str]], str, str]] = {
    "all completed": ([(O.COMPLETED, "")] * 64, states.SUCCESS, "64 completed"),
    "one failed": (
        [(O.COMPLETED, "")] * 61 + [(O.FAILED, "404")] + [(O.WAITING, "503")] * 2,
        states.FAILURE,
        "61 completed, 2 waiting, 1 failed: 404",
    ),
    "two failed: the reason of the first": (
        [(O.FAILED, "404"), (O.FAILED, "410")],
        states.FAILURE,
        "2 failed: 404",
    ),
    "all but one failed": (
        [(O.FAILED, "404")] * 63 + [(O.COMPLETED, "")],
        states.FAILURE,
        "1 completed, 63 failed: 404",
    ),
    "some wait": (
        [(O.WAITING, "503"), (O.COMPLETED, ""), (O.PAUSED, "by a person")],
        states.RETRY,
        "1 completed, 1 paused, 1 waiting: 503",
    ),
    "put back": ([(O.COMPLETED, ""), (O.PUT_BACK, "")], states.RETRY, "1 completed, 1 put back"),
    "put back and waiting: the outcome with the reason comes last": (
        [(O.PUT_BACK, ""), (O.WAITING, "503")],
        states.RETRY,
        "1 put back, 1 waiting: 503",
    ),
    "waiting and put back": (
        [(O.WAITING, "503"), (O.PUT_BACK, "")],
        states.RETRY,
        "1 put back, 1 waiting: 503",
    ),
    "drained": (
        [(O.REQUEUED, "stops")] * 2 + [(O.PUT_BACK, "")],
        states.RETRY,
        "1 put back, 2 requeued: stops",
    ),
    "not started": ([(O.NOT_STARTED, "")] * 2, states.RETRY, "2 not started"),
    "unsaved, fenced": ([(O.UNSAVED, ""), (O.FENCED, "")], states.RETRY, "1 fenced, 1 unsaved"),
    "one cancelled": (
        [(O.COMPLETED, ""), (O.CANCELLED, "by a person")],
        states.REVOKED,
        "1 completed, 1 cancelled: by a person",
    ),
    "nothing to run": (
        [(O.NOT_QUEUED, ""), (O.ALREADY_RUNNING, "")],
        states.REVOKED,
        "1 already running, 1 not queued",
    ),
}


@pytest.mark.parametrize("name", GROUPS)
def test_task_of_several_jobs_ends_in_the_state_that_says_most(name: str) -> None:
    jobs, state, text = GROUPS[name]
    assert ended([JobEnd(str(n), *job) for n, job in enumerate(jobs)]) == (state, text)


@pytest.mark.parametrize("heavy", Outcome)
@pytest.mark.parametrize("light", Outcome)
def test_one_job_decides_wherever_it_is(light: Outcome, heavy: Outcome) -> None:
    order = (states.SUCCESS, states.REVOKED, states.RETRY, states.FAILURE)
    decides = max(light, heavy, key=lambda one: order.index(EXPECTED[one]))
    ends = [JobEnd("a", light), JobEnd("b", heavy), JobEnd("c", light)]
    assert ended(ends)[0] == ended(ends[::-1])[0] == EXPECTED[decides]


def test_no_setting_lets_celery_requeue_or_retry_a_download() -> None:
    task: Any = downloads.run
    assert task.Request is Request
    assert task.throws == (DownloadNotCompletedError,)
    assert not task.acks_late, "it is acknowledged before it runs"
    assert not task.reject_on_worker_lost
    assert not getattr(task, "retry_on_worker_lost", False)
    assert task.ignore_result
    assert not task.store_errors_even_if_ignored
    assert not getattr(task, "autoretry_for", ())


def test_only_downloads_send_task_events() -> None:
    app.loader.import_default_modules()
    assert app.tasks["download.run"].send_events
    assert {name for name in MAINTENANCE_TASKS if app.tasks[name].send_events} == set()
