"""The class of the Celery app: it sends a task to the queue of its job, and refuses useless messages."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from celery import Celery

from domain.errors import MessageRefusedError, in_words
from domain.ids import is_job_id
from domain.job import Job, JobStatus
from worker.broker.queues import DOWNLOAD_QUEUES, MAINTENANCE_QUEUE, queue_of
from worker.broker.task_messages import DOWNLOAD_TASK, MAINTENANCE_TASKS
from worker.celery_ext.command_line import errors_as_usage
from worker.job_pool import JobPool

#: Options of `apply_async` that messages cannot have: workers refuse such a message.
_NO_OPTIONS = (
    *("countdown", "eta", "link", "link_error", "chain", "chord", "group_id"),
    *("time_limit", "soft_time_limit", "retries", "reply_to"),
)
#: Why a message for a job in this state starts nothing, and what does.
_NOTHING_TO_RUN = {
    JobStatus.DOWNLOADING: "a worker runs it",
    JobStatus.VERIFYING: "a worker runs it",
    JobStatus.WAITING: "it is tried again by itself",
    JobStatus.PAUSED: "`seen resume {id}` queues it",
    JobStatus.COMPLETED: "`seen get` or `seen add` downloads its URL again",
    JobStatus.FAILED: "`seen retry {id}` queues it",
    JobStatus.CANCELLED: "`seen retry {id}` queues it",
}


class App(Celery):
    """Celery's app for this project.

    Attributes:
        find_job: returns a job as SQL has it; it raises UnknownJobError and DatabaseUnavailableError.
        job_pool: returns the job pool of this process.
    """

    amqp_cls = "worker.celery_ext.interface.queue_names:AMQP"
    control_cls = "worker.celery_ext.interface.control:Control"
    find_job: Callable[[str], Job]
    job_pool: Callable[[], JobPool]

    @cached_property
    def Beat(self) -> Any:  # noqa: N802 - Celery's name
        """Beat's program, with this app."""
        path: Any = "worker.celery_ext.scheduler:Beat"  # imported when it is used
        return self.subclass_with_self(path)

    def send_task(
        self, name: str, args: Any = None, kwargs: Any = None, *rest: Any, **options: Any
    ) -> Any:
        """Send one of the project's tasks. `celery call`, `delay` and `apply_async` all end here.

        A download without a queue goes to the queue of its job's priority.

        Raises:
            MessageRefusedError: workers would refuse the message, or it would start nothing; it is not
                sent.
        """
        with errors_as_usage():
            arguments = _arguments(name, args, kwargs)
            _check_options(name, options)
            if name == DOWNLOAD_TASK and not _has_destination(options):
                options["queue"] = queue_of(self._queued(arguments[0]).priority)
        return super().send_task(name, arguments, None, *rest, **options)

    def _queued(self, job_id: str) -> Job:
        job = self.find_job(job_id)
        if job.status is not JobStatus.QUEUED:
            why = _NOTHING_TO_RUN[job.status].format(id=job_id)
            raise MessageRefusedError(
                f"Job {job_id} {in_words(job.status)}: {why}. No message was sent."
            )
        return job


def _arguments(name: str, args: Any, kwargs: Any) -> tuple[str, ...]:
    given, named = tuple(args or ()), dict(kwargs or {})
    if name in MAINTENANCE_TASKS:
        if given or named:
            raise MessageRefusedError(f"{name} takes no arguments. No message was sent.")
        return ()
    if name != DOWNLOAD_TASK:
        known = ", ".join(sorted({DOWNLOAD_TASK, *MAINTENANCE_TASKS}))
        raise MessageRefusedError(f"There is no task {name!r:.80}. The tasks are {known}.")
    match given, named:
        case ((str(job_id),), {**others}) | ((), {"job_id": str(job_id), **others}) if not others:
            if is_job_id(job_id):
                return (job_id,)
    raise MessageRefusedError(
        f"{DOWNLOAD_TASK} takes one argument, the whole id of a job, which `seen add URL` and "
        "`tasks.submit` return. No message was sent."
    )


def _check_options(name: str, options: dict[str, Any]) -> None:
    refused = [one for one in _NO_OPTIONS if options.get(one)]
    if name == DOWNLOAD_TASK and options.get("expires"):
        refused.append("expires")
    if refused:
        raise MessageRefusedError(
            f"A message of {name} has no {refused[0]}: it only says that a job may be ready, and SQL "
            "decides when it runs. `seen add` and `tasks.submit` start jobs. No message was sent."
        )
    queue = getattr(options.get("queue"), "name", options.get("queue"))
    queues = DOWNLOAD_QUEUES if name == DOWNLOAD_TASK else (MAINTENANCE_QUEUE,)
    if queue is not None and queue not in queues:
        raise MessageRefusedError(
            f"{queue!r:.80} is no queue of {name}. Its queues are {', '.join(queues)}; leave the queue "
            "out. No message was sent."
        )


def _has_destination(options: dict[str, Any]) -> bool:
    return any(options.get(one) for one in ("queue", "exchange", "routing_key"))
