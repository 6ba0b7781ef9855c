"""What a queue's message may say, and what Celery is given instead of it."""

from __future__ import annotations

import base64
import json

import pytest

from domain.ids import new_job_id
from tasks import downloads
from tasks.periodic import broker, maintenance, reconcile
from tasks.periodic import persist as persistence
from tasks.periodic import purge as retention
from tests.support.build import NOW
from tests.support.inputs.malformed_messages import (
    LEFT_OUT,
    MALFORMED,
    changed,
    genuine,
    raw,
    with_arguments,
)
from worker.app import app
from worker.broker.envelope import InvalidMessageError
from worker.broker.queues import DOWNLOAD_QUEUES
from worker.broker.task_messages import (
    DOWNLOAD_TASK,
    MAINTENANCE_TASKS,
    MAX_BYTES,
    MAX_JOBS,
    celery_message,
    download_message,
    read_task_message,
)

#: Importing them registers their tasks.
_TASKS = (broker, downloads, maintenance, persistence, reconcile, retention)


def test_known_tasks_are_those_that_the_app_has() -> None:
    registered = {name for name in app.tasks if not name.startswith("celery.")}
    assert registered == {DOWNLOAD_TASK, *MAINTENANCE_TASKS}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_message_is_refused(name: str) -> None:
    for queue in DOWNLOAD_QUEUES:
        with pytest.raises(InvalidMessageError):
            read_task_message(MALFORMED[name], queue)


@pytest.mark.parametrize("name", LEFT_OUT)
def test_message_for_celery_holds_nothing_that_was_not_checked(name: str) -> None:
    read = read_task_message(LEFT_OUT[name], "downloads.low")
    passed_on = celery_message(read, "downloads.low")
    body = json.loads(base64.b64decode(passed_on["body"]))
    assert body == [[*read.job_ids], {}, dict.fromkeys(("callbacks", "errbacks", "chain", "chord"))]
    assert passed_on["headers"] == {
        "lang": "py",
        "task": "download.run",
        "id": read.task_id,
        "root_id": read.task_id,
        "parent_id": None,
        "argsrepr": repr(read.job_ids),
        "kwargsrepr": "{}",
        "eta": None,
        "expires": None,
        "group": None,
        "retries": 0,
        "timelimit": [None, None],
        "ignore_result": True,
        "sent_at": "2026-03-01T12:00:00+00:00",
    }
    delivered = {"exchange": "downloads.low", "routing_key": "downloads.low"}
    assert passed_on["properties"]["delivery_info"] == delivered
    assert "reply_to" not in passed_on["properties"]


@pytest.mark.parametrize("count", [1, 2, 63, MAX_JOBS])
def test_download_names_up_to_64_jobs(count: int) -> None:
    job_ids = tuple(new_job_id() for _ in range(count))
    message = download_message(job_ids, "downloads.low", NOW)
    assert len(message) < MAX_BYTES / 2
    read = read_task_message(message, "downloads.low")
    assert (read.task, read.job_ids, read.sent_at) == (DOWNLOAD_TASK, job_ids, NOW)
    assert read_task_message(with_arguments(*job_ids), "downloads.low").job_ids == job_ids


@pytest.mark.parametrize("count", [1, 4, 5, MAX_JOBS])
def test_events_show_some_jobs_of_a_message(count: int) -> None:
    job_ids = tuple(new_job_id() for _ in range(count))
    read = read_task_message(with_arguments(*job_ids), "downloads.low")
    more = (f"and {count - 4} more",) if count > 4 else ()
    shown = celery_message(read, "downloads.low")["headers"]["argsrepr"]
    assert shown == repr((*job_ids[:4], *more))


def test_message_of_a_version_without_times_is_read() -> None:
    message = genuine()
    del message["headers"]["sent_at"]
    assert read_task_message(raw(message), "downloads.high").sent_at is None


def test_time_is_read_with_its_offset() -> None:
    message = changed("headers", "sent_at", to="2026-03-01T14:00:00+02:00")
    sent_at = read_task_message(message, "downloads.high").sent_at
    assert sent_at is not None
    assert sent_at.isoformat() == "2026-03-01T12:00:00+00:00"


def test_requeue_due_is_accepted_by_its_former_name() -> None:
    message = raw(genuine("download.wake"))
    assert read_task_message(message, "maintenance").task == "download.wake"


def test_maintenance_task_takes_no_arguments_and_may_expire() -> None:
    message = genuine("download.requeue_due")
    message["headers"]["expires"] = "2026-03-01T12:01:00+00:00"
    read = read_task_message(raw(message), "maintenance")
    assert (read.task, read.job_ids) == ("download.requeue_due", ())
    assert read.expires is not None
    with pytest.raises(InvalidMessageError, match="takes no arguments"):
        read_task_message(raw(genuine("download.requeue_due", "x")), "maintenance")
    with pytest.raises(InvalidMessageError, match="no task of the queue"):
        read_task_message(raw(message), "downloads.high")
