"""Checks Celery's own messages: control commands, the replies to them, and task events.

Workers read commands, callers such as `seen doctor` read replies, and Flower reads events. Each is
checked as far as its reader relies on it: an argument of the wrong type can end a worker long after its
command, for instance at the next reconnection.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from worker.broker.envelope import (
    Envelope,
    InvalidMessageError,
    kind_of,
    new_message,
    read_envelope,
)
from worker.broker.queues import DOWNLOAD_QUEUES, MAINTENANCE_QUEUE

REPLY_EXCHANGE = "reply.celery.pidbox"
COMMAND_EXCHANGE = "celery.pidbox"
EVENT_EXCHANGE = "celeryev"
#: Where Celery's own messages go.
BROADCASTS = (COMMAND_EXCHANGE, REPLY_EXCHANGE, EVENT_EXCHANGE)

#: Bytes of a raw message. A reply may list what a worker runs; events come in batches.
MAX_COMMAND, MAX_REPLY, MAX_EVENTS = 256 * 1024, 8 * 2**20, 8 * 2**20
#: Logical clocks above this are ignored: a process that receives one continues from it.
_MAX_CLOCK = 2**53
#: Times in events, in seconds since 1970; about the year 3000.
_MAX_TIME = 32_503_680_000

_Check = Callable[[Any], bool]
_WORD = re.compile(r"[\w.:@%+-]{1,255}", re.ASCII)


def read_command(raw: bytes) -> Any:
    """Return a control command as kombu expects it, made of checked parts.

    Raises:
        InvalidMessageError: it cannot be read, is no accepted command, or has invalid arguments.
    """
    envelope = read_envelope(raw, MAX_COMMAND)
    body = _dict(envelope.body, "its body")
    for name, check in _COMMAND_FIELDS.items():
        _require(check, body.get(name), f"its {name}")
    if unknown := body.keys() - _COMMAND_FIELDS.keys():
        raise InvalidMessageError(f"its field {min(unknown)!r:.80} is unknown")
    check_command(body["method"], body.get("arguments") or {})
    return _passed_on(envelope, COMMAND_EXCHANGE)


def check_command(method: str, arguments: Mapping[str, Any]) -> None:
    """Check the name and the arguments of a control command.

    Raises:
        InvalidMessageError: workers refuse it.
    """
    if method not in _COMMANDS:
        raise InvalidMessageError(f"{method!r:.80} is no command that workers accept")
    for name, check in _COMMANDS[method].items():
        _require(check, arguments.get(name), f"the argument {name} of {method}")


def read_reply(raw: bytes) -> Any:
    """Return a reply to a control command: an object from node name to reply.

    Raises:
        InvalidMessageError: it cannot be read, or is no such object.
    """
    envelope = read_envelope(raw, MAX_REPLY)
    _dict(envelope.body, "its body")
    _require(_is_word, envelope.headers.get("ticket"), "its ticket")
    return _passed_on(envelope, REPLY_EXCHANGE)


def read_events(raw: bytes) -> Any:
    """Return a message of events: one, or a list of them.

    Raises:
        InvalidMessageError: it cannot be read, or one of them is no event.
    """
    envelope = read_envelope(raw, MAX_EVENTS)
    events = envelope.body if isinstance(envelope.body, list) else [envelope.body]
    for event in events:
        fields = _dict(event, "an event in it")
        for name, check in _EVENT_FIELDS.items():
            _require(check, fields.get(name), f"the {name} of an event")
        if fields["type"].startswith("task-"):
            _require(_is_word, fields.get("uuid"), "the uuid of an event")
    return _passed_on(envelope, EVENT_EXCHANGE)


def _passed_on(envelope: Envelope, exchange: str) -> Any:
    """Keep the body, which decodes, and of the headers those that kombu reads."""
    headers = envelope.headers
    clock, expires = headers.get("clock"), headers.get("expires")
    kept = {
        "clock": clock if _is_clock(clock) else 0,
        "expires": expires if _is_time(expires) else 0,
        "ticket": headers.get("ticket"),
    }
    return new_message(kept, envelope.encoded_body, exchange, "")


# ── what values may be ──────────────────────────────────────────────────────────────────────────


def _require(check: _Check, value: object, what: str) -> None:
    if not check(value):
        raise InvalidMessageError(f"{what} cannot be {value!r:.80}")


def _dict(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidMessageError(f"{what} is {kind_of(value)}, not an object")
    return value


def _is_word(value: object) -> bool:
    return isinstance(value, str) and _WORD.fullmatch(value) is not None


def _is_number(value: object, largest: float) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and -largest <= value <= largest and math.isfinite(value)  # type: ignore[operator,arg-type]


def _is_clock(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_CLOCK


def _is_time(value: object) -> bool:
    return _is_number(value, _MAX_TIME)


def _is_short(value: object) -> bool:
    return isinstance(value, str) and len(value) <= 255


def _optional(check: _Check) -> _Check:
    return lambda value: value is None or check(value)


def _one_of(*values: object) -> _Check:
    return lambda value: value in values


def _between(smallest: float, largest: float) -> _Check:
    return lambda value: _is_number(value, largest) and value >= smallest


def _words(value: object) -> bool:
    return isinstance(value, list) and all(_is_short(one) for one in value)


def _reply_address(value: object) -> bool:
    """Replies go to callers alone, never into a queue of the sender's choice."""
    return isinstance(value, dict) and (
        value.keys() == {"exchange", "routing_key"}
        and value["exchange"] == REPLY_EXCHANGE
        and _is_word(value["routing_key"])
    )


