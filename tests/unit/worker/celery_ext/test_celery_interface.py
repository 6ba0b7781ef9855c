"""What callers in Python may send, and what they get back instead of a result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from domain.errors import InvalidInputError, MessageRefusedError, NoResultsError, UnknownJobError
from domain.ids import new_job_id
from tasks.downloads import run
from worker.app import app
from worker.broker.queues import DOWNLOAD_QUEUES, REQUEUED_QUEUES
from worker.celery_ext.interface.queue_names import expanded

ID = new_job_id()
task: Any = run

#: Calls that raise before anything is sent, and a part of the sentence.
REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "no job": (lambda: app.send_task("download.run"), "takes one argument"),
    "two jobs": (lambda: app.send_task("download.run", [ID, ID]), "takes one argument"),
    "no id": (lambda: task.delay("film.mkv"), "takes one argument"),
    "not text": (lambda: task.delay(7), "takes one argument"),
    "a keyword more": (lambda: app.send_task("download.run", [ID], {"x": 1}), "takes one argument"),
    "another keyword": (
        lambda: app.send_task("download.run", kwargs={"id": ID}),
        "takes one argument",
    ),
    "countdown": (lambda: task.apply_async((ID,), countdown=5), "no countdown"),
    "eta": (lambda: app.send_task("download.run", [ID], eta=5), "no eta"),
    "expires": (lambda: task.apply_async((ID,), expires=5), "no expires"),
    "a chain": (lambda: (task.si(ID) | task.si(ID)).apply_async(), "no chain"),
    "a link": (lambda: task.apply_async((ID,), link=task.si(ID)), "no link"),
    "a time limit": (lambda: task.apply_async((ID,), time_limit=5), "no time_limit"),
    "queue": (lambda: task.apply_async((ID,), queue="maintenance"), "no queue of download.run"),
    "unknown queue": (lambda: task.apply_async((ID,), queue="x"), "no queue of download.run"),
    "another task": (lambda: app.send_task("tasks.add", [1, 2]), "There is no task 'tasks.add'"),
    "arguments": (lambda: app.send_task("download.purge", [1]), "takes no arguments"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_useless_message_is_refused_before_it_is_sent(name: str) -> None:
    call, part = REFUSED[name]
    with pytest.raises(MessageRefusedError, match=r"No message was sent|The tasks are") as raised:
        call()
    assert part in str(raised.value)


@pytest.mark.parametrize(
    "call", [lambda: task.delay(ID), lambda: task.delay(job_id=ID), lambda: task.s(ID).delay()]
)
def test_job_is_looked_up_for_its_queue(
    call: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def find(job_id: str) -> Any:
        asked.append(job_id)
        raise UnknownJobError(job_id)

    monkeypatch.setattr(app, "find_job", find)
    with pytest.raises(UnknownJobError):
        call()
    assert asked == [ID]


READS: list[Callable[[Any], object]] = [
    lambda result: result.get(timeout=60),
    lambda result: result.state,
    lambda result: result.ready(),
    lambda result: result.successful(),
    lambda result: result.info,
    lambda result: result.traceback,
]


@pytest.mark.parametrize("read", READS)
def test_result_is_answered_at_once(read: Callable[[Any], object]) -> None:
    with pytest.raises(NoResultsError, match="seen show"):
        read(app.AsyncResult(ID))


def test_queue_names() -> None:
    assert expanded(None) == expanded("") == []
    assert expanded("downloads") == list(DOWNLOAD_QUEUES)
    assert expanded(["maintenance", "downloads.high"]) == ["maintenance", "downloads.high"]
    for name in REQUEUED_QUEUES:
        assert expanded(name) == list(REQUEUED_QUEUES)
    with pytest.raises(InvalidInputError, match="maintenance"):
        expanded("celery")
