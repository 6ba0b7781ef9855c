"""Reads what changes once for all watchers of a process, and passes it on by topic."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

from api.answers import mask
from api.events.topic import Frame, Topic
from database.watching.event_log import EventLog
from domain.errors import DatabaseUnavailableError, RateLimitedError
from domain.job import RUNNING
from tasks.api.changes import ChangeFeed, Changes
from tasks.api.job_json import JobDict, job_as_json
from tasks.api.job_view import JobView
from worker.metrics.catalog import RATE_LIMITED, WATCHERS
from worker.metrics.instruments import Instruments
from worker.runtime import Runtime

logger = logging.getLogger(__name__)

#: Streams that one process serves at once, and those of one user. A browser opens a few.
MOST, MOST_OF_ONE = 1_500, 100
#: Seconds between two looks: a watcher gets at most four changes of a job a second.
INTERVAL = 0.25
#: After an error of the database, the next look is so many seconds later.
_RETRY_AFTER = 2.0
#: A topic without watchers is kept so long for those that connect again. Seconds.
KEEP = 60.0


#: Is called with jobs that have changed, or may have.
Listener = Callable[[Sequence[JobView]], None]


class TopicName(NamedTuple):
    """What some watchers share.

    Attributes:
        kind: all jobs, those of a user, or one job.
        id: of the user or the job.
        masked: secrets in URLs are hidden.
    """

    kind: Literal["all", "user", "job"] = "all"
    id: str = ""
    masked: bool = False


class EventHub:
    """One for a process. Belongs to the thread of an event loop; `run` runs as long as the process.

    Args:
        feed: finds the changes.
        most: watchers at once.
        most_of_one: watchers of one owner at once.
        instruments: of the process.

    Attributes:
        is_closed: all streams end.
    """

    def __init__(
        self,
        feed: ChangeFeed,
        *,
        most: int,
        most_of_one: int,
        instruments: Instruments | None = None,
    ) -> None:
        self._feed = feed
        self.instruments = instruments or Instruments()
        self.instruments.set_gauge(WATCHERS, read=lambda: self.watchers)
        self.is_closed = False
        self._most, self._most_of_one = most, most_of_one
        #: Positions of another process, or of this one before a restart, mean nothing here.
        self._epoch = secrets.token_hex(4)
        self._position = 0
        self._topics: dict[TopicName, Topic] = {}
        self._listeners: list[Listener] = []
        self._watchers: Counter[str] = Counter()
        self._has_topics, self._has_started = asyncio.Event(), asyncio.Event()
        self._sent: dict[str, JobDict] = {}
        self._store_failed = self._database_failed = False

    # ── watchers ────────────────────────────────────────────────────────────────────────────────

    @property
    def watchers(self) -> int:
        """How many there are."""
        return self._watchers.total()

    @property
    def topics(self) -> int:
        """How many topics are kept."""
        return len(self._topics)

    @property
    def position(self) -> int:
        """The position of the newest change."""
        return self._position

    @contextmanager
    def watching(self, name: TopicName, owner: str) -> Iterator[Topic]:
        """Count a watcher of a topic, if there is room for it.

        Raises:
            RateLimitedError: as many streams are open as may be, of this owner or of all.
        """
        if self.watchers >= self._most or self._watchers[owner] >= self._most_of_one:
            self.instruments.count(RATE_LIMITED, "streams")
            raise RateLimitedError("Too many event streams are open.", retry_after=_RETRY_AFTER)
        topic = self._topics.get(name)
        if topic is None:
            topic = self._topics[name] = Topic(self._position)
            self._has_topics.set()
        topic.watchers += 1
        topic.left_at = None
        self._watchers[owner] += 1
        try:
            yield topic
        finally:
            topic.watchers -= 1
            self._watchers -= Counter([owner])
            if not topic.watchers:
                topic.left_at = time.monotonic()

    def listen(self, listener: Listener) -> None:
        """Call a function with the jobs that have changed, at each look that finds some."""
        self._listeners.append(listener)
        self._has_topics.set()

    def unlisten(self, listener: Listener) -> None:
        """Call it no longer."""
        self._listeners.remove(listener)

    def close(self) -> None:
        """End all streams: the process stops."""
        self.is_closed = True
        for topic in self._topics.values():
            topic.wake()

    async def wait_until_started(self, seconds: float) -> bool:
        """Wait until changes are looked for; return False if that takes longer than so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                return await self._has_started.wait()
        except TimeoutError:
            return False

    def event_id(self, position: int) -> str:
        """Return a position as a watcher gets it."""
        return f"{self._epoch}-{position}"

    def position_of(self, event_id: str | None) -> int | None:
        """Return the position that a watcher sends back; None if it is not of this hub."""
        epoch, _, number = (event_id or "").partition("-")
        if epoch != self._epoch or not number.isascii() or not number.isdigit():
            return None
        position = int(number[:18])
        return position if position <= self._position else None

    # ── changes ─────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Look for changes as long as there is a topic. Ends by cancellation only."""
        while True:
            if not self._topics and not self._listeners:
                await self._wait_for_topics()
            await self._look()
            await asyncio.sleep(INTERVAL)
            self._forget_topics(time.monotonic() - KEEP)

    async def _wait_for_topics(self) -> None:
        self._has_topics.clear()
        self._has_started.clear()
        self._sent.clear()
        self._position += 1  # what changes from now on is missed by who has the position before
        await self._has_topics.wait()

    async def _look(self) -> None:
        """Pass on what has changed. A watcher misses nothing: what cannot be read now is read later."""
        try:
            if not self._has_started.is_set():
                await asyncio.to_thread(self._feed.start)
                self._has_started.set()
            changes = await asyncio.to_thread(self._feed.poll)
        except DatabaseUnavailableError as error:
            if not self._database_failed:
                logger.warning("Events wait for the database: %s", error)
            self._database_failed = True
            await asyncio.sleep(_RETRY_AFTER)
            return
        self._database_failed = False
        store_failed = self._feed.store_error is not None
        if not changes.is_complete or (self._store_failed and not store_failed):
            self._reset()
        self._store_failed = store_failed
        self._pass_on(changes)

    def _reset(self) -> None:
        self._position += 1
        self._sent.clear()
        for topic in self._topics.values():
            topic.reset(self._position)

    def _pass_on(self, changes: Changes) -> None:
        if not (changes.views or changes.removed):
            return
        for listener in self._listeners:
            listener(changes.views)
        self._position += 1
        of_topic: dict[TopicName, list[Mapping[str, Any]]] = {}
        for view in changes.views:
            patch = self._patch(view)
            for name in self._topics_of(view.job.id, view.job.user_id):
                shown = mask(patch, view.job) if name.masked else patch
                of_topic.setdefault(name, []).append(shown)
        for name in of_topic:
            self._append(name, {"downloads": of_topic[name], "removed": []})
        for job_id in changes.removed:
            known = self._sent.pop(job_id, None)
            for name in self._topics_of(job_id, known and known["user_id"]):
                self._append(name, {"downloads": [], "removed": [job_id]})

    def _topics_of(self, job_id: str, user_id: str | None) -> Iterator[TopicName]:
        """Yield the topics of a job that some watch."""
        for masked in (False, True):
            names = [TopicName("all", "", masked), TopicName("job", job_id, masked)]
            if user_id is not None:
                names.append(TopicName("user", user_id, masked))
            yield from (name for name in names if name in self._topics)

    def _append(self, name: TopicName, data: Mapping[str, Any]) -> None:
        frame = encode("changed", data, self.event_id(self._position))
        self._topics[name].append(Frame(self._position, frame))

    def _patch(self, view: JobView) -> Mapping[str, Any]:
        """Return what differs from what was sent of a running job; all of others.

        Who has read a job meanwhile may know more than was sent: what stays must be right.
        """
        job_id, whole = view.job.id, job_as_json(view)
        before = self._sent.pop(job_id, None)
        if view.status in RUNNING:
            self._sent[job_id] = whole
        if before is None or view.status not in RUNNING:
            return whole
        known: Mapping[str, Any] = before
        return {"id": job_id} | {k: v for k, v in whole.items() if known[k] != v}

    def _forget_topics(self, before: float) -> None:
        kept = self._topics.items()
        self._topics = {
            name: topic for name, topic in kept if topic.left_at is None or topic.left_at >= before
        }


def encode(kind: str, data: Mapping[str, Any], event_id: str) -> bytes:
    """Return an event as `text/event-stream` has it."""
    # JSON without line breaks: one `data` line.
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    return f"id: {event_id}\nevent: {kind}\ndata: {text}\n\n".encode()


def hub_of(runtime: Runtime) -> EventHub:
    """Return a hub for a process with this runtime."""
    feed = ChangeFeed(runtime.jobs, EventLog(runtime.database), runtime.cache.download)
    return EventHub(feed, most=MOST, most_of_one=MOST_OF_ONE, instruments=runtime.instruments)