_COMMAND_FIELDS: Mapping[str, _Check] = {
    "method": _is_word,
    "arguments": _optional(lambda value: isinstance(value, dict)),
    "destination": _optional(_words),
    "pattern": _optional(_is_short),
    # A regular expression can block a worker's event loop for ever; a glob cannot.
    "matcher": _one_of(None, "glob"),
    "ticket": _optional(_is_word),
    "reply_to": _optional(_reply_address),
}

_is_queue = _one_of(*DOWNLOAD_QUEUES, MAINTENANCE_QUEUE)
_is_queue_or_none = _one_of(None, *DOWNLOAD_QUEUES, MAINTENANCE_QUEUE)
_seconds = _optional(_between(0, 10**8))
_count = _optional(_between(0, 1_000))

#: Commands whose arguments are checked by themselves.
_UNCHECKED = (
    *("active", "active_queues", "clock", "conf", "disable_events", "dump_active", "dump_conf"),
    *("dump_reserved", "dump_revoked", "dump_schedule", "dump_tasks", "enable_events", "heartbeat"),
    *("ping", "query_task", "registered", "report", "reserved", "revoke", "revoked", "scheduled"),
    *("shutdown", "stats", "terminate"),
)
#: Commands that workers accept. Celery's others need gossip, which is off, or are for debugging Celery.
_COMMANDS: Mapping[str, Mapping[str, _Check]] = {
    **{name: {} for name in _UNCHECKED},
    "add_consumer": {
        "queue": _is_queue,
        "exchange": _is_queue_or_none,
        "exchange_type": _one_of(None, "direct"),
        "routing_key": _is_queue_or_none,
    },
    "autoscale": {"max": _count, "min": _count},
    "cancel_consumer": {"queue": _is_queue},
    "pool_grow": {"n": _count},
    "pool_shrink": {"n": _count},
    # These two are kept on the task, and read much later.
    "rate_limit": {
        "task_name": _is_word,
        "rate_limit": lambda value: value is None or _is_number(value, 10**6) or _is_rate(value),
    },
    "time_limit": {"task_name": _is_word, "soft": _seconds, "hard": _seconds},
}

_EVENT_FIELDS: Mapping[str, _Check] = {
    "type": lambda value: (
        isinstance(value, str) and re.fullmatch("[a-z-]{1,64}", value) is not None
    ),
    "hostname": _is_short,
    "timestamp": _between(0, _MAX_TIME),
    "utcoffset": _between(-48, 48),
    # Above what is taken for a clock in a command, so that no worker's own events are ever refused.
    "clock": _between(0, 2**62),
    "freq": _optional(_between(0, 10**6)),
    "pid": _optional(_between(0, 2**32)),
}


def _is_rate(value: object) -> bool:
    return (
        isinstance(value, str) and re.fullmatch(r"\d{1,9}(\.\d{1,9})?(/[smh])?", value) is not None
    )
