"""Genuine messages, damaged at random: bytes changed, values exchanged, parts left out."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterator
from typing import Any

from tests.support.inputs.malformed_messages import genuine, raw

#: Values that decoders and Celery have stumbled over.
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, 10**30, 10**400, float("nan"), float("inf")),
    *("", "x", "\x00", "\x1b[31m", "\ud800", "\u202e", "x" * 9_000, "1", "null", "e30="),
    *([], {}, [[]], [None], {"": 0}, {"__type__": "uuid", "__value__": 1}, ["a", {"b": []}]),
    *("gzip", "application/x-python-serialize", "pickle", "yaml", "utf-16", "rot13", "bzip2"),
    *("download.run", "celery.chord", "maintenance", "downloads.high", "2999-01-01T00:00:00Z"),
)


def mutated(seed: int, count: int) -> Iterator[bytes]:
    """Return `count` damaged messages; a seed always means the same damage."""
    chance = random.Random(seed)
    for _ in range(count):
        yield chance.choice((_damaged_bytes, _damaged_fields, _damaged_body))(chance)


def _damaged_bytes(chance: random.Random) -> bytes:
    message = bytearray(raw(genuine()))
    for _ in range(chance.randint(1, 8)):
        place = chance.randrange(len(message))
        match chance.randrange(4):
            case 0:
                message[place] = chance.randrange(256)
            case 1:
                del message[place : place + chance.randint(1, 40)]
            case 2:
                message[place:place] = chance.randbytes(chance.randint(1, 40))
            case _:
                message[place:place] = message[: chance.randint(1, 200)]
    return bytes(message)


def _damaged_fields(chance: random.Random) -> bytes:
    message = genuine()
    for _ in range(chance.randint(1, 3)):
        _damage(message, chance)
    return raw(message)


def _damaged_body(chance: random.Random) -> bytes:
    message = genuine()
    body = json.loads(base64.b64decode(message["body"]))
    _damage(body, chance)
    message["body"] = base64.b64encode(json.dumps(body).encode()).decode()
    return raw(message)


def _damage(tree: Any, chance: random.Random) -> None:
    """Exchange, remove or add one value somewhere in a tree of objects and lists."""
    place = chance.choice(list(_containers(tree)))
    keys = list(place) if isinstance(place, dict) else list(range(len(place)))
    if not keys:
        return
    key = chance.choice(keys)
    if chance.random() < 0.3:
        del place[key]
    else:
        place[key] = chance.choice(_VALUES)


def _containers(tree: Any) -> Iterator[Any]:
    if isinstance(tree, dict | list):
        yield tree
        for value in tree.values() if isinstance(tree, dict) else tree:
            yield from _containers(value)
