"""How Flower's process waits for a store that refuses or is away: with bounded pauses, and one log line.

Flower's own loop for events doubles its pause without bound, so that after an outage of an hour it may
show nothing for an hour more; and each of its timers logs each failure.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from celery.events import EventReceiver
from flower import events
from kombu.exceptions import OperationalError

from cache.store.connection import is_unavailable, unavailable_error
from worker.backoff import REFUSAL_BACKOFF
from worker.celery_ext.consumer_backoff import RECOVERED_AFTER
from worker.outages import OutageLog

logger = logging.getLogger(__name__)

_RECEIVING = "Flower receives no events"
#: How log lines of Flower's timers about the same outage start.
_REPETITIONS = ("Failed to enable events", "Inspect method ")


def install() -> None:
    """Replace Flower's loop for events. Call it before Flower starts."""
    events.Events.run = _capture
    for name in ("flower.events", "flower.inspector"):
        logging.getLogger(name).addFilter(is_no_repetition)
    # It logs each connection; while the store refuses, that is one for each attempt.
    logging.getLogger("kombu.mixins").setLevel(logging.WARNING)


_EventReceiver: Any = EventReceiver  # its stub lacks what a subclass may do


class _Receiver(_EventReceiver):  # type: ignore[misc]
    """Receives events until the connection fails, once."""

    def on_connection_error(self, exc: Exception, interval: float) -> None:  # noqa: ARG002 - kombu passes it
        """Raise it to `_capture`: kombu would log a traceback at each attempt."""
        raise exc


def _capture(self: Any) -> None:
    """Receive events until the process ends. Runs in Flower's thread for events."""
    outages = OutageLog(logger)
    failures = 0
    while True:
        started_at = time.monotonic()
        recovered = threading.Timer(RECOVERED_AFTER, outages.record_success, (_RECEIVING,))
        recovered.daemon = True
        try:
            with self.capp.connection() as connection:
                receiver = _Receiver(connection, handlers={"*": self.on_event}, app=self.capp)
                recovered.start()
                receiver.capture(limit=None, timeout=None, wakeup=True)
        except Exception as error:
            recovered.cancel()
            outages.record_failure(_RECEIVING, unavailable_error(error.__cause__ or error))
        if time.monotonic() - started_at > RECOVERED_AFTER:
            failures = 0
        failures += 1
        time.sleep(REFUSAL_BACKOFF.delay(failures))


def is_no_repetition(record: logging.LogRecord) -> bool:
    """Filter out a line about an outage that the loop for events has logged."""
    arguments = record.args if isinstance(record.args, tuple) else ()
    is_outage = any(
        isinstance(one, OperationalError | OSError)
        or (isinstance(one, Exception) and is_unavailable(one))
        for one in arguments
    )
    return not (is_outage and str(record.msg).startswith(_REPETITIONS))
