"""Malformed messages, as a person or a program could push them into a broker queue."""

from __future__ import annotations

import base64
import bz2
import json
import lzma
import zlib
from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

from backports import zstd

from domain.ids import new_job_id

Message = dict[str, Any]
_Change = Callable[[Message], None]

#: Bytes that a small compressed message claims to become.
BOMB_SIZE = 300_000_000


def genuine(task: str = "download.run", *arguments: object) -> Message:
    """A message as `Broker.publish` writes one, for a job that does not exist."""
    task_id = str(uuid4())
    given = list(arguments) if arguments or task != "download.run" else [new_job_id()]
    queue = "downloads.normal" if task == "download.run" else "maintenance"
    return {
        "body": encoded([given, {}, dict.fromkeys(("callbacks", "errbacks", "chain", "chord"))]),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py",
            "task": task,
            "id": task_id,
            "shadow": None,
            "eta": None,
            "expires": None,
            "group": None,
            "retries": 0,
            "timelimit": [None, None],
            "root_id": task_id,
            "parent_id": None,
            "argsrepr": repr(tuple(given)),
            "kwargsrepr": "{}",
            "origin": "gen1@here",
            "ignore_result": True,
            "sent_at": "2026-03-01T12:00:00+00:00",
        },
        "properties": {
            "correlation_id": task_id,
            "reply_to": str(uuid4()),
            "delivery_mode": 2,
            "delivery_info": {"exchange": queue, "routing_key": queue},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid4()),
        },
    }


def encoded(body: object) -> str:
    """A body as messages carry it."""
    return base64.b64encode(json.dumps(body).encode()).decode()


def raw(message: object) -> bytes:
    """A message as it lies in a queue."""
    return json.dumps(message).encode()


def changed(*path: str, to: object) -> bytes:
    """A genuine message with one field changed, named by the way to it."""
    message = genuine()
    place = message
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = to
    return raw(message)


def without(*path: str) -> bytes:
    """A genuine message without one field."""
    message = genuine()
    place = message
    for name in path[:-1]:
        place = place[name]
    del place[path[-1]]
    return raw(message)


def with_arguments(*arguments: object, **named: object) -> bytes:
    """A genuine message of the download task with other arguments."""
    return changed("body", to=encoded([list(arguments), named, {}]))


def with_signatures(**signatures: object) -> bytes:
    """A genuine message that asks Celery to send other tasks."""
    return changed("body", to=encoded([[new_job_id()], {}, signatures]))


def bomb(compression: str, compress: Callable[[bytes], bytes]) -> bytes:
    """A message whose body becomes `BOMB_SIZE` bytes of JSON."""
    message = genuine()
    message["headers"]["compression"] = compression
    body = compress(b'["' + b"a" * BOMB_SIZE + b'"]')
    message["body"] = base64.b64encode(body).decode()
    return raw(message)


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


_TWO = (new_job_id(), new_job_id())
_SIGNATURE = {"task": "download.run", "args": ["x"], "kwargs": {}, "options": {}}

