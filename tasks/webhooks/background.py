"""Makes deliveries on a thread of a maintenance worker, and keeps the outbox small."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta

from database.webhooks import Outbox, Receivers
from domain.errors import DatabaseUnavailableError
from tasks.webhooks.dispatcher import Dispatcher, DispatcherParts
from tasks.webhooks.schedule import LONGEST_PAUSE
from worker.runtime import Runtime

logger = logging.getLogger(__name__)

#: Ends of jobs are kept for a program for so long after the last process with SEEN_ON_END was seen.
PROGRAM_MEMORY = timedelta(hours=1)
#: Such a process notes itself so often.
_NOTE_INTERVAL = timedelta(minutes=5)
_WHAT = "Webhooks could not be delivered"

_lock = threading.Lock()
_thread: threading.Thread | None = None


def deliver_in_background(runtime: Runtime) -> None:
    """Have due deliveries made by a thread of this process, unless one is at it.

    A slow receiver occupies that thread, and none of the maintenance tasks.
    """
    global _thread
    with _lock:
        if _thread is not None and _thread.is_alive():
            return
        try:
            note_program(runtime)
            if not Outbox(runtime.database).hosts_due(runtime.now()):
                return
        except DatabaseUnavailableError as error:
            runtime.outages.record_failure(_WHAT, error)
            return
        _thread = threading.Thread(target=_deliver, args=(runtime,), name="webhooks", daemon=True)
        _thread.start()


def _deliver(runtime: Runtime) -> None:
    try:
        deliver_due(runtime)
    except DatabaseUnavailableError as error:
        runtime.outages.record_failure(_WHAT, error)
    except Exception:
        logger.exception("Webhooks could not be delivered")
    else:
        runtime.outages.record_success(_WHAT)


def deliver_due(runtime: Runtime) -> int:
    """Make deliveries until none is due, or the process stops; return how many attempts were made."""
    return Dispatcher(DispatcherParts.of(runtime)).run()


def note_program(runtime: Runtime) -> None:
    """Have ends of jobs kept for the program of SEEN_ON_END, if this process has one.

    Without one, they are kept for as long as another process with one was seen not long ago.
    """
    receivers, now = Receivers(runtime.database), runtime.now()
    seen_at = receivers.program_seen_at()
    if runtime.settings.on_end is not None:
        if seen_at is None or abs(now - seen_at) > _NOTE_INTERVAL:
            receivers.note_program(now)
    elif seen_at is not None and receivers.forget_program(now - PROGRAM_MEMORY):
        dropped = Outbox(runtime.database).drop_program()
        logger.warning("No process has SEEN_ON_END any more; %d ends were left for it", dropped)


def purge_deliveries(runtime: Runtime) -> int:
    """Delete deliveries of jobs that ended before `SEEN_RETENTION_DAYS`; correct wrong times."""
    outbox, days = Outbox(runtime.database), runtime.settings.retention_days
    outbox.correct_times(runtime.now(), LONGEST_PAUSE)
    removed = 0
    while days and not runtime.drain.has_started:
        some = outbox.purge_some(runtime.now() - timedelta(days=days))
        removed += some
        if not some:
            break
    return removed
