"""One message of downloads between Celery and the job pool."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from worker.broker.client import read_time
from worker.broker.queues import priority_of
from worker.broker.task_messages import SENT_AT
from worker.job_pool import JobMessage
from worker.outcome import JobEnd, Outcome

#: The ends of a message's jobs in the request of its task. Without it, the task runs the jobs itself.
ENDS = "job_ends"


class DownloadTask:
    """A task whose jobs run in the job pool.

    The task itself runs when they have ended, in Celery's thread: then it only returns or raises their
    result. So Celery's signals and events are those of every task.

    Args:
        run: Celery's function that runs a task.
        arguments: its arguments: name, id, request, body, content type and encoding.
        callback: gets what it returns.
    """

    def __init__(
        self, run: Callable[..., Any], arguments: Sequence[Any], callback: Callable[[Any], None]
    ) -> None:
        self._run, self._arguments, self._callback = run, arguments, callback
        _, self.task_id, self._request, *_ = arguments
        self.message = job_message(self._request["args"], self._request)
        self._started_at = time.monotonic()

    def end(self, ends: Sequence[JobEnd]) -> None:
        """End the task with the ends of its jobs."""
        self._request[ENDS] = ends
        failed, result, _ = self._run(*self._arguments)
        self._callback((failed, result, time.monotonic() - self._started_at))

    def ends_without_start(self, error: Exception) -> list[JobEnd]:
        """Return the ends of jobs that an error kept from being started."""
        return [JobEnd(job_id, Outcome.NOT_STARTED, str(error)) for job_id in self.message.job_ids]


def job_message(job_ids: Sequence[str], request: Mapping[str, Any]) -> JobMessage:
    """Return what the job pool is to know of a message.

    Args:
        job_ids: the arguments of the task.
        request: of the task, as Celery makes it of the message.
    """
    queue = str((request.get("delivery_info") or {}).get("routing_key"))
    sent_at = read_time(request.get(SENT_AT))
    return JobMessage(tuple(job_ids), priority_of(queue), sent_at, queue)
