"""Each outcome of a message ends its task in one state, by what the task returns or raises."""

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
from worker.outcome import Outcome

EXPECTED = {
    Outcome.COMPLETED: states.SUCCESS,
    Outcome.FAILED: states.FAILURE,
    Outcome.WAITING: states.RETRY,
    Outcome.REQUEUED: states.RETRY,
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


@pytest.mark.parametrize("outcome", Outcome)
def test_task_ends_in_the_state_of_its_outcome(outcome: Outcome) -> None:
    if EXPECTED[outcome] == states.SUCCESS:
        assert end_task(outcome, "") == "completed"
        return
    with pytest.raises(RAISED[EXPECTED[outcome]]) as raised:
        end_task(outcome, "no route to host")
    copy = pickle.loads(pickle.dumps(raised.value))  # the way out of a child of a pool
    assert f"{outcome}: no route to host" in str(copy) + repr(copy.args)


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
