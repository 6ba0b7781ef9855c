"""Log records as JSON, one object a line: structlog's processors on the records of `logging`.

Only programs that log so import this module.
"""

from __future__ import annotations

import json
import logging
import math
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

from worker.logs import context, events
from worker.logs.records import TRACE_PREFIX, shown

#: Characters of one value, and of a whole traceback, of which the end is kept.
MAX_VALUE, MAX_EXCEPTION = 1_000, 16_000
#: What a log call may add by ``extra=``; other attributes of records are no fields.
EXTRA = (
    *("event", "job_id", "fence", "user", "error_code", "reason", "bytes", "seconds"),
    *("method", "path", "status", "client", "trace_id", "span_id"),
)
_MAX_INTEGER = 2**63
#: Packages whose records have events of their own.
_OWN = frozenset(
    ("api", "cache", "cli", "database", "domain", "seen_local", "settings", "tasks", "worker")
)


_logger = logging.getLogger(__name__)


class JsonFormatter(logging.Formatter):
    """Formats records as JSON.

    Args:
        role: what this process is: ``downloads``, ``beat``, ``api`` …
    """

    def __init__(self, role: str) -> None:
        super().__init__()
        self._add_extra = structlog.stdlib.ExtraAdder(allow=EXTRA)
        self._processors = (_Fields(role), structlog.processors.JSONRenderer(serializer=_dumps))

    def format(self, record: logging.LogRecord) -> str:
        """Return one line without its end."""
        fields: Any = self._add_extra(_logger, "", {"_record": record})
        for processor in self._processors:
            fields = processor(None, record.levelname, fields)
        return str(fields)


class _Fields:
    """A processor of structlog: from a record to the fields of its line, in their order."""

    def __init__(self, role: str) -> None:
        self._process = {"role": role, "host": socket.gethostname()}

    def __call__(self, _logger: WrappedLogger, _name: str, fields: EventDict) -> EventDict:
        record: logging.LogRecord = fields.pop("_record")
        fields = {**dict(_arguments(record)), **fields}
        job = _job(fields.get("job_id"))
        named = fields.pop("event", None)
        line = {
            "timestamp": timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": named or _unnamed(record),
            "message": _Shown(record.getMessage()),
            **job,
            **context.trace_ids(job.get("job_id") or fields.get("job_id")),
            **fields,
            **self._process,
            "pid": record.process,
            "worker": f"{self._process['host']}:{record.process}",
            "thread": record.threadName,
            **_error(record),
        }
        return {key: value(one) for key, one in line.items() if one is not None}


def timestamp(seconds: float) -> str:
    """Return a time as RFC 3339 has it, in UTC with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def value(one: object) -> object:
    """Return a value that is valid in JSON, bounded, and shown as logs show text."""
    if one is None or isinstance(one, bool):
        return one
    if type(one) is int:
        return one if abs(one) < _MAX_INTEGER else f"{one:#x}"[:MAX_VALUE]
    if type(one) is float:
        return round(one, 3) if math.isfinite(one) else str(one)
    return one if type(one) is _Shown else _Shown(shown(_text(one), MAX_VALUE))


class _Shown(str):
    """Text that is bounded and shows no secret already; it may have several lines."""

    __slots__ = ()


def _arguments(record: logging.LogRecord) -> Iterator[tuple[str, object]]:
    """Yield the event, and the arguments of the message by their names."""
    found = events.describe(record.msg)
    if found is None:
        return
    event, *names = found
    given = record.args if isinstance(record.args, tuple) else ()
    pairs = [(name, one) for name, one in zip(names, given, strict=False) if name]
    for name, one in pairs:
        yield name, value(one)
        if isinstance(one, BaseException):
            yield "error_code", getattr(one, "code", None)
    yield "event", event.format_map({name: str(one) for name, one in pairs})


def _job(job_id: object) -> dict[str, object]:
    """Return the job that a record belongs to; its message may name another one."""
    job = context.current()
    if job is None or job_id not in {None, job.job_id}:
        return {}
    return dict(job._asdict())


def _unnamed(record: logging.LogRecord) -> str:
    return "log" if record.name.partition(".")[0] in _OWN else events.LIBRARY


def _error(record: logging.LogRecord) -> dict[str, object]:
    """Return the exception of a record, and its code."""
    if not record.exc_info or record.exc_info[0] is None:
        return {}
    kind, error = record.exc_info[:2]
    lines = (record.exc_text or "").split("\n")
    text = "\n".join(line.removeprefix(TRACE_PREFIX) for line in lines)
    code = getattr(error, "code", None)
    return {
        "exception": _Shown(text[-MAX_EXCEPTION:]),
        "exception_type": getattr(kind, "__qualname__", None),
        **({"error_code": code} if isinstance(code, str) else {}),
    }


def _text(one: object) -> str:
    try:
        return str(one)
    except Exception as error:
        return f"{type(one).__name__} without a text: {type(error).__name__}"


def _dumps(fields: EventDict, **_: object) -> str:
    # In ASCII: the stream may have any encoding.
    return json.dumps(fields, ensure_ascii=True, allow_nan=False)
