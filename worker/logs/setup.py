"""Sets up the log of a process: readable lines, as each program has them, or JSON.

`start` comes first in a program. With lines it changes nothing: Celery, Flower and uvicorn set their
logs up themselves. With JSON, all of it is done here, once, and they add nothing.

What only JSON needs is imported when it is used: the `seen` command loads this module, too.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from functools import cache
from importlib.util import find_spec
from types import TracebackType
from typing import Any, TextIO

from domain.errors import SettingsError
from seen_local.late_settings import settings_module

logger = logging.getLogger(__name__)

#: Celery would write two lines for each message, and the runner writes one that names the job; Alembic
#: one for each part that it loads.
_TALKATIVE = ("celery.worker.strategy", "celery.app.trace", "alembic.runtime.plugins")
_roles: list[str] = []


def uses_json() -> bool:
    """Return whether this process logs JSON (SEEN_LOG_FORMAT), also where other settings are wrong."""
    return settings_module.log_format() == "json"


def start(role: str, *, stream: TextIO | None = None) -> bool:
    """Log JSON from now on if that is configured; return whether it is.

    What the program prints becomes records, too.

    Args:
        role: what this process is, a field of each record.
        stream: where the lines go; standard error by default.

    Raises:
        SettingsError: structlog is not installed.
    """
    if not uses_json():
        return False
    if find_spec("structlog") is None:
        raise SettingsError(
            "SEEN_LOG_FORMAT=json needs one more package: pip install 'seen-downloads[json-logs]'."
        )
    from worker.logs import context, records
    from worker.logs.streams import LinesAsRecords

    _roles[:] = [role]
    records.install()
    context.show()
    _use(logging.StreamHandler(stream or sys.__stderr__), logging.INFO)
    quieten()
    logging.captureWarnings(True)
    sys.stdout = LinesAsRecords("stdout", logging.INFO)
    sys.stderr = LinesAsRecords("stderr", logging.WARNING)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread
    return True


def json_line(role: str, message: str, event: str) -> str:
    """Return a line of a log that no handler writes."""
    from worker.logs.records import LogLine

    record = LogLine(role, logging.INFO, "", 0, "%s", (message,), None)
    record.event = event
    return _formatter(role).format(record)


def use_line_records() -> None:
    """Escape and mask lines in this process."""
    from worker.logs import records

    records.install()


def for_celery(loglevel: int | None = None, logfile: Any = None, **_: Any) -> None:
    """Set up the log instead of Celery, which then adds no handler (its signal `setup_logging`)."""
    if not _roles:  # started by Celery's own command line
        start("worker")
    program: Any = sys.modules.get("celery.apps.worker")
    if program is not None:
        program.safe_say = _say
    if isinstance(logfile, str):
        from logging.handlers import WatchedFileHandler

        _use(WatchedFileHandler(logfile, encoding="utf-8"), loglevel or logging.INFO)
    elif loglevel:
        logging.getLogger().setLevel(loglevel)


def _say(message: str, _stream: object = None) -> None:
    """Write what Celery says in the handler of a signal, where neither locks nor buffers may be used."""
    os.write(2, f"{json_line(_roles[0], message, 'library')}\n".encode())


def quieten() -> None:
    """Drop lines of libraries that say nothing to a reader."""
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


@cache
def _formatter(role: str) -> logging.Formatter:
    from worker.logs.json_format import JsonFormatter

    return JsonFormatter(role)


def _use(handler: logging.Handler, level: int) -> None:
    handler.setFormatter(_formatter(_roles[0]))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    logger.critical("The process ends by an error", exc_info=(kind, error, trace))


def _log_uncaught_in_thread(failed: threading.ExceptHookArgs) -> None:
    if failed.exc_value is not None and failed.exc_type is not SystemExit:
        where = failed.thread.name if failed.thread else ""
        logger.error("The thread %s ends by an error", where, exc_info=failed.exc_value)
