"""What one watcher gets: a snapshot, then every change, until it leaves or falls behind."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any

from api.events.hub import EventHub, encode
from api.events.topic import Frame, Topic
from worker.metrics.catalog import WATCHERS_DROPPED

#: Without a change, a comment is sent so often: proxies close silent connections. Seconds.
HEARTBEAT = 15.0
#: Whether the watcher still may see the jobs is asked so often. Seconds.
_CHECK_INTERVAL = 30.0

_COMMENT = b": still connected\n\n"

Snapshot = Callable[[], Awaitable[Mapping[str, Any]]]


async def watch(
    hub: EventHub,
    topic: Topic,
    *,
    snapshot: Snapshot,
    is_allowed: Callable[[], Awaitable[bool]],
    last_event_id: str | None = None,
    limit: int = 0,
) -> AsyncGenerator[bytes, None]:
    """Yield the events of a topic.

    A watcher that connects again gets what it missed, or a snapshot if that is no longer kept. One that
    reads too slowly is ended; it connects again and gets a snapshot.

    Args:
        hub: of the process.
        topic: of the hub; the watcher is counted there (`EventHub.watching`).
        snapshot: reads the jobs as they are.
        is_allowed: whether the watcher is still signed in.
        last_event_id: what the watcher got last, as it says.
        limit: how many jobs the snapshot has at most; all watchers with the same one may share it.
    """
    checked_at = time.monotonic()
    read = partial(_read, hub, snapshot)
    read_shared = partial(topic.snapshots[limit].get, read)
    async with aclosing(_events(hub, topic, read_shared, last_event_id)) as events:
        async for event in events:
            yield event
            if time.monotonic() - checked_at >= _CHECK_INTERVAL:
                checked_at = time.monotonic()
                if not await is_allowed():
                    return


async def _read(hub: EventHub, snapshot: Snapshot) -> Frame:
    # Before the jobs are read: what changes meanwhile is sent afterwards, too.
    position = hub.position
    return Frame(position, encode("snapshot", await snapshot(), hub.event_id(position)))


async def _events(
    hub: EventHub, topic: Topic, read: Callable[[], Awaitable[Frame]], last_event_id: str | None
) -> AsyncGenerator[bytes, None]:
    """Yield events and comments until the watcher has fallen behind, or the hub is closed."""
    while not await hub.wait_until_started(HEARTBEAT) and not hub.is_closed:
        yield _COMMENT
    position = hub.position_of(last_event_id)
    if position is not None and not topic.is_kept(position):
        position = None
    while not hub.is_closed:
        if position is None or topic.was_reset_after(position):
            position, event = await read()
            yield event
            continue
        try:
            frames = topic.after(position)
        except LookupError:  # it reads too slowly
            hub.instruments.count(WATCHERS_DROPPED)
            return
        if frames:
            position = frames[-1].position
            yield b"".join(frame.data for frame in frames)
        elif not await topic.wait(HEARTBEAT):
            yield _COMMENT
