"""Publishes messages to the queues, and reads what waits in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from celery import Celery
from kombu import Connection
from kombu.exceptions import BatchPublishError, OperationalError  # type: ignore[attr-defined]
from redis.exceptions import RedisError, ResponseError

from cache.store.connection import translate_store_errors, unavailable_error
from cache.store.refusals import find_refusal
from domain.errors import StoreUnavailableError
from domain.job import Job, Priority, QueuedJob
from worker.broker import dead_letters
from worker.broker.cleanup import BrokerSweep, Swept
from worker.broker.control_messages import BROADCASTS
from worker.broker.dead_letters import DeadLetter
from worker.broker.envelope import InvalidMessageError
from worker.broker.queue_keys import is_wrong_type, wrong_types
from worker.broker.queues import (
    DOWNLOAD_QUEUES,
    FORMER_REQUEUED_QUEUE,
    MAINTENANCE_QUEUE,
    REQUEUED_QUEUE,
    REQUEUED_QUEUES,
    queue_of,
)
from worker.broker.task_messages import MAX_JOBS, download_message, read_task_message

#: Connections at most; a further thread waits for one. A connection is made when none is free, and the
#: one used last is taken first, so that a quiet process has one.
_CONNECTIONS = 64
#: Messages over which the jobs of one call are spread before a message names a second job.
_FEW_MESSAGES = 16


_WRONG_TYPE = (
    "A key of the broker has another type than it should; `seen doctor` names those of queues."
)


class QueuedMessage(NamedTuple):
    """The job ids and the time of a message in a download queue; none of them if it is not valid."""

    job_ids: tuple[str, ...]
    sent_at: datetime | None


_INVALID = QueuedMessage((), None)


class UnsentMessagesError(StoreUnavailableError):
    """The broker refused some messages, as of a queue whose key has another type.

    Attributes:
        reason: of the first refusal.
        unsent: the ids of their jobs. The other messages were sent.
    """

    def __init__(self, reason: StoreUnavailableError, unsent: Set[str]) -> None:
        super().__init__(str(reason))
        self.reason = reason
        self.unsent = unsent


class Broker:
    """Publishes through one Celery app. Every method raises StoreUnavailableError without broker.

    Its connections are its own and wait `timeout` seconds for a reply: a caller that submits a job must
    not wait as long as a worker, which blocks until a message comes. A forked child builds a Broker of
    its own.
    """

    def __init__(self, app: Celery, *, timeout: float) -> None:
        self._app = app
        # `connect_retries_timeout` limits all of kombu's attempts to connect together.
        timeouts = {"socket_timeout": timeout, "connect_retries_timeout": timeout}
        connection = app.connection_for_write(transport_options=timeouts)
        self._connections = connection.Pool(_CONNECTIONS)
        self._sweep = BrokerSweep(app)

    def publish(
        self,
        jobs: Sequence[Job | QueuedJob],
        sent_at: datetime,
        *,
        requeued: bool = False,
        together: bool = True,
    ) -> None:
        """Send messages for jobs to their queues: ids, `sent_at` and nothing else.

        When this raises, some messages may have been sent. That is harmless: a second message for a job
        does nothing.

        Args:
            jobs: different ones.
            sent_at: the time that the messages carry.
            requeued: use the queue of requeued jobs, which is usually read first.
            together: let a message name several jobs (`_jobs_a_message`).
        """
        waiting: dict[str, list[str]] = {}
        for job in jobs:
            queue = REQUEUED_QUEUE if requeued else queue_of(job.priority)
            waiting.setdefault(queue, []).append(job.id)
        messages = [
            (queue, ids[start : start + step])
            for queue, ids in waiting.items()
            for step in [_jobs_a_message(len(ids)) if together else 1]
            for start in range(0, len(ids), step)
        ]
        with self._client() as client, _pipeline(client) as pipe:
            for queue, ids in messages:
                pipe.lpush(queue, download_message(ids, queue, sent_at))
            replies = pipe.execute(raise_on_error=False)
        _raise_unsent(messages, replies)

    def put_back(self, job_ids: Sequence[str], queue: str, sent_at: datetime | None) -> None:
        """Return jobs of a consumed message that were not started; they are consumed next.

        Args:
            job_ids: at most `MAX_JOBS`, each once.
            queue: the one that the message came from.
            sent_at: as that message had it, since reconcile compares the times in a queue.
        """
        if not job_ids:
            return
        with self._client() as client, _pipeline(client) as pipe:
            # The end that messages are consumed from.
            pipe.rpush(queue, download_message(job_ids, queue, sent_at))
            pipe.execute()

    def send(self, task: str, **options: Any) -> None:
        """Send one task without arguments; `options` are those of Celery's `send_task`."""
        with self._producer() as producer:
            self._app.send_task(task, producer=producer, retry=False, ignore_result=True, **options)

    def head(self, priority: Priority) -> QueuedMessage | None:
        """Return the message that is consumed next from the queue of this priority, if there is one.

        It names no job if it is not valid, or if the queue's key is not a list.
        """
        with self._client() as client:
            try:
                # kombu pushes on the left and pops on the right.
                raw = client.lindex(queue_of(priority), -1)
            except ResponseError as error:
                return _unless_wrong_type(error, _INVALID)
        return None if raw is None else read_message(raw)

    def requeued(self) -> set[str]:
        """Return the ids of the jobs in the queue of requeued jobs, which is short."""
        with self._client() as client:
            messages = [raw for queue in REQUEUED_QUEUES for raw in _messages(client, queue)]
        return {job_id for raw in messages for job_id in read_message(raw).job_ids}

    def backlogs(self) -> dict[str, int]:
        """Return the number of messages in each download queue, by the last part of its name."""
        with self._client() as client:
            lengths = {name: _length(client, name) for name in DOWNLOAD_QUEUES}
        lengths[REQUEUED_QUEUE] += lengths.pop(FORMER_REQUEUED_QUEUE)
        return {name.partition(".")[2]: length for name, length in lengths.items()}

    def sweep(self) -> Swept:
        """Remove bindings and queues that killed processes left in the broker."""
        with self._connection() as connection:
            return self._sweep.run(connection.default_channel)

    def dead_letters(self) -> list[DeadLetter]:
        """Return the newest refused messages, the newest first."""
        with self._client() as client:
            return dead_letters.read(client)

    def clear_dead_letters(self) -> int:
        """Empty the dead-letter list, and return how many messages were in it."""
        with self._client() as client:
            return dead_letters.clear(client)

    def wrong_types(self) -> dict[str, str]:
        """Return the keys of queues and bindings that hold another type, with that type."""
        with self._connection() as connection:
            channel: Any = connection.default_channel
            steps, queues = channel.priority_steps, (*DOWNLOAD_QUEUES, MAINTENANCE_QUEUE)
            keys = [channel._q_for_pri(queue, step) for step in steps for queue in queues]
            tables = [channel.keyprefix_queue % exchange for exchange in (*queues, *BROADCASTS)]
            return {
                **wrong_types(channel.client, [*keys, dead_letters.KEY]),
                **wrong_types(channel.client, tables, "set"),
            }

    def close(self) -> None:
        """Close every connection; do not use this broker afterwards."""
        self._connections.force_close_all()

    @contextmanager
    def _producer(self) -> Iterator[Any]:  # its stub lacks the batch
        with self._connection() as connection, connection.Producer() as producer:
            yield producer

    @contextmanager
    def _client(self) -> Iterator[Any]:
        with self._connection() as connection:
            channel: Any = connection.default_channel
            yield channel.client

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        with _broker_errors(), self._connections.acquire(block=True) as connection:
            yield connection


