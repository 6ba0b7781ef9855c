"""The newest changes of what some watchers share: all jobs, those of a user, or one job."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from itertools import takewhile
from typing import NamedTuple

from api.events.shared_read import SharedRead

#: Changes that are kept: a minute of them, at four a second.
LENGTH = 240


class Frame(NamedTuple):
    """A change as it is sent; encoded once for all watchers."""

    position: int
    data: bytes


class _News(asyncio.Event):
    """What all who wait for a topic wait for.

    Attributes:
        is_change: else nothing has come for a while.
    """

    is_change = True


class Topic:
    """Belongs to the thread of an event loop.

    A watcher has a position and no queue of its own, so a slow one costs no memory.

    Args:
        position: of the newest change of any topic.

    Attributes:
        snapshots: reads the jobs for watchers that come together: by how many jobs they want, the
            position and the event.
        watchers: how many there are.
        left_at: monotonic time at which the last one left; None while there are any.
    """

    def __init__(self, position: int) -> None:
        self._frames: deque[Frame] = deque()
        #: Changes up to here are no longer kept.
        self._forgotten = position
        self._reset_at = 0
        self._news = _News()
        self._silence: asyncio.TimerHandle | None = None
        self.snapshots: defaultdict[int, SharedRead[Frame]] = defaultdict(SharedRead)
        self.watchers = 0
        self.left_at: float | None = None

    def append(self, frame: Frame) -> None:
        """Add a change, and forget the oldest if there are too many."""
        self._frames.append(frame)
        if len(self._frames) > LENGTH:
            self._forgotten = self._frames.popleft().position
        self.wake()

    def reset(self, position: int) -> None:
        """Let all watchers before this position read the jobs again: changes may have been missed."""
        self._frames.clear()
        self._forgotten = self._reset_at = position
        self.wake()

    def was_reset_after(self, position: int) -> bool:
        """Return whether a watcher at this position has to read the jobs again."""
        return position < self._reset_at

    def is_kept(self, position: int) -> bool:
        """Return whether every change after this position is still there."""
        return position >= self._forgotten

    def after(self, position: int) -> list[Frame]:
        """Return the changes after this position.

        Raises:
            LookupError: some of them are no longer kept.
        """
        if not self.is_kept(position):
            raise LookupError(f"Changes after {position} are no longer kept.")
        newer = takewhile(lambda frame: frame.position > position, reversed(self._frames))
        return list(newer)[::-1]

    async def wait(self, seconds: float) -> bool:
        """Wait for the next change or reset; return False if none comes within so many seconds.

        All who wait share one timer: one for each of them, four times a second, would cost more than
        all else.
        """
        loop = asyncio.get_running_loop()
        if self._silence is None or self._silence.when() > loop.time() + seconds:
            self._end_silence()
            self._silence = loop.call_later(seconds, self._wake, False)
        news = self._news
        await news.wait()
        return news.is_change

    def wake(self) -> None:
        """Let all who wait look again."""
        self._wake(True)

    def _wake(self, is_change: bool) -> None:
        self._end_silence()
        news, self._news = self._news, _News()
        news.is_change = is_change
        news.set()

    def _end_silence(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None
