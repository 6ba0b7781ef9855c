"""How Flower bears a store that refuses or is away: it tries at bounded intervals, and says so once.

Flower's own loop for events doubles its pause without bound, so that after an outage of an hour it may
show nothing for an hour more; and each of its timers logs each failure. Only Flower's process uses this.
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
from worker.celery_ext.consumer_backoff import BACKOFF, RECOVERED_AFTER
from worker.outages import OutageLog

logger = logging.getLogger(__name__)

_WATCHING = "Flower receives no events"
#: What Flower's timers say of the same outage.
_ECHOES = ("Failed to enable events", "Inspect method ")


def install() -> None:
    """Make this process's Flower capture events so. Before it starts."""
    events.Events.run = _capture
    for name in ("flower.events", "flower.inspector"):
        logging.getLogger(name).addFilter(is_no_echo)
    # It tells of each connection; while the store refuses, each try is one.
    logging.getLogger("kombu.mixins").setLevel(logging.WARNING)


_EventReceiver: Any = EventReceiver  # its stub lacks what a subclass may do


class _Receiver(_EventReceiver):  # type: ignore[misc]
    """Receives events until the connection fails, once."""

    def on_connection_error(self, exc: Exception, interval: float) -> None:  # noqa: ARG002 - kombu passes it
        """Leave it to `_capture`: kombu would log a traceback at each try."""
        raise exc


def _capture(self: Any) -> None:
    """Receive events for as long as the process lives. Runs in Flower's thread for that."""
    outages = OutageLog(logger)
    failures = 0
    while True:
        began = time.monotonic()
        served = threading.Timer(RECOVERED_AFTER, outages.record_success, (_WATCHING,))
        served.daemon = True
        try:
            with self.capp.connection() as connection:
                receiver = _Receiver(connection, handlers={"*": self.on_event}, app=self.capp)
                served.start()
                receiver.capture(limit=None, timeout=None, wakeup=True)
        except Exception as error:
            served.cancel()
            outages.record_failure(_WATCHING, unavailable_error(error.__cause__ or error))
        if time.monotonic() - began > RECOVERED_AFTER:
            failures = 0
        failures += 1
        time.sleep(BACKOFF.delay(failures))


def is_no_echo(record: logging.LogRecord) -> bool:
    """Drop a line about an outage that the loop for events has told of."""
    arguments = record.args if isinstance(record.args, tuple) else ()
    is_outage = any(
        isinstance(one, OperationalError | OSError)
        or (isinstance(one, Exception) and is_unavailable(one))
        for one in arguments
    )
    return not (is_outage and str(record.msg).startswith(_ECHOES))
