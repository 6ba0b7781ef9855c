"""Forged control commands, replies and events, which no process may act on, and genuine ones."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from tests.support.inputs.malformed_messages import encoded, nested, raw


def message(body: object, **headers: object) -> dict[str, Any]:
    """A message as kombu publishes one to all."""
    return {
        "body": encoded(body),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"clock": 5, "expires": 0, **headers},
        "properties": {
            "delivery_mode": 1,
            "delivery_info": {"exchange": "celery.pidbox", "routing_key": ""},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid4()),
        },
    }


def command(method: object, arguments: object = None, **fields: object) -> bytes:
    """A control command."""
    body = {"method": method, "arguments": arguments, "destination": None}
    return raw(message({**body, "pattern": None, "matcher": None, **fields}))


def event(**fields: object) -> dict[str, Any]:
    """What a worker reports about itself."""
    genuine = {
        "type": "worker-heartbeat",
        "hostname": "downloads@here",
        "timestamp": 1_800_000_000.5,
        "utcoffset": 0,
        "pid": 17,
        "clock": 5,
        "freq": 2.0,
    }
    return {**genuine, **fields}


def _with(change: Mapping[str, object]) -> bytes:
    return raw({**message({"method": "ping", "arguments": {}}), **change})


FORGED_COMMANDS: Mapping[str, bytes] = {
    "junk": b"junk",
    "null": b"null",
    "a list": b"[1]",
    "not UTF-8": b"\xff\xfe",
    "nested deeply": nested(100_000).encode(),
    "an empty object": b"{}",
    "no headers": _with({"headers": None}),
    "no properties": _with({"properties": None}),
    "compressed": raw(message({"method": "ping"}, compression="gzip")),
    "pickle": _with({"content-type": "application/x-python-serialize"}),
    "a body of another kind": raw(message([1, 2])),
    "a body that is not JSON": _with({"body": base64.b64encode(b"{").decode()}),
    "a typed value": raw(message({"method": {"__type__": "decimal", "__value__": "x"}})),
    "too large": command("ping", {"x": "y" * 300_000}),
    "no method": raw(message({"arguments": {}})),
    "a list as method": command([]),
    "an unknown method": command("os.system"),
    "election": command("election", {"id": 1, "topic": "x"}),
    "hello": command("hello", {"from_node": "x", "revoked": {"a": "b"}}),
    "an unknown field": command("ping", x=1),
    "arguments of another kind": command("ping", [1]),
    "a number as destination": command("ping", destination=7),
    "a regular expression": command("ping", pattern="(a+)+$", matcher="pcre"),
    "an unknown matcher": command("ping", pattern="x", matcher="x"),
    "a reply into a queue": command(
        "ping", reply_to={"exchange": "", "routing_key": "downloads.normal"}, ticket="x"
    ),
    "a reply to another exchange": command(
        "ping", reply_to={"exchange": "downloads.normal", "routing_key": "downloads.normal"}
    ),
    "a reply to a string": command("ping", reply_to="x"),
    "another queue": command("add_consumer", {"queue": "other"}),
    "a number as queue": command("add_consumer", {"queue": 17}),
    "an unknown kind of exchange": command(
        "add_consumer", {"queue": "downloads.low", "exchange_type": "x"}
    ),
    "a list as rate": command("rate_limit", {"task_name": "download.run", "rate_limit": [1]}),
    "a word as time limit": command("time_limit", {"task_name": "download.run", "soft": "x"}),
    "a thousand thousand processes": command("pool_grow", {"n": 1_000_000}),
}

GENUINE_COMMANDS: Mapping[str, bytes] = {
    "ping": command("ping"),
    "to one": command("ping", destination=["downloads@here"]),
    "to those of a pattern": command("ping", pattern="downloads-*", matcher="glob"),
    "with a reply": command(
        "active_queues",
        reply_to={"exchange": "reply.celery.pidbox", "routing_key": str(uuid4())},
        ticket=str(uuid4()),
    ),
    "a clock that is none": raw(message({"method": "ping"}, clock="x")),
    "a clock of the far future": raw(message({"method": "ping"}, clock=10**300)),
    "rate limit": command("rate_limit", {"task_name": "download.run", "rate_limit": "10/m"}),
    "time limit": command("time_limit", {"task_name": "download.run", "soft": 10, "hard": None}),
    "cancel consumer": command("cancel_consumer", {"queue": "downloads.low"}),
    "revoke": command("revoke", {"task_id": str(uuid4()), "terminate": False, "signal": "TERM"}),
}

FORGED_REPLIES: Mapping[str, bytes] = {
    "junk": b"junk",
    "a list": raw(message([1], ticket="x")),
    "no ticket": raw(message({"downloads@here": {}})),
    "a list as ticket": raw(message({"downloads@here": {}}, ticket=[])),
    "compressed": raw(message({}, ticket="x", compression="gzip")),
}

FORGED_EVENTS: Mapping[str, bytes] = {
    "junk": b"junk",
    "a number": raw(message(5)),
    "a list of numbers": raw(message([event(), 5])),
    "no type": raw(message(event(type=None))),
    "a type with an escape sequence": raw(message(event(type="\x1b"))),
    "a list as name": raw(message(event(hostname=[]))),
    "a word as time": raw(message(event(timestamp="x"))),
    "the year of never": raw(message(event(timestamp=1e300))),
    "a word as clock": raw(message(event(clock="x"))),
    "a clock of the far future": raw(message(event(clock=10**300))),
    "a word as offset": raw(message(event(utcoffset="x"))),
    "a word as interval": raw(message(event(freq="x"))),
    "a task without id": raw(message(event(type="task-received", uuid=None))),
    "a list as task id": raw(message(event(type="task-received", uuid=[]))),
}
