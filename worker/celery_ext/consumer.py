"""Celery's consumer with back-off, a clean stop, events in batches, and a sign that its loop runs."""

from __future__ import annotations

import threading
import time
from typing import Any

from celery.exceptions import WorkerTerminate
from celery.worker import consumer
from celery.worker.state import maybe_shutdown
from kombu.common import ignore_errors

from worker.broker.refusals import StoreRefusalError
from worker.celery_ext.consumer_backoff import RECOVERED_AFTER, ConsumerBackoff
from worker.celery_ext.pool import TaskPool
from worker.resources import resource_error_of

#: Seconds for which task events are collected into one message.
EVENT_BATCH_WINDOW = 0.2
#: Events in one message at most. With Celery's 24 a busy worker would send a message for eight jobs.
EVENT_BATCH_SIZE = 1_000
#: Seconds for which a worker that stops tries to send its last task events.
LAST_FLUSH_TIMEOUT = 2.0
#: Seconds between two notes that the event loop runs.
LOOP_NOTE_INTERVAL = 1.0

_CeleryConsumer: Any = consumer.Consumer  # its stub lacks what the events need


class Consumer(_CeleryConsumer):  # type: ignore[misc]
    """Backs off while the store refuses commands, and sends task events in batches.

    Celery publishes every event at the event loop's next step, which for small downloads is a third of
    the loop's work. Here the events of 0.2 s are one message.
    """

    connection: Any
    #: When the event loop ran last, by `time.monotonic`.
    looped_at = 0.0
    _flush_is_due = False

    def __init__(self, *args: Any, worker_options: Any = None, **options: Any) -> None:
        # Workers need not know of each other: what they share is in the store and in SQL. The messages
        # of both steps are no accepted commands (`worker.broker.control_messages`).
        alone = {"without_gossip": True, "without_mingle": True}
        super().__init__(*args, worker_options={**(worker_options or {}), **alone}, **options)
        self._backoff = ConsumerBackoff()

    @property
    def queues(self) -> tuple[str, ...]:
        """The names of the queues that this worker consumes."""
        return tuple(self.app.amqp.queues.consume_from)

    def start(self) -> None:
        """Run until the worker stops. Without file descriptors, wait for some and connect again.

        Celery would end the process, and with it downloads that have all the descriptors they need.
        """
        while True:
            try:
                super().start()
                return
            except (WorkerTerminate, Exception) as error:
                lack = resource_error_of(error)
                if lack is None:
                    raise
            self._close_connection()
            self._backoff.wait_for_resources(lack, maybe_shutdown)
            self.on_close()
            self._cancel_connection_timer_entries()
            self.blueprint.restart(self)

    def _close_connection(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            ignore_errors(connection, connection.close)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Close the connection before Celery makes a new one; back off first if the store refuses.

        Celery itself waits only for connections that it cannot make, and logs each one that it loses.
        """
        if not isinstance(exc, StoreRefusalError):
            super().on_connection_error_after_connected(exc)
            return
        self._close_connection()
        self._backoff.wait_for_store(exc, maybe_shutdown)

    def register_with_event_loop(self, hub: Any) -> None:
        """Start the timers, and let the pool count. Celery cancels them when the connection fails."""
        super().register_with_event_loop(hub)
        if self.event_dispatcher is not None:
            self.event_dispatcher.buffer_limit = EVENT_BATCH_SIZE
        if isinstance(self.pool, TaskPool):
            # Celery would compare the number of messages with that of the slots.
            self.task_consumer.channel.qos.can_consume = self.pool.has_room
        hub.call_later(RECOVERED_AFTER, self._backoff.reset)
        self._note_loop()
        hub.call_repeatedly(LOOP_NOTE_INTERVAL, self._note_loop)

    def _note_loop(self) -> None:
        self.looped_at = time.monotonic()

    def stop(self) -> None:
        """Stop consuming, and return to its queue a message that the broker delivers at this moment.

        Celery reads the reply to its last BRPOP only when the pool has stopped. A message in it would
        wait until then, and be lost if the process is killed.
        """
        super().stop()
        if self.task_consumer is not None:
            ignore_errors(self, self.task_consumer.channel.close)

    def shutdown(self) -> None:
        """Send the events of tasks that ended during the drain, when the event loop ran no more.

        For a store that does not answer this waits `LAST_FLUSH_TIMEOUT` seconds and not longer.
        """
        flush = threading.Thread(
            target=ignore_errors, args=(self, self._flush_events), name="last-events", daemon=True
        )
        flush.start()
        flush.join(LAST_FLUSH_TIMEOUT)
        super().shutdown()

    def on_send_event_buffered(self) -> None:
        """Schedule a flush. Called from any thread, for each event that was put into the buffer."""
        if self.hub is not None and not self._flush_is_due:
            self._flush_is_due = True
            # By the loop's own thread: its timer is not thread-safe.
            self.hub.call_soon(self._flush_later)

    def _flush_later(self) -> None:
        self.hub.call_later(EVENT_BATCH_WINDOW, self._flush_batch)

    def _flush_batch(self, *_: Any) -> None:
        self._flush_is_due = False
        self._flush_events()
