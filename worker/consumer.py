"""Celery's consumer, with two things added: a clean end, and events in batches."""

from __future__ import annotations

from typing import Any

from celery.worker import consumer
from kombu.common import ignore_errors

#: Task events wait this long for company. Seconds; nobody watching Flower sees the difference.
GATHERING = 0.2

_CeleryConsumer: Any = consumer.Consumer  # its stub lacks what the events need


class Consumer(_CeleryConsumer):  # type: ignore[misc]
    """Ends cleanly, and sends task events in batches.

    Celery publishes every event at the event loop's next step, which for small downloads is a third of
    the loop's work. Gathered, a whole batch is one message.
    """

    _flush_is_due = False

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
