"""The download queues as we use them: messages that carry a job id, and how many of them wait."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from celery import Celery
from kombu import Connection
from kombu.exceptions import OperationalError
from kombu.transport import redis as kombu_redis

from cache.store.connection import store_errors
from cache.store.scripts import sha1
from domain.errors import StoreUnavailableError
from domain.job import Job, Priority, QueuedJob
from worker.queues import queue_of

TASK = "download.run"


class Broker:
    """Publishes through one Celery app. Every method raises StoreUnavailableError without broker."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def publish(self, jobs: Sequence[Job | QueuedJob]) -> None:
        """Send one message a job to its queue; it carries the job's id and nothing else.

        When this raises, some messages may be on their way all the same. That is harmless: a second
        message for a job does nothing.
        """
        with _broker_errors(), self._app.producer_or_acquire() as producer, producer.batch():
            for job in jobs:
                self._app.send_task(
                    TASK,
                    args=(job.id,),
                    queue=queue_of(job.priority),
                    producer=producer,
                    retry=False,
                    # Nobody waits for a result: without this each message would subscribe to one.
                    ignore_result=True,
                )

    def head(self, priority: Priority) -> str | None:
        """Return the id of the job whose message is next in its queue, or None when none waits."""
        with _broker_errors(), self._app.connection_or_acquire() as connection:
            client: Any = connection.default_channel.client
            # kombu pushes on the left and pops on the right.
            raw = client.lindex(queue_of(priority), -1)
        return None if raw is None else _job_id(raw)

    def backlog(self) -> int:
        """Return how many messages wait for a download worker."""
        return sum(self.backlogs().values())

    def backlogs(self) -> dict[Priority, int]:
        """Return how many messages wait for a worker in each download queue."""
        with _broker_errors(), self._app.connection_or_acquire() as connection:
            client: Any = connection.default_channel.client
            return {priority: int(client.llen(queue_of(priority))) for priority in Priority}


def _job_id(raw: bytes) -> str | None:
    """Return the job id that a message of ours names, or None when it is somebody else's."""
    try:
        body = base64.b64decode(json.loads(raw)["body"])
        (job_id,) = json.loads(body)[0]
    except (ValueError, TypeError, KeyError, IndexError):
        return None
    return str(job_id)


def allow_binding_sweep(connection: Connection) -> None:
    """Let kombu's binding sweep run on Dragonfly, which refuses scripts that name keys at run time.

    The flag belongs to the script on that server, so one client sets it for all; a server that has
    restarted must be told again. Redis and Valkey need nothing.
    """
    with _broker_errors():
        client: Any = connection.default_channel.client  # type: ignore[attr-defined]
        if "dragonfly_version" in client.info("server"):
            digest = sha1(kombu_redis.SWEEP_BINDINGS)  # type: ignore[attr-defined]
            client.execute_command("SCRIPT", "FLAGS", digest, "allow-undeclared-keys")


@contextmanager
def _broker_errors() -> Iterator[None]:
    try:
        with store_errors():
            yield
    except (OperationalError, OSError) as error:
        raise StoreUnavailableError(f"The broker does not answer: {error}") from error
