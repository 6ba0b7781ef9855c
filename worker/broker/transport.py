"""kombu's Redis transport, with every message checked before kombu decodes it.

kombu does not check messages. One that is not JSON raises in the event loop and ends the worker; some
are returned to the queue when the worker exits, and end the next one; a compressed message is
decompressed without a limit. Here `task_messages` or `control_messages` reads a raw message first. One
that they refuse is logged once and moved to the dead-letter list (`dead_letters`); the loop goes on.

`worker.app` registers this transport under the names of kombu's, so that workers, beat, Flower and
callers of control commands all use it.
"""

from __future__ import annotations

import logging
import secrets
from queue import Empty
from typing import Any

import redis
from kombu.transport import TRANSPORT_ALIASES, virtual
from kombu.transport import redis as kombu_redis

from domain.text import escaped
from worker.broker import dead_letters
from worker.broker.control_messages import (
    COMMAND_EXCHANGE,
    EVENT_EXCHANGE,
    REPLY_EXCHANGE,
    read_command,
    read_events,
    read_reply,
)
from worker.broker.envelope import InvalidMessageError
from worker.broker.queue_keys import QueueKeys, is_wrong_type
from worker.broker.refusals import RefusalChannel, StoreRefusalError
from worker.broker.task_messages import celery_message, read_task_message

logger = logging.getLogger(__name__)

#: Characters of a refused message that its log line shows; the dead-letter list has more.
_LOGGED = 200
#: Seconds after which the list that wakes a channel is gone, if no BRPOP has taken its element.
_WAKE_TTL = 10

_Channel: Any = RefusalChannel  # kombu's stub lacks what is overridden here
_KombuTransport: Any = kombu_redis.Transport
_KombuQoS: Any = virtual.QoS

_BROADCASTS = {COMMAND_EXCHANGE: read_command, EVENT_EXCHANGE: read_events}


def read_queued(raw: bytes, queue: str) -> Any:
    """Return the message of a queue as kombu expects it, made of checked parts.

    Raises:
        InvalidMessageError: it is refused.
    """
    if queue.endswith(f".{REPLY_EXCHANGE}"):
        return read_reply(raw)
    return celery_message(read_task_message(raw, queue), queue)


def _log_table(key: str) -> None:
    logger.error("The key %s of the broker holds no table of bindings: delete or rename it", key)


class QoS(_KombuQoS):  # type: ignore[misc]
    """Unacknowledged messages; they are returned to their queues at exit."""

    def restore_unacked(self) -> list[Any]:
        """Return messages to their queues; log one that cannot be, whose job reconcile publishes again.

        kombu would write it to a file in the temporary folder, where it stays.
        """
        for error, message in super().restore_unacked():
            logger.warning("A message of %s could not be put back: %s", message.headers, error)
        return []


