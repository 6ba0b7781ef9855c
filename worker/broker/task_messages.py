"""Messages of the project's queues: how one is written, and the check of what lies in a queue.

A valid message is a known task with exactly its arguments; a download names one job or several.

Every reader uses it: workers that consume a message, and reconcile, which reads a queue's head. Celery
gets a new message made of the checked parts. So a forged message cannot delay a task (`eta`), send
another one (`chain`, `callbacks`), or reply to a queue of the sender's choice (`reply_to`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import uuid4

from domain.ids import is_job_id
from worker.broker.envelope import (
    InvalidMessageError,
    encode_body,
    kind_of,
    new_message,
    read_envelope,
)
from worker.broker.queues import DOWNLOAD_QUEUES, MAINTENANCE_QUEUE

#: The task of the download queues. Its arguments are the ids of one job or several, of one priority.
DOWNLOAD_TASK = "download.run"
#: Jobs that a message names at most.
MAX_JOBS = 64
#: Jobs of a message that events show by their ids.
SHOWN_JOBS = 4
#: Requeues waiting jobs that are due.
REQUEUE_DUE_TASK = "download.requeue_due"
#: Its name in the release before, whose beat still sends it.
FORMER_REQUEUE_DUE_TASK = "download.wake"
#: The tasks of the maintenance queue. They have no arguments.
MAINTENANCE_TASKS = frozenset(
    {
        "broker.sweep",
        "cache.log_stats",
        "download.cleanup_stale",
        "download.persist_progress",
        "download.purge",
        "download.reconcile",
        REQUEUE_DUE_TASK,
        FORMER_REQUEUE_DUE_TASK,
    }
)
#: The header with the time at which a message was sent, in ISO 8601 with its offset.
SENT_AT = "sent_at"

#: Bytes of a raw message at most: one of `MAX_JOBS` jobs has about seven thousand.
MAX_BYTES = 16_384

_ID = re.compile(r"[A-Za-z0-9_.:@-]{1,128}", re.ASCII)
#: Headers that change what Celery does, with the values that have no effect. Headers that this module
#: does not name are dropped.
_NEUTRAL: dict[str, tuple[object, ...]] = {
    "eta": (None,),
    "group": (None,),
    "retries": (None, 0),
    "timelimit": (None, [None, None]),
}
#: The same in the third part of the body.
_NO_SIGNATURES = ("callbacks", "errbacks", "chain", "chord")


class TaskMessage(NamedTuple):
    """A valid message."""

    task: str
    task_id: str
    job_ids: tuple[str, ...]
    """The jobs to download, each once; empty for a maintenance task."""
    sent_at: datetime | None
    """None without the header."""
    expires: datetime | None
    """The time after which the task is not run. Only maintenance tasks expire."""


def read_task_message(raw: bytes, queue: str) -> TaskMessage:
    """Read a raw message of `queue`.

    Raises:
        InvalidMessageError: it cannot be read, or is not a known task with its arguments.
    """
    headers, body, _ = read_envelope(raw, MAX_BYTES)
    task = _task(headers, queue)
    for name, neutral in _NEUTRAL.items():
        if headers.get(name) not in neutral:
            raise InvalidMessageError(f"its header {name} must be empty")
    return TaskMessage(
        task=task,
        task_id=_task_id(headers),
        job_ids=_job_ids(task, _arguments(body)),
        sent_at=_time(headers, SENT_AT),
        expires=_expiry(headers, task),
    )


def download_message(job_ids: Sequence[str], queue: str, sent_at: datetime | None) -> bytes:
    """Return a raw message for `queue`, as kombu's Redis transport would push it.

    Args:
        job_ids: at most `MAX_JOBS`, each once.
        queue: where it will lie.
        sent_at: the time that it carries; None for none.
    """
    message = TaskMessage(DOWNLOAD_TASK, str(uuid4()), tuple(job_ids), sent_at, expires=None)
    return json.dumps(celery_message(message, queue)).encode()


def celery_message(message: TaskMessage, queue: str) -> Any:
    """Return a message for Celery with the content of `message` and nothing else."""
    headers = {
        "lang": "py",
        "task": message.task,
        "id": message.task_id,
        "root_id": message.task_id,
        "argsrepr": repr(_shown(message.job_ids)),
        "kwargsrepr": "{}",
        "parent_id": None,
        "eta": None,
        "expires": message.expires and message.expires.isoformat(),
        "group": None,
        "retries": 0,
        "timelimit": [None, None],
        "ignore_result": True,
        SENT_AT: message.sent_at and message.sent_at.isoformat(),
    }
    body = [message.job_ids, {}, dict.fromkeys(_NO_SIGNATURES)]
    return new_message(headers, encode_body(body), queue, queue)


def _shown(job_ids: tuple[str, ...]) -> tuple[str, ...]:
    """Return what events, and so Flower, show of the jobs of a message."""
    more = len(job_ids) - SHOWN_JOBS
    return (*job_ids[:SHOWN_JOBS], f"and {more} more") if more > 0 else job_ids


def _task(headers: dict[str, Any], queue: str) -> str:
    task = headers.get("task")
    if not isinstance(task, str):
        raise InvalidMessageError(f"its task is {kind_of(task)}, not a name")
    known = {DOWNLOAD_TASK} if queue in DOWNLOAD_QUEUES else set()
    if queue == MAINTENANCE_QUEUE:
        known = set(MAINTENANCE_TASKS)
    if task not in known:
        raise InvalidMessageError(f"{task!r:.80} is no task of the queue {queue}")
    return task


def _task_id(headers: dict[str, Any]) -> str:
    task_id = headers.get("id")
    if not isinstance(task_id, str) or _ID.fullmatch(task_id) is None:
        raise InvalidMessageError(f"its id is {task_id!r:.80}, which is no task id")
    return task_id


def _arguments(body: object) -> list[Any]:
    match body:
        case [list(arguments), dict(named), dict(options)] if not named:
            given = [name for name in _NO_SIGNATURES if options.get(name)]
            if given:
                raise InvalidMessageError(f"its {given[0]} would start other tasks")
            return arguments
    raise InvalidMessageError("its body is not a list of arguments with nothing added")


def _job_ids(task: str, arguments: list[Any]) -> tuple[str, ...]:
    if task != DOWNLOAD_TASK:
        if arguments:
            raise InvalidMessageError(f"{task} takes no arguments, and {len(arguments)} are given")
        return ()
    if not 1 <= len(arguments) <= MAX_JOBS:
        raise InvalidMessageError(
            f"{task} takes 1 to {MAX_JOBS} arguments, and {len(arguments)} are given"
        )
    for job_id in arguments:
        if not isinstance(job_id, str) or not is_job_id(job_id):
            raise InvalidMessageError(f"{job_id!r:.80} is no job id")
    if len(set(arguments)) < len(arguments):
        raise InvalidMessageError("it names a job twice")
    return tuple(arguments)


def _expiry(headers: dict[str, Any], task: str) -> datetime | None:
    expires = _time(headers, "expires")
    if expires is not None and task == DOWNLOAD_TASK:
        raise InvalidMessageError(f"it expires, and messages of {task} never do")
    return expires


def _time(headers: dict[str, Any], name: str) -> datetime | None:
    """Return a header's time in UTC, or None where there is none."""
    text = headers.get(name)
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is not None:
            return time.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        pass
    raise InvalidMessageError(f"its {name} is {text!r:.80}, which is no time with an offset")
