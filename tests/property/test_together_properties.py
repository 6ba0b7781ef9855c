"""Flows that run together do what they do one after the other, as long as their keys differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache import CacheManager
from cache.store import scripts
from cache.store.flow import Batch, Call, Command, Flow, gather
from domain.errors import SeenError
from tests.support.build import cache_manager
from tests.support.stores.server import StoreServer

_runs = count()


class _Step(NamedTuple):
    """One step of a flow: commands in one batch, a script alone, or a call of a function."""

    kind: str
    words: tuple[str, ...]
    atomic: bool
    errors_as_replies: bool


commands = st.sampled_from(
    ["incr", "push", "range", "get", "set", "wrong type", "unknown", "delete", "script"]
)
steps = st.builds(
    _Step,
    kind=st.sampled_from(["batch", "batch", "batch", "script", "call"]),
    words=st.lists(commands, max_size=4).map(tuple),
    atomic=st.booleans(),
    errors_as_replies=st.booleans(),
)
plans = st.lists(steps, max_size=4)


@pytest.fixture
def manager(store: StoreServer) -> Iterator[CacheManager]:
    with cache_manager(store) as manager:
        yield manager


def _command(word: str, key: str) -> Command:
    return {
        "incr": ("INCR", f"{key}:n"),
        "push": ("RPUSH", f"{key}:list", "x"),
        "range": ("LRANGE", f"{key}:list", 0, -1),
        "get": ("GET", f"{key}:n"),
        "set": ("SET", f"{key}:n", 5),
        "wrong type": ("INCR", f"{key}:list"),
        "unknown": ("NOSUCHCOMMAND", key),
        "delete": ("DEL", f"{key}:n", f"{key}:list"),
        "script": ("EVAL", "return redis.call('APPEND', KEYS[1], 'ab')", 1, f"{key}:text"),
    }[word]


def _flow(plan: Sequence[_Step], key: str) -> Flow[list[Any]]:
    seen: list[Any] = []
    for step in plan:
        if step.kind == "call":
            seen.append((yield Call(lambda: len(seen))))
        elif step.kind == "script":
            seen.append((yield from scripts.run("rate_add", f"{key}:rate", 3, 6)))
        elif step.words:
            batch = Batch(
                *(_command(word, key) for word in step.words),
                atomic=step.atomic,
                errors_as_replies=step.errors_as_replies,
            )
            try:
                seen.append((yield batch))
            except SeenError as error:
                seen.append(type(error))
                if step.atomic:
                    raise
    return seen


def _plain(result: Any, key: str) -> Any:
    """Return a result without what differs between two runs: the identity of errors, and keys."""
    if isinstance(result, Exception):
        return type(result), str(result).replace(key, "")
    return [_plain(one, key) for one in result] if isinstance(result, list) else result


def _alone(manager: CacheManager, flow: Flow[Any]) -> Any:
    try:
        return manager.store.run(flow)
    except SeenError as error:
        return error


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(work=st.lists(plans, max_size=6), nested=st.booleans())
def test_together_is_one_by_one(
    manager: CacheManager, work: list[list[_Step]], nested: bool
) -> None:
    run = next(_runs)
    keys = [f"seen:{run}:{number}" for number in range(len(work))]
    apart = [
        _plain(_alone(manager, _flow(plan, f"{key}:a")), f"{key}:a")
        for plan, key in zip(work, keys, strict=True)
    ]
    flows: list[Flow[Any]] = [_flow(plan, f"{key}:b") for plan, key in zip(work, keys, strict=True)]
    if nested:
        flows = [gather(flow) for flow in flows]
    together = [
        _plain(one[0] if nested and isinstance(one, list) else one, f"{key}:b")
        for one, key in zip(manager.store.run_together(flows), keys, strict=True)
    ]
    assert together == apart