class Channel(_Channel):  # type: ignore[misc]
    """Reads messages of queues and broadcasts, and delivers those that are valid."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._keys = QueueKeys()
        self._wake_key = f"_kombu.wake.{secrets.token_hex(8)}"
        super().__init__(*args, **kwargs)
        if not self.ack_emulation:
            self.QoS = QoS

    def sweep_bindings(self, limit: int = 100) -> int:  # noqa: ARG002 - kombu's signature
        """Sweep nothing: kombu's script must not reach Dragonfly.

        It touches keys that it does not declare, which Dragonfly refuses; and Dragonfly 1.36 to 1.40.1
        aborts at a script that is flagged to be allowed so and is not loaded. What the script removes
        (tables of bindings that no consumer has renewed for an hour), `broker.sweep` removes entry by
        entry, without a script.
        """
        return 0

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        """Bind a queue to an exchange; log it and go on if the key of bindings holds no set.

        Messages reach queues of tasks and broadcasts without bindings, so a worker still works; only
        replies to control commands need theirs.
        """
        try:
            super()._queue_bind(exchange, routing_key, pattern, queue)
        except redis.ResponseError as error:
            if not is_wrong_type(error):
                raise
            _log_table(self.keyprefix_queue % exchange)

    def get_table(self, exchange: str) -> list[tuple[str, ...]]:
        """Return the bindings of an exchange, without malformed entries, at which publishing fails."""
        key = self.keyprefix_queue % exchange
        try:
            with self.conn_or_acquire() as client:
                members = client.smembers(key)
        except redis.ResponseError as error:
            if not is_wrong_type(error):
                raise
            _log_table(key)
            return []
        entries = [tuple(one.decode("utf-8", "replace").split(self.sep)) for one in members]
        return [entry for entry in entries if len(entry) == 3]

    def _size(self, queue: str) -> int:
        """Return how many messages a queue has; 0 where its key holds no list."""
        try:
            return int(super()._size(queue))
        except redis.ResponseError as error:
            if not is_wrong_type(error):
                raise
            return 0

    def _brpop_start(self, timeout: int | None = None) -> None:
        """Send BRPOP for all queues whose keys hold lists."""
        queues = self._queue_cycle.consume(len(self.active_queues))
        steps = self.priority_steps
        keys = self._keys.usable([self._q_for_pri(queue, pri) for pri in steps for queue in queues])
        if not keys:
            return
        self._in_poll = self.client.connection
        self._brpop_sent_at = kombu_redis.monotonic()  # type: ignore[attr-defined]
        wait = self.brpop_timeout if timeout is None else timeout
        command: list[Any] = ["BRPOP", *keys, self._wake_key, wait or 0]
        if self.global_keyprefix:
            command = self.client._prefix_args(command)
        self.client.connection.send_command(*command)

    def _brpop_read(self, **options: Any) -> bool:
        """Read the reply to `_brpop_start`, and deliver its message if it is valid."""
        try:
            answer = self._brpop_reply(**options)
            if not answer:
                raise Empty
            key, raw = answer
            if key.endswith(self._wake_key.encode()):
                raise Empty
            queue = key.decode("utf-8", "replace").rsplit(self.sep, 1)[0]
            self._queue_cycle.rotate(queue)
            message = self._checked(queue, raw)
            if message is not None:
                self.connection._deliver(message, queue)
            return True
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()

    def close(self) -> None:
        """Close; read the reply to a BRPOP before, because there may be a message in it."""
        if self._in_poll:
            self._wake()
        super().close()

    def _wake(self) -> None:
        """Let the server reply at once to BRPOP, which else waits for up to a second.

        By the private list among its keys: unlike CLIENT UNBLOCK, each server and ACL allows that.
        """
        try:
            with self.conn_or_acquire() as client, client.pipeline() as pipe:
                pipe.lpush(self._wake_key, b"").expire(self._wake_key, _WAKE_TTL).execute()
        except (redis.RedisError, OSError) as error:
            logger.debug("The reply to BRPOP is awaited: %s", error)

    def _brpop_reply(self, **options: Any) -> Any:
        connection = self.client.connection
        try:
            return self.client.parse_response(connection, "BRPOP", **options)
        except self.connection_errors:
            connection.disconnect()  # the next round connects again
            raise
        except self.ResponseError as error:
            if not is_wrong_type(error):
                raise
            with self.conn_or_acquire() as client:
                self._keys.look_at_types(client)
            return None

    def _receive_one(self, client: Any) -> Any:
        """Read one broadcast, and deliver its message if it is valid."""
        try:
            response = client.parse_response()
        except self.connection_errors:
            self._in_listen = None
            raise
        if not isinstance(response, list | tuple):
            return None
        payload = self._handle_message(client, response)
        if payload["type"] not in (b"message", b"pmessage", "message", "pmessage"):
            return None
        topic, raw = payload["channel"].decode("utf-8", "replace"), payload["data"]
        exchange = topic.partition(".")[2].split("/", 1)[0] if topic[:1] == "/" else topic
        message = self._checked(exchange, raw)
        return None if message is None else self._deliver_fanout_message(message, exchange)

    def _checked(self, source: str, raw: bytes) -> Any:
        """Return a message made of the checked parts of `raw`; None if it became a dead letter."""
        try:
            if source in _BROADCASTS:
                return _BROADCASTS[source](raw)
            return read_queued(raw, source)
        except InvalidMessageError as error:
            self._refuse(source, str(error), raw)
            return None

    def _refuse(self, source: str, reason: str, raw: bytes) -> None:
        letter = dead_letters.dead_letter(source, reason, raw)
        logger.error(
            "Refused a message of %s: %s. `seen dead-letters list` shows it: %s",
            letter.queue,
            letter.reason,
            escaped(letter.message, _LOGGED),
        )
        try:
            with self.conn_or_acquire() as client:
                dead_letters.add(client, letter)
        except (redis.RedisError, OSError) as error:
            logger.warning("The dead-letter list could not be written: %s", error)


class Transport(_KombuTransport):  # type: ignore[misc]
    """The transport of every ``redis://``, ``rediss://`` and ``redis+socket://`` broker of this app."""

    Channel = Channel
    connection_errors = (*_KombuTransport.connection_errors, StoreRefusalError)


def install() -> None:
    """Make kombu use this transport for the URLs of Redis.

    By name: the setting `broker_transport` has no effect on a URL that names its transport, as that of a
    unix socket does.
    """
    name = f"{__name__}:{Transport.__name__}"
    TRANSPORT_ALIASES.update(redis=name, rediss=name)
