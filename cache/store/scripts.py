"""The Lua scripts, one a file in `cache/lua`, run by their digest."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

from redis.exceptions import NoScriptError

from cache.store.connection import reply_error
from cache.store.flow import Argument, Batch, Command, Flow
from domain.errors import StoreReplyError


@cache
def source(name: str) -> str:
    """Return the text of `cache/lua/<name>.lua`."""
    return resources.files("cache.lua").joinpath(f"{name}.lua").read_text()


def load_all() -> None:
    """Read every script now: a process that has run out of descriptors could not do so later."""
    for file in resources.files("cache.lua").iterdir():
        if file.name.endswith(".lua"):
            digest(file.name.removesuffix(".lua"))


@cache
def digest(name: str) -> str:
    """Return the digest of one of our scripts."""
    return sha1(source(name))


def sha1(text: str) -> str:
    """Return the SHA-1 by which the server knows a script."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def call(name: str, key: str, *args: Argument) -> Command:
    """Return the command that runs one script on its one key."""
    return ("EVALSHA", digest(name), 1, key, *args)


def call_with_source(name: str, key: str, *args: Argument) -> Command:
    """Return the command that runs one script on its one key, known to the server or not."""
    return ("EVAL", source(name), 1, key, *args)


def run(
    name: str, key: str, *args: Argument, once: bool = False, await_reply: bool = False
) -> Flow[Any]:
    """Run one script and return its reply; a server that has forgotten it is told again.

    Args:
        once: it counts something, and must not be sent again when the answer gets lost.
        await_reply: see `Batch`.
    """
    command = call(name, key, *args)
    (reply,) = yield Batch(command, once=once, errors_as_replies=True, await_reply=await_reply)
    if isinstance(reply, NoScriptError):
        command = call_with_source(name, key, *args)
        (reply,) = yield Batch(command, once=once, await_reply=await_reply)
    return _raise_reply_errors([reply], [command])[0]


def run_pipeline(
    names: Sequence[str],
    commands: Sequence[Command],
    *,
    once: bool = False,
    keep_reply_errors: bool = False,
) -> Flow[list[Any]]:
    """Send commands in one round trip and return the replies in order.

    When the server has forgotten a script (it restarted), the named ones are loaded and the whole
    pipeline is sent again: what goes through here must be safe to repeat in that case. With `once` it is
    never repeated because an answer got lost. With `keep_reply_errors` a command whose key holds
    something else has a StoreReplyError for its reply, so that one such key does not stop the others.
    """
    if not commands:
        return []
    replies = yield Batch(*commands, once=once, errors_as_replies=True)
    if any(isinstance(reply, NoScriptError) for reply in replies):
        yield Batch(*(("SCRIPT", "LOAD", source(name)) for name in names))
        replies = yield Batch(*commands, once=once, errors_as_replies=True)
    return _raise_reply_errors(replies, commands, keep_reply_errors=keep_reply_errors)


def _raise_reply_errors(
    replies: list[Any], commands: Sequence[Command], *, keep_reply_errors: bool = False
) -> list[Any]:
    for place, (reply, command) in enumerate(zip(replies, commands, strict=True)):
        if isinstance(reply, Exception):
            error = reply_error(reply, command)
            if not keep_reply_errors or not isinstance(error, StoreReplyError):
                raise error
            replies[place] = error
    return replies
