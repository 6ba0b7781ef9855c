"""The Lua scripts, one a file in `cache/lua`, run by their digest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from importlib import resources
from typing import Any

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import NoScriptError

Argument = str | int | float | bytes


@cache
def source(name: str) -> str:
    """Return the text of `cache/lua/<name>.lua`."""
    return resources.files("cache.lua").joinpath(f"{name}.lua").read_text()


@cache
def digest(name: str) -> str:
    """Return the digest of one of our scripts."""
    return sha1(source(name))


def sha1(text: str) -> str:
    """Return the SHA-1 by which the server knows a script."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def run(client: Redis, name: str, keys: Sequence[str], args: Sequence[Argument] = ()) -> Any:
    """Run one script; a server that has forgotten it is told again."""
    try:
        return client.evalsha(digest(name), len(keys), *keys, *args)
    except NoScriptError:
        return client.eval(source(name), len(keys), *keys, *args)


def add(pipe: Pipeline, name: str, keys: Sequence[str], args: Sequence[Argument] = ()) -> None:
    """Put one script call into a pipeline; execute it with `pipelined`."""
    pipe.evalsha(digest(name), len(keys), *keys, *args)


def pipelined(client: Redis, names: Sequence[str], fill: Callable[[Pipeline], None]) -> list[Any]:
    """Send what `fill` puts into a pipeline in one round trip and return the replies in order.

    When the server has forgotten a script (it restarted), the named ones are loaded and the whole
    pipeline is sent again: what goes through here must be safe to repeat.
    """
    replies = _send(client, fill)
    if any(isinstance(reply, NoScriptError) for reply in replies):
        for name in names:
            client.script_load(source(name))
        replies = _send(client, fill)
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies


def _send(client: Redis, fill: Callable[[Pipeline], None]) -> list[Any]:
    with client.pipeline(transaction=False) as pipe:
        fill(pipe)
        replies: list[Any] = pipe.execute(raise_on_error=False)
        return replies
