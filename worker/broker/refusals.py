"""Distinguishes refusals of the store from wrong commands, on connections of the broker.

Celery's consumer ends at every error that is no connection error of its transport. A server that becomes
a replica, is full or runs a long script replies with such errors, and recovers. So an error that the
table of refusals (`cache.store.refusals`) knows is raised as `StoreRefusalError` here, and that is a
connection error of this transport. How long to wait is decided by `worker.celery_ext.consumer`.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import redis as kombu_redis
from redis.exceptions import NoScriptError, ResponseError

from cache.store.refusals import Refusal, find_refusal, server_message

_Channel: Any = kombu_redis.Channel  # its stub lacks what a subclass may do

#: Queues of events begin so (`event_queue_prefix`).
_EVENTS = "celeryev."


class StoreRefusalError(ResponseError):
    """The server refuses a command. Not redis-py's ConnectionError: that one it would repeat by itself.

    Attributes:
        refusal: the row of the table that knows it.
    """

    def __init__(self, error: ResponseError, refusal: Refusal) -> None:
        super().__init__(server_message(error))
        self.refusal = refusal


class RefusalChannel(_Channel):  # type: ignore[misc]
    """A channel whose connections raise refusals as `StoreRefusalError`."""

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        parameters: dict[str, Any] = super()._connparams(asynchronous)
        parameters["connection_class"] = _raising_refusals(parameters["connection_class"])
        return parameters

    def _put(self, queue: str, message: Any, **options: Any) -> None:
        """Put a message into a queue; an event that the store refuses is dropped.

        A full store still delivers messages: a worker must not stop consuming because Flower lacks an
        event.
        """
        try:
            super()._put(queue, message, **options)
        except StoreRefusalError:
            if not queue.startswith(_EVENTS):
                raise

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        """Bind a queue to an exchange; in a full store an existing binding is enough.

        Otherwise a store full of messages would keep away the worker that consumes them.
        """
        try:
            super()._queue_bind(exchange, routing_key, pattern, queue)
        except StoreRefusalError as error:
            if error.refusal.name != "OOM" or not self._is_bound(exchange, routing_key, queue):
                raise

    def _is_bound(self, exchange: str, routing_key: str, queue: str) -> bool:
        member = self.sep.join((routing_key or "", "", queue))
        with self.conn_or_acquire() as client:
            return bool(client.sismember(self.keyprefix_queue % exchange, member))


def _raising_refusals(connection_class: Any) -> Any:
    """Return a subclass of one of redis-py's connections that raises refusals as `StoreRefusalError`."""

    class Connection(connection_class):  # type: ignore[misc]
        def read_response(self, *args: Any, **options: Any) -> Any:
            try:
                response = super().read_response(*args, **options)
            except ResponseError as error:
                raise as_refusal(error) from error.__cause__
            # The answer to a transaction carries the errors of its commands.
            return list(map(as_refusal, response)) if isinstance(response, list) else response

    return Connection


def as_refusal(reply: Any) -> Any:
    """Return a refusal as `StoreRefusalError`, and anything else as it is."""
    # A script that is not known there is sent again with its text, by redis-py.
    if not isinstance(reply, ResponseError) or isinstance(reply, NoScriptError):
        return reply
    refusal = find_refusal(reply)
    return reply if refusal is None else StoreRefusalError(reply, refusal)
