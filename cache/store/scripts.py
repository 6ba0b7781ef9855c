"""Runs the Lua scripts of `cache/lua` by their SHA-1 (EVALSHA). Each script works on one key."""

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
    """Read all scripts now: a process that has run out of file descriptors could not read them later."""
    for file in resources.files("cache.lua").iterdir():
        if file.name.endswith(".lua"):
            digest(file.name.removesuffix(".lua"))


@cache
def digest(name: str) -> str:
    """Return the SHA-1 of one script."""
    return sha1(source(name))


def sha1(text: str) -> str:
    """Return the SHA-1 of a script's source, by which the server identifies it."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def call(name: str, key: str, *args: Argument) -> Command:
    """Return the command that runs a script on a key. The server must have the script."""
    return ("EVALSHA", digest(name), 1, key, *args)


def call_with_source(name: str, key: str, *args: Argument) -> Command:
    """Return the command that runs a script on a key and carries the script's source."""
    return ("EVAL", source(name), 1, key, *args)


def run(
    name: str, key: str, *args: Argument, once: bool = False, await_reply: bool = False
) -> Flow[Any]:
    """Run one script and return its reply. If the server lacks the script, send it with its source.

    Args:
        once: see `Batch`.
        await_reply: see `Batch`.
    """
    command = call(name, key, *args)
    (reply,) = yield Batch(command, once=once, errors_as_replies=True, await_reply=await_reply)
    if isinstance(reply, NoScriptError):
        command = call_with_source(name, key, *args)
        (reply,) = yield Batch(command, once=once, await_reply=await_reply)
    return _check([reply], [command])[0]


def run_pipeline(
    names: Sequence[str],
    commands: Sequence[Command],
    *,
    once: bool = False,
    keep_reply_errors: bool = False,
) -> Flow[list[Any]]:
    """Send commands in one round trip and return their replies in order.

    If the server lacks a script (it has restarted), the scripts are loaded and all commands are sent
    again; they must be safe to repeat in that case.

    Args:
        names: the scripts that the commands run.
        once: do not retry after a lost reply.
        keep_reply_errors: return a StoreReplyError as the reply of a command whose key holds something
            else, instead of raising it, so that one such key does not stop the other commands.
    """
    if not commands:
        return []
    replies = yield Batch(*commands, once=once, errors_as_replies=True)
    if any(isinstance(reply, NoScriptError) for reply in replies):
        yield Batch(*(("SCRIPT", "LOAD", source(name)) for name in names))
        replies = yield Batch(*commands, once=once, errors_as_replies=True)
    return _check(replies, commands, keep_reply_errors=keep_reply_errors)


def _check(
    replies: list[Any], commands: Sequence[Command], *, keep_reply_errors: bool = False
) -> list[Any]:
    for index, (reply, command) in enumerate(zip(replies, commands, strict=True)):
        if isinstance(reply, Exception):
            error = reply_error(reply, command)
            if not keep_reply_errors or not isinstance(error, StoreReplyError):
                raise error
            replies[index] = error
    return replies
