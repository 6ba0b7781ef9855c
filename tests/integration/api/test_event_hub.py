"""Live changes: one reader for all watchers, a snapshot and then changes for each."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any

import pytest

import tasks
from api.events import hub as hub_module
from api.events import stream, topic
from api.events.hub import EventHub, TopicName
from api.events.shared_read import SharedRead
from api.events.topic import Topic
from database.watching.event_log import EventLog
from domain.errors import DatabaseUnavailableError, RateLimitedError
from tasks.api.changes import ChangeFeed
from tests.support.origins.origin import Origin
from tests.support.services.running import running
from tests.support.services.system import System
from worker.metrics.catalog import WATCHERS_DROPPED
from worker.metrics.instruments import encode

ALL = TopicName()
URL = "http://127.0.0.1:9"


class Watcher:
    """Reads a stream as a browser does."""

    def __init__(self, events: AsyncIterator[bytes]) -> None:
        self._events = events
        self._buffer = b""
        self.last_id: str | None = None
        self.comments = 0

    async def next(self) -> tuple[str, dict[str, Any]]:
        """Return the kind and the data of the next event; raise StopAsyncIteration at the end."""
        while True:
            while b"\n\n" not in self._buffer:
                self._buffer += await asyncio.wait_for(anext(self._events), 20)
            block, _, self._buffer = self._buffer.partition(b"\n\n")
            if block.startswith(b":"):
                self.comments += 1
                continue
            fields = dict(line.split(": ", 1) for line in block.decode().split("\n"))
            self.last_id = fields["id"]
            return fields["event"], json.loads(fields["data"])

    async def kinds_until_the_end(self) -> list[str]:
        """Return the kinds of the events that still come before the stream ends."""
        kinds: list[str] = []
        while True:
            try:
                kinds.append((await self.next())[0])
            except StopAsyncIteration:
                return kinds

    async def jobs_until(self, done: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Apply events to what is known of each job until that is as wanted; return it."""
        known: dict[str, Any] = {}
        while not done(known):
            kind, data = await self.next()
            if kind == "snapshot":
                known = {}
            for job in data["downloads"]:
                known.setdefault(job["id"], {}).update(job)
            for job_id in data.get("removed", []):
                known.pop(job_id, None)
        return known


