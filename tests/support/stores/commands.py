"""Counts the commands that a server has received."""

from __future__ import annotations

import redis

Counts = dict[str, int]


def commands(client: redis.Redis) -> Counts:
    """How often the server has run each command, scripts' own ones included."""
    found = client.info("commandstats")
    return {name.removeprefix("cmdstat_").lower(): row["calls"] for name, row in found.items()}


def commands_since(client: redis.Redis, before: Counts) -> Counts:
    """How often it has run each one since then; those it has not run are left out."""
    now = commands(client)
    more = {name: calls - before.get(name, 0) for name, calls in now.items()}
    return {name: calls for name, calls in more.items() if calls and name != "info"}
