"""The download queues as we use them: messages that carry a job id, and how many of them wait."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

from celery import Celery
from kombu import Connection
from kombu.exceptions import BatchPublishError, OperationalError  # type: ignore[attr-defined]

from cache.store.connection import store_errors
from domain.errors import StoreUnavailableError
from domain.job import Job, Priority, QueuedJob
from worker.broker_sweep import BrokerSweep, Swept
from worker.queues import BEGUN_QUEUE, DOWNLOAD_QUEUES, queue_of

TASK = "download.run"
#: The header that says when a message was sent, in ISO 8601 with its offset.
SENT_AT = "sent_at"

#: Threads that may speak to the broker at once; the next one waits. Connections are made as they are
#: needed, and the one used last is taken first, so that a quiet process has one.
_CONNECTIONS = 64


class QueuedMessage(NamedTuple):
    """What a message that waits in a download queue says; None where it does not say it.

    One from before messages told their time has no `sent_at`, and one of somebody else has nothing.
    """

    job_id: str | None
    sent_at: datetime | None


class Broker:
    """Publishes through one Celery app. Every method raises StoreUnavailableError without broker.

    Its connections are its own and wait `timeout` seconds for an answer: whoever submits a job must not
    wait for as long as a worker may, whom silence only tells that there is nothing to do. A forked child
    builds a Broker of its own.
    """

    def __init__(self, app: Celery, *, timeout: float) -> None:
        self._app = app
        # The second is for all of kombu's tries to connect together.
        patience = {"socket_timeout": timeout, "connect_retries_timeout": timeout}
        connection = app.connection_for_write(transport_options=patience)
        self._connections = connection.Pool(_CONNECTIONS)
        self._sweep = BrokerSweep(app)

    def publish(
        self, jobs: Sequence[Job | QueuedJob], sent_at: datetime, *, begun: bool = False
    ) -> None:
        """Send one message a job to its queue; it carries the job's id, `sent_at` and nothing else.

        With `begun` they go before all that nobody has begun yet.

        When this raises, some messages may be on their way all the same. That is harmless: a second
        message for a job does nothing.
        """
        headers = {SENT_AT: sent_at.isoformat()}
        with self._producer() as producer, producer.batch():
            for job in jobs:
                self._app.send_task(
                    TASK,
                    args=(job.id,),
                    queue=BEGUN_QUEUE if begun else queue_of(job.priority),
                    producer=producer,
                    retry=False,
                    headers=headers,
                    # Nobody waits for a result: without this each message would subscribe to one.
                    ignore_result=True,
                )

    def send(self, task: str, **options: Any) -> None:
        """Send one task without arguments; `options` are those of Celery's `send_task`."""
        with self._producer() as producer:
            self._app.send_task(task, producer=producer, retry=False, ignore_result=True, **options)

    def head(self, priority: Priority) -> QueuedMessage | None:
        """Return the message that is next in the queue of a priority, or None when none waits."""
        with self._connection() as connection:
            channel: Any = connection.default_channel
            # kombu pushes on the left and pops on the right.
            raw = channel.client.lindex(queue_of(priority), -1)
        return None if raw is None else read_message(raw)

    def begun(self) -> set[str]:
        """Return the ids of the jobs that wait in front of all others; these are few."""
        with self._connection() as connection:
            channel: Any = connection.default_channel
            messages = channel.client.lrange(BEGUN_QUEUE, 0, -1)
        job_ids = (read_message(raw).job_id for raw in messages)
        return {job_id for job_id in job_ids if job_id is not None}

    def backlogs(self) -> dict[str, int]:
        """Return how many messages wait in each download queue, by its name's last part."""
        with self._connection() as connection:
            channel: Any = connection.default_channel
            client = channel.client
            return {name.partition(".")[2]: int(client.llen(name)) for name in DOWNLOAD_QUEUES}

    def sweep(self) -> Swept:
        """Put an end to what killed processes left in the broker; live ones notice nothing."""
        with self._connection() as connection:
            return self._sweep.run(connection.default_channel)

    def close(self) -> None:
        """Close every connection; this broker is of no use afterwards."""
        self._connections.force_close_all()

    @contextmanager
    def _producer(self) -> Iterator[Any]:  # its stub lacks the batch
        with self._connection() as connection, connection.Producer() as producer:
            yield producer

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        with _broker_errors(), self._connections.acquire(block=True) as connection:
            yield connection


def read_message(raw: bytes) -> QueuedMessage:
    """Read a message as it lies in a download queue."""
    try:
        message = json.loads(raw)
        (job_id,) = json.loads(base64.b64decode(message["body"]))[0]
        return QueuedMessage(str(job_id), read_time(message["headers"].get(SENT_AT)))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return QueuedMessage(None, None)


def read_time(header: object) -> datetime | None:
    """Return the aware time that the header `SENT_AT` tells, or None when it tells none."""
    try:
        time = datetime.fromisoformat(str(header))
    except ValueError:
        return None
    return None if time.tzinfo is None else time


@contextmanager
def _broker_errors() -> Iterator[None]:
    try:
        with store_errors():
            yield
    except (BatchPublishError, OperationalError, OSError) as error:
        cause = error.__cause__ if isinstance(error, BatchPublishError) else error
        raise StoreUnavailableError(f"The broker does not answer: {cause}") from error