#: What may lie in a download queue and is no message of ours, by what is wrong with it.
MALFORMED: Mapping[str, bytes] = {
    # Not a message at all.
    "not JSON": b"junk",
    "empty": b"",
    "null": b"null",
    "a number": b"17",
    "a list": b"[]",
    "a string": b'"x"',
    "true": b"true",
    "an empty object": b"{}",
    "not UTF-8": b"\xff\xfe\x00{",
    "NUL bytes": b"\x00" * 100,
    "half of a message": raw(genuine())[:300],
    "two messages": raw(genuine()) * 2,
    "pickle": b"\x80\x04\x95\x0f\x00\x00\x00\x00\x00\x00\x00\x8c\x04posix\x94.",
    "nested deeply": nested(8_000).encode(),
    "a huge number": b'{"headers": ' + b"9" * 10_000 + b"}",
    "not a number": changed("properties", "priority", to=float("nan")),
    "infinite": changed("headers", "retries", to=float("inf")),
    "a signalling NaN as retries": changed(
        "headers", "retries", to={"__type__": "decimal", "__value__": "sNaN"}
    ),
    "a typed value as task": changed(
        "headers", "task", to={"__type__": "decimal", "__value__": "sNaN"}
    ),
    "larger than any of ours": changed("headers", "argsrepr", to="x" * 20_000),
    "an escape sequence": b"\x1b]0;owned\x07\x1b[2J",
    "a line that looks like the log's": b"x\n2026-01-01 00:00:00,000 INFO worker: all is well",
    # Outer fields.
    "no body": without("body"),
    "a null body": changed("body", to=None),
    "a number as body": changed("body", to=5),
    "an object as body": changed("body", to={}),
    "a body that is not base64": changed("body", to="%%%"),
    "a body that is no list": changed("body", to="e30="),
    "a body that is not JSON": changed("body", to=base64.b64encode(b"{").decode()),
    "a body that is not UTF-8": changed("body", to=base64.b64encode(b"\xff").decode()),
    "a body nested deeply": changed("body", to=base64.b64encode(nested(5_000).encode()).decode()),
    "a body with NaN": changed("body", to=base64.b64encode(b"[[NaN],{},{}]").decode()),
    "a typed value of no type": changed(
        "body", to=encoded([[{"__type__": "x", "__value__": 1}], {}, {}])
    ),
    "a typed value that cannot be": changed(
        "body", to=encoded([[{"__type__": "decimal", "__value__": "x"}], {}, {}])
    ),
    "no properties": without("properties"),
    "null properties": changed("properties", to=None),
    "a list of properties": changed("properties", to=[]),
    "another body encoding": changed("properties", "body_encoding", to="rot13"),
    "a list as body encoding": changed("properties", "body_encoding", to=[]),
    "no body encoding": without("properties", "body_encoding"),
    "no headers": without("headers"),
    "null headers": changed("headers", to=None),
    "a list of headers": changed("headers", to=[]),
    "pickle as content": changed("content-type", to="application/x-python-serialize"),
    "yaml as content": changed("content-type", to="application/x-yaml"),
    "no content type": without("content-type"),
    "a number as content type": changed("content-type", to=3),
    "another character set": changed("content-encoding", to="utf-7"),
    "binary": changed("content-encoding", to="binary"),
    # Compression. Further ones, that become large, are in `BOMBS`.
    "zstd": changed("headers", "compression", to="zstd"),
    "brotli": changed("headers", "compression", to="brotli"),
    "unknown compression": changed("headers", "compression", to="x"),
    "a list as compression": changed("headers", "compression", to=[]),
    # The task.
    "no task": without("headers", "task"),
    "a null task": changed("headers", "task", to=None),
    "a list as task": changed("headers", "task", to=[]),
    "an unknown task": changed("headers", "task", to="os.system"),
    "a task of Celery's": changed("headers", "task", to="celery.starmap"),
    "a task of another queue": changed("headers", "task", to="download.reconcile"),
    "no id": without("headers", "id"),
    "a number as id": changed("headers", "id", to=7),
    "an id with an escape sequence": changed("headers", "id", to="\x1b[31m"),
    "protocol 1": raw({**genuine(), "headers": {}, "body": encoded({"task": "download.run"})}),
    # Its arguments.
    "no arguments": with_arguments(),
    "65 jobs": with_arguments(*(new_job_id() for _ in range(65))),
    "a job twice": with_arguments(*_TWO, _TWO[0]),
    "a job twice in 64": with_arguments(*(new_job_id() for _ in range(62)), *_TWO[:1] * 2),
    "a second argument that is no id": with_arguments(new_job_id(), "x"),
    "a number behind an id": with_arguments(new_job_id(), 1),
    "null behind an id": with_arguments(new_job_id(), None),
    "a list of ids": with_arguments(list(_TWO)),
    "the last of 64 in upper case": with_arguments(
        *(new_job_id() for _ in range(63)), new_job_id().upper()
    ),
    "several by name": with_arguments(job_ids=list(_TWO)),
    "many ids": with_arguments(*(new_job_id() for _ in range(1000))),
    "an argument by name": with_arguments(job_id=new_job_id()),
    "one argument too many by name": with_arguments(new_job_id(), x=1),
    "a number as job id": with_arguments(7),
    "null as job id": with_arguments(None),
    "a list as job id": with_arguments([new_job_id()]),
    "no job id": with_arguments("../../etc/passwd"),
    "a job id without dashes": with_arguments(new_job_id().replace("-", "")),
    "a job id as URN": with_arguments(f"urn:uuid:{new_job_id()}"),
    "a job id with a line break": with_arguments(f"{new_job_id()}\n"),
    "a job id with other digits": with_arguments(f"{new_job_id()[:-1]}\u0663"),
    "an empty job id": with_arguments(""),
    "a job id in upper case": with_arguments(new_job_id().upper()),
    "a job id with a surrogate": with_arguments("\ud800"),
    "arguments that are no list": changed("body", to=encoded([new_job_id(), {}, {}])),
    "a body of two parts": changed("body", to=encoded([[new_job_id()], {}])),
    "signatures that are no object": changed("body", to=encoded([[new_job_id()], {}, []])),
    "a time without zone": changed("headers", "sent_at", to="2026-03-01T12:00:00"),
    "a time that is none": changed("headers", "sent_at", to="yesterday"),
    "a time that is a number": changed("headers", "sent_at", to=1e308),
    "a time before all times": changed("headers", "sent_at", to="0001-01-01T00:00:00+14:00"),
    # What makes Celery do more than to run it.
    "eta": changed("headers", "eta", to="2999-01-01T00:00:00+00:00"),
    "an eta that is none": changed("headers", "eta", to={}),
    "expires": changed("headers", "expires", to="2999-01-01T00:00:00+00:00"),
    "an expiry that is none": changed("headers", "expires", to=[]),
    "retries": changed("headers", "retries", to=3),
    "a list as retries": changed("headers", "retries", to=[]),
    "a time limit": changed("headers", "timelimit", to=[1, 1]),
    "a time limit that is none": changed("headers", "timelimit", to="x"),
    "a group": changed("headers", "group", to=str(uuid4())),
    "callbacks": with_signatures(callbacks=[_SIGNATURE]),
    "errbacks": with_signatures(errbacks=[_SIGNATURE]),
    "a chain": with_signatures(chain=[_SIGNATURE]),
    "a chord": with_signatures(chord=_SIGNATURE),
}

