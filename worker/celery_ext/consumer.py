"""Celery's consumer, with patience for store and system, a clean end and events in batches added."""

from __future__ import annotations

from typing import Any

from celery.exceptions import WorkerTerminate
from celery.worker import consumer
from celery.worker.state import maybe_shutdown
from kombu.common import ignore_errors

from worker.broker.refusals import StoreRefusalError
from worker.celery_ext.consumer_backoff import RECOVERED_AFTER, ConsumerBackoff
from worker.resources import resource_error_of

#: Task events wait this long for company. Seconds; nobody watching Flower sees the difference.
GATHERING = 0.2

_CeleryConsumer: Any = consumer.Consumer  # its stub lacks what the events need


class Consumer(_CeleryConsumer):  # type: ignore[misc]
    """Waits for a store that refuses, ends cleanly, and sends task events in batches.

    Celery publishes every event at the event loop's next step, which for small downloads is a third of
    the loop's work. Gathered, a whole batch is one message.
    """

    connection: Any
    _flush_is_due = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._patience = ConsumerBackoff()

    def start(self) -> None:
        """Run until the worker ends. Where descriptors are lacking, wait for some and connect anew.

        Celery ends the process there, and with it downloads that have all the descriptors they need.
        """
        while True:
            try:
                super().start()
                return
            except (WorkerTerminate, Exception) as end:
                lack = resource_error_of(end)
                if lack is None:
                    raise
            self._let_go()
            self._patience.wait_for_resources(lack, maybe_shutdown)
            self.on_close()
            self._cancel_connection_timer_entries()
            self.blueprint.restart(self)

    def _let_go(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            ignore_errors(connection, connection.close)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Let go of the connection before Celery makes a new one; wait first if the store refuses.

        Celery itself waits only for connections that it cannot make, and logs each one it loses.
        """
        if not isinstance(exc, StoreRefusalError):
            super().on_connection_error_after_connected(exc)
            return
        self._let_go()
        self._patience.wait_for_store(exc, maybe_shutdown)

    def register_with_event_loop(self, hub: Any) -> None:
        """Begin to run; an error of the connection takes back what is registered here."""
        super().register_with_event_loop(hub)
        hub.call_later(RECOVERED_AFTER, self._patience.served)

    def stop(self) -> None:
        """Take no more messages, and give back at once what the broker hands out in this moment.

        Celery reads the answer it still waits for when the pool has stopped: until then, a message that
        comes with it would be nobody's.
        """
        super().stop()
        if self.task_consumer is not None:
            ignore_errors(self, self.task_consumer.channel.close)

    def on_send_event_buffered(self) -> None:
        """Called, by any thread, for each event that was put into the buffer."""
        if self.hub is not None and not self._flush_is_due:
            self._flush_is_due = True
            # From the loop's own thread: its timer is not made for others.
            self.hub.call_soon(self._flush_later)

    def _flush_later(self) -> None:
        self.hub.call_later(GATHERING, self._flush_gathered)

    def _flush_gathered(self, *_: Any) -> None:
        self._flush_is_due = False
        self._flush_events()