class Rig:
    """A hub on a real system, with watchers of it."""

    def __init__(self, system: System, feed: ChangeFeed, hub: EventHub) -> None:
        self.system, self.feed, self.hub = system, feed, hub
        self.allowed = True
        self.snapshots = 0

    async def watch(
        self, name: TopicName = ALL, owner: str = "ada", last_id: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        with self.hub.watching(name, owner) as topic:
            async with aclosing(self._events(topic, last_id)) as events:
                async for event in events:
                    yield event

    def _events(self, topic: Topic, last_id: str | None) -> AsyncGenerator[bytes, None]:
        async def snapshot() -> Mapping[str, Any]:
            self.snapshots += 1
            views = await asyncio.to_thread(tasks.list_jobs, runtime=self.system.runtime)
            return {"downloads": [tasks.job_as_json(view) for view in views]}

        async def is_allowed() -> bool:
            return self.allowed

        return stream.watch(
            self.hub,
            topic,
            snapshot=snapshot,
            is_allowed=is_allowed,
            last_event_id=last_id,
        )

    async def submit(self, name: str, **options: Any) -> str:
        job = await asyncio.to_thread(self.system.submit, f"{URL}/{name}", **options)
        return job.id


def scenario(system: System, play: Callable[[Rig], Awaitable[None]]) -> None:
    runtime = system.runtime

    async def run() -> None:
        feed = ChangeFeed(runtime.jobs, EventLog(runtime.database), runtime.cache.download)
        hub = EventHub(feed, most=4, most_of_one=3)
        reading = asyncio.create_task(hub.run())
        try:
            async with asyncio.timeout(60):
                await play(Rig(system, feed, hub))
        finally:
            reading.cancel()

    asyncio.run(run())


def test_snapshot_comes_first_and_changes_follow(any_system: System) -> None:
    async def play(rig: Rig) -> None:
        old = await rig.submit("old")
        async with aclosing(rig.watch()) as events:
            watcher = Watcher(events)
            kind, data = await watcher.next()
            assert (kind, [job["id"] for job in data["downloads"]]) == ("snapshot", [old])
            new = await rig.submit("new")
            known = await watcher.jobs_until(lambda known: new in known)
            assert known[new]["url"] == f"{URL}/new"
            await asyncio.to_thread(tasks.pause, new, runtime=rig.system.runtime)
            await watcher.jobs_until(lambda known: known.get(new, {}).get("status") == "paused")

    scenario(any_system, play)


def test_changes_of_a_running_job_are_what_differs(system: System, origin: Origin) -> None:
    job = system.submit(origin.serve("/a.bin", size=900_000, bytes_per_second=300_000).url)

    async def play(rig: Rig) -> None:
        async with aclosing(rig.watch(TopicName("job", job.id))) as events:
            watcher = Watcher(events)
            with running(system, job):
                patches = []
                while True:
                    kind, data = await watcher.next()
                    if kind == "changed":
                        patches += data["downloads"]
                        if patches[-1].get("status") == "completed":
                            break
            known: dict[str, Any] = {}
            for patch in patches:
                known |= patch
            assert known == tasks.job_as_json(tasks.show(job.id, runtime=system.runtime))
            assert any("url" not in patch and "bytes_downloaded" in patch for patch in patches)

    scenario(system, play)


def test_owner_sees_only_own_jobs(system: System) -> None:
    async def play(rig: Rig) -> None:
        async with aclosing(rig.watch(TopicName("user", "ada"))) as events:
            watcher = Watcher(events)
            await watcher.next()
            foreign = await rig.submit("foreign", user_id="bob")
            mine = await rig.submit("mine", user_id="ada")
            seen = []
            while mine not in seen:
                kind, data = await watcher.next()
                seen += [job["id"] for job in data["downloads"] if kind == "changed"]
            assert foreign not in seen

    scenario(system, play)


def test_watcher_that_connects_again_gets_what_it_missed(system: System) -> None:
    async def play(rig: Rig) -> None:
        async with aclosing(rig.watch()) as other:
            first = await rig.submit("first")
            async with aclosing(rig.watch()) as events:
                watcher = Watcher(events)
                await watcher.jobs_until(lambda known: first in known)
            missed = await rig.submit("missed")
            await Watcher(other).jobs_until(lambda known: missed in known)
            read = rig.snapshots
            async with aclosing(rig.watch(last_id=watcher.last_id)) as events:
                known = await Watcher(events).jobs_until(lambda known: missed in known)
                assert missed in known
                assert rig.snapshots == read

    scenario(system, play)


@pytest.mark.parametrize(
    "last_id", ["", "x", "1-1", "-", "%s-", "%s-999999", "%s-²", "%s--1", "%s-" + "9" * 5000]
)
def test_id_that_means_nothing_here_leads_to_a_snapshot(system: System, last_id: str) -> None:
    async def play(rig: Rig) -> None:
        epoch = rig.hub.event_id(0).partition("-")[0]
        async with aclosing(rig.watch(last_id=last_id.replace("%s", epoch))) as events:
            assert (await Watcher(events).next())[0] == "snapshot"

    scenario(system, play)


def test_watcher_that_reads_too_slowly_is_ended(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given that it has not read for longer than changes are kept."""
    monkeypatch.setattr(topic, "LENGTH", 2)

    async def play(rig: Rig) -> None:
        async with aclosing(rig.watch()) as slow, aclosing(rig.watch()) as quick:
            await Watcher(slow).next()
            reader = Watcher(quick)
            for n in range(4):
                job = await rig.submit(f"{n}")
                await reader.jobs_until(lambda known, job=job: job in known)  # type: ignore[misc]
            assert await Watcher(slow).kinds_until_the_end() == []
        assert rig.hub.watchers == 0
        dropped = encode(WATCHERS_DROPPED.name)
        assert rig.hub.instruments.take() == {dropped: 1}

    scenario(system, play)


def test_store_that_is_back_leads_to_a_snapshot(system: System, origin: Origin) -> None:
    file = origin.serve("/a.bin", size=900_000, hang_after=200_000, faults=1)
    job = system.submit(file.url)

    async def play(rig: Rig) -> None:
        with running(system, job):
            async with aclosing(rig.watch()) as events:
                watcher = Watcher(events)
                await watcher.jobs_until(
                    lambda known: known.get(job.id, {}).get("bytes_downloaded") == 200_000
                )
                read = rig.snapshots
                system.store.pause()
                try:
                    while rig.feed.store_error is None:
                        await asyncio.sleep(0.01)
                finally:
                    system.store.resume()
                while rig.snapshots == read:
                    await watcher.next()
            await asyncio.to_thread(tasks.cancel, job.id, runtime=system.runtime)

    scenario(system, play)


def test_watchers_that_come_together_share_a_snapshot(system: System) -> None:
    """But not one that was being read before: a watcher sees what it has done itself."""

    async def play(rig: Rig) -> None:
        began, release = asyncio.Event(), asyncio.Event()
        reads: list[list[str]] = []

        async def read() -> list[str]:
            before = [str(len(reads))]
            reads.append(before)
            began.set()
            await release.wait()
            return before

        shared: SharedRead[list[str]] = SharedRead()
        first = asyncio.create_task(shared.get(read))
        await began.wait()
        later = [asyncio.create_task(shared.get(read)) for _ in range(20)]
        await asyncio.sleep(0)
        later[0].cancel()  # the others go on
        release.set()
        assert await first == ["0"]
        assert [await one for one in later[1:]] == [["1"]] * 19
        assert await shared.get(read) == ["2"]
        names = [await rig.submit(str(number)) for number in range(2)]
        streams = [rig.watch(owner=owner) for owner in ("ada", "ada", "bob")]
        events = await asyncio.gather(*(Watcher(one).next() for one in streams))
        assert {len(data["downloads"]) for _, data in events} == {len(names)}
        assert rig.snapshots < len(streams)

    scenario(system, play)


def test_a_read_that_fails_fails_for_its_own_callers_alone() -> None:
    async def play() -> None:
        shared: SharedRead[int] = SharedRead()

        async def fail() -> int:
            raise DatabaseUnavailableError("gone")

        async def work() -> int:
            return 1

        failing = [asyncio.create_task(shared.get(fail)) for _ in range(3)]
        for one in failing:
            with pytest.raises(DatabaseUnavailableError):
                await one
        assert await shared.get(work) == 1

    asyncio.run(play())


def test_too_many_streams_are_refused(system: System) -> None:
    async def play(rig: Rig) -> None:
        streams = [rig.watch(owner=owner) for owner in ("ada", "ada", "ada", "bob")]
        for one in streams:
            await Watcher(one).next()
        for owner in ("ada", "bob", "eve"):
            with pytest.raises(RateLimitedError):
                await anext(rig.watch(owner=owner))
        await streams[3].aclose()
        with pytest.raises(RateLimitedError):  # still three of hers
            await anext(rig.watch(owner="ada"))
        assert await anext(rig.watch(owner="eve"))

    scenario(system, play)


def test_silent_stream_gets_comments_and_ends_when_access_ends(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT", 0.05)
    monkeypatch.setattr(stream, "_CHECK_INTERVAL", 0.1)

    async def play(rig: Rig) -> None:
        watcher = Watcher(rig.watch())
        rig.allowed = False
        assert await watcher.kinds_until_the_end() == ["snapshot"]
        assert watcher.comments

    scenario(system, play)


def test_all_who_wait_for_a_topic_share_one_timer() -> None:
    """Each gets a comment when nothing comes, the earliest time counts, and a change ends it."""

    async def play() -> None:
        found = topic.Topic(0)
        waiting = [asyncio.create_task(found.wait(seconds)) for seconds in (60, 0.05, 60)]
        waiting[0].cancel()
        assert [await one for one in waiting[1:]] == [False, False]
        waiting = [asyncio.create_task(found.wait(60)) for _ in range(3)]
        await asyncio.sleep(0)
        timers = [one for one in asyncio.get_running_loop()._scheduled if not one.cancelled()]  # type: ignore[attr-defined]
        assert len(timers) == 1
        found.append(topic.Frame(1, b"x"))
        assert [await one for one in waiting] == [True, True, True]
        assert all(one.cancelled() for one in timers)

    asyncio.run(play())


def test_topic_without_watchers_is_forgotten(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "KEEP", 0.0)

    async def play(rig: Rig) -> None:
        async with aclosing(rig.watch()) as events:
            watcher = Watcher(events)
            await watcher.next()
        last = watcher.last_id
        while rig.hub.topics:
            await asyncio.sleep(0.01)
        async with aclosing(rig.watch(last_id=last)) as events:
            assert (await Watcher(events).next())[0] == "snapshot"

    scenario(system, play)