#: Messages that become `BOMB_SIZE` bytes when they are unpacked. Making one takes a second or two.
BOMBS: Mapping[str, Callable[[], bytes]] = {
    "gzip": lambda: bomb("gzip", zlib.compress),
    "zlib": lambda: bomb("zlib", zlib.compress),
    "bzip2": lambda: bomb("bzip2", bz2.compress),
    "lzma": lambda: bomb("lzma", lambda body: lzma.compress(body, preset=0)),
    "zstd": lambda: bomb("zstd", zstd.compress),
}

#: Fields of a valid message that Celery would act on, and that are left out instead.
LEFT_OUT: Mapping[str, bytes] = {
    "a reply to a queue": changed("properties", "reply_to", to="downloads.low"),
    "a list as root": changed("headers", "root_id", to=[]),
    "an object as parent": changed("headers", "parent_id", to={}),
    "an unhashable delivery tag": changed("properties", "delivery_tag", to={}),
    "no delivery tag": without("properties", "delivery_tag"),
    "delivery to nowhere": changed("properties", "delivery_info", to=None),
    "a delivery that is a list": changed("properties", "delivery_info", to=[]),
    "a number as priority": changed("properties", "priority", to="high"),
    "a result is wanted": changed("headers", "ignore_result", to=False),
    "stamps": changed("headers", "stamped_headers", to={"x": 1}),
    "arguments shown otherwise": changed("headers", "argsrepr", to="\x1b[31m"),
    "a nested replacement": changed("headers", "replaced_task_nesting", to="x"),
    "a shadow": changed("headers", "shadow", to=[1]),
    "another language": changed("headers", "lang", to={}),
}
