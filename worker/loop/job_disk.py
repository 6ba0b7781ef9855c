"""The disk calls of one job, and which jobs wait for a disk that does not answer.

A call only notes when it has started. One timer for all jobs of an event loop looks at these times once
a second: a timer for each call costs more than most of the calls.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from worker.loop.calls import OnEnd, end_of, never
from worker.loop.folder_threads import FolderThreads

T = TypeVar("T")

#: Seconds without answer from a disk after which it counts as silent: of a call, and of one that makes
#: a whole file durable, which takes long on a slow disk.
DISK_PATIENCE, LONG_DISK_PATIENCE = 30.0, 600.0
#: Seconds between two looks.
LOOK_EVERY = 1.0

#: Called with the seconds that a call has waited.
OnSilence = Callable[[float], None]


def _ignore(_seconds: float) -> None:
    """Do nothing."""


class JobDisk:
    """Makes the calls of one job that wait for its disk, one after another. Use it on an event loop.

    Args:
        threads: of all folders of the process.
        folder: what hangs as one.
        on_silent: called once, on the event loop, when a call has waited too long.
        on_answer: called when it has ended after all.
    """

    __slots__ = (
        "_came_on_at",
        "_on_answer",
        "_on_silent",
        "_patience",
        "_progress",
        "_reached",
        "_silent_since",
        "_sync",
        "_sync_since",
        "_threads",
        "folder",
    )

    def __init__(
        self,
        threads: FolderThreads,
        folder: str,
        on_silent: OnSilence = _ignore,
        on_answer: OnSilence = _ignore,
    ) -> None:
        self._threads, self.folder = threads, folder
        self._on_silent, self._on_answer = on_silent, on_answer
        #: Of the call that waits or runs, 0 without one; and when it began, or last came further.
        self._patience = self._came_on_at = 0.0
        self._progress: Callable[[], object] | None = None
        self._reached: object = None
        #: What makes bytes durable in the background.
        self._sync: Future[None] | None = None
        self._sync_since = 0.0
        self._silent_since: float | None = None

    def call(
        self,
        function: Callable[[], T],
        *,
        takes_long: bool = False,
        progress: Callable[[], object] | None = None,
    ) -> asyncio.Future[T]:
        """Call a function in a thread, as `start`; the future has its result.

        If the future is cancelled before the call has started, it is not made.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._start(function, end_of(future), future.cancelled, takes_long, progress)
        return future

    def start(
        self,
        function: Callable[[], Any],
        on_end: OnEnd,
        *,
        takes_long: bool = False,
        progress: Callable[[], object] | None = None,
    ) -> None:
        """Call a function in a thread, then `on_end` with its result or error on this event loop.

        Args:
            function: to call.
            on_end: as above; it gets a RuntimeError if no thread can make the call.
            takes_long: the call reads a whole file, or makes it durable.
            progress: returns how far the call is, in any form; such a call is silent when that has not
                changed for long.
        """
        self._start(function, on_end, never, takes_long, progress)

    def _start(
        self,
        function: Callable[[], Any],
        on_end: OnEnd,
        is_cancelled: Callable[[], bool],
        takes_long: bool,
        progress: Callable[[], object] | None,
    ) -> None:
        self._came_on_at = time.monotonic()
        is_short = progress is not None or not takes_long
        self._patience = DISK_PATIENCE if is_short else LONG_DISK_PATIENCE
        self._progress, self._reached = progress, None
        end = partial(self._end, on_end)
        self._threads.start(
            self.folder, function, end, takes_long=takes_long, is_cancelled=is_cancelled
        )

    def watch_sync(self, sync: Future[None]) -> None:
        """Watch also what makes bytes durable in the background, until the next one."""
        self._sync, self._sync_since = sync, time.monotonic()

    def expect(self, progress: Callable[[], object]) -> None:
        """Watch what another thread does for a long time, as a call that has begun; once.

        Args:
            progress: returns how far it is, in any form. It may wait for others than the disk, too: it
                is silent after `LONG_DISK_PATIENCE`.
        """
        self._came_on_at, self._patience = time.monotonic(), LONG_DISK_PATIENCE
        self._progress = progress

    def let_go(self) -> None:
        """Say nothing any more, and refer no more to whom it is said."""
        self._on_silent = self._on_answer = _ignore

    def look(self, now: float) -> None:
        """Find out whether the disk is silent.

        Args:
            now: monotonic seconds.
        """
        seconds, since = self._seconds_silent(now), self._silent_since
        if seconds and since is None:
            self._silent_since = now - seconds
            self._on_silent(seconds)
        elif since is not None and not seconds:
            self._silent_since = None
            self._on_answer(now - since)

    def _seconds_silent(self, now: float) -> float:
        """Return for how long a call has waited if that is too long, else 0."""
        if self._patience:
            reached = None if self._progress is None else self._progress()
            if reached != self._reached:
                self._reached, self._came_on_at = reached, now
            if now - self._came_on_at >= self._patience:
                return now - self._came_on_at
        if self._sync is not None:
            if self._sync.done():
                self._sync = None
            elif now - self._sync_since >= LONG_DISK_PATIENCE:
                return now - self._sync_since
        return 0.0

    def _end(self, on_end: OnEnd, result: Any, error: BaseException | None) -> None:
        self._patience, self._progress = 0.0, None
        if self._silent_since is not None:
            self.look(time.monotonic())
        on_end(result, error)


class DiskWatch:
    """Looks at the disks of jobs once a second, while there are any. Use it on an event loop."""

    def __init__(self) -> None:
        self._disks: dict[JobDisk, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def watching(self, disk: JobDisk) -> _Watching:
        """Return a context manager that watches a disk."""
        return _Watching(self, disk)

    def add(self, disk: JobDisk) -> None:
        """Watch a disk from now on."""
        self._disks[disk] = None
        loop = asyncio.get_running_loop()
        if self._timer is None or self._loop is not loop:
            self._loop = loop
            self._timer = loop.call_later(LOOK_EVERY, self._look, loop)

    def remove(self, disk: JobDisk) -> None:
        """Watch it no more."""
        self._disks.pop(disk, None)
        disk.let_go()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        if loop is not self._loop:
            return
        self._timer = None
        if not self._disks:
            return
        self._timer = loop.call_later(LOOK_EVERY, self._look, loop)
        now = time.monotonic()
        for disk in list(self._disks):
            disk.look(now)


class _Watching:
    def __init__(self, watch: DiskWatch, disk: JobDisk) -> None:
        self._watch, self._disk = watch, disk

    def __enter__(self) -> JobDisk:
        self._watch.add(self._disk)
        return self._disk

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._watch.remove(self._disk)