T = TypeVar("T")


def _jobs_a_message(count: int) -> int:
    """Return how many of `count` jobs one message names.

    A worker consumes a whole message. So few jobs are spread over many messages, for many workers.
    """
    return min(MAX_JOBS, -(-count // _FEW_MESSAGES))


@contextmanager
def _pipeline(client: Any) -> Iterator[Any]:
    """Yield a pipeline to be executed; errors are those of kombu's batches."""
    with client.pipeline(transaction=False) as pipe:
        try:
            yield pipe
        except (RedisError, OSError) as error:
            raise BatchPublishError("Messages may not have been sent") from error


def _raise_unsent(messages: Sequence[tuple[str, Sequence[str]]], replies: Sequence[Any]) -> None:
    """Raise the first error among the replies to messages, with the jobs that have none now."""
    errors = [reply for reply in replies if isinstance(reply, Exception)]
    if not errors:
        return
    try:
        with _broker_errors():
            raise BatchPublishError("Messages were refused") from errors[0]
    except StoreUnavailableError as error:
        unsent = {
            job_id
            for (_, ids), reply in zip(messages, replies, strict=True)
            if isinstance(reply, Exception)
            for job_id in ids
        }
        raise UnsentMessagesError(error, unsent) from error


def _unless_wrong_type(error: ResponseError, instead: T) -> T:
    """Return `instead` for a key of another type, which `seen doctor` names; else raise the error."""
    if not is_wrong_type(error):
        raise error
    return instead


def _messages(client: Any, queue: str) -> list[bytes]:
    try:
        return list(client.lrange(queue, 0, -1))
    except ResponseError as error:
        return _unless_wrong_type(error, [])


def _length(client: Any, queue: str) -> int:
    try:
        return int(client.llen(queue))
    except ResponseError as error:
        return _unless_wrong_type(error, 0)


def read_message(raw: bytes) -> QueuedMessage:
    """Read a raw message of any download queue."""
    try:
        message = read_task_message(raw, REQUEUED_QUEUE)
    except InvalidMessageError:
        return _INVALID
    return QueuedMessage(message.job_ids, message.sent_at)


def read_time(header: object) -> datetime | None:
    """Return the time in the header `SENT_AT`, with its offset; None without that header."""
    return None if header is None else datetime.fromisoformat(str(header))


@contextmanager
def _broker_errors() -> Iterator[None]:
    try:
        with translate_store_errors():
            yield
    except (BatchPublishError, OperationalError, OSError) as error:
        cause = error.__cause__ if isinstance(error, BatchPublishError) else error
        if is_wrong_type(cause):
            raise StoreUnavailableError(_WRONG_TYPE) from error
        reply = error.__cause__ or error
        if find_refusal(reply) is not None:
            raise unavailable_error(reply) from error
        raise StoreUnavailableError(
            f"The broker does not answer: {str(cause).rstrip('.')}."
        ) from error
    except ResponseError as error:
        if not is_wrong_type(error):
            raise
        raise StoreUnavailableError(_WRONG_TYPE) from error
