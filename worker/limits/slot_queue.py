"""Jobs of this process that wait a moment for a slot which another job frees.

A job without a slot would be written to SQL as waiting, and be queued and published again: that costs
more than a small file. So it first waits here, as long as slots of its host or user change hands.

The store decides whose turn it is, among the jobs of all workers. Of those that wait here for the same
slots only the first one asks it: at once when a slot is freed here, and now and then for other workers.
"""

from __future__ import annotations

import asyncio
from bisect import insort
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from operator import attrgetter

#: A slot that was taken or freed within this time shows that another one may be free soon. Seconds.
MAX_WAIT = 1.0
#: Who waits looks so often whether it has to stop. Seconds.
_LOOK = 0.2
#: The first one asks the store again after half of the time that has passed since a slot changed hands,
#: but not sooner or later than this. Seconds.
_SOONEST, _LATEST = 0.02, 0.2
#: Hosts and users that are remembered.
_MAX_LINES = 1000


#: The name of the line for slots of all downloads; hosts have no colon before their name.
TOTAL_LINE = "total:"


def lines_of(host: str, user_id: str | None) -> tuple[str, str, str]:
    """Return the names of the lines for slots of a host, of a user, and of all downloads."""
    return host, f"user:{user_id}", TOTAL_LINE


@dataclass(eq=False, slots=True)
class _Waiting:
    order: str
    turn: asyncio.Future[None]


@dataclass(eq=False, slots=True)
class _Line:
    """Who waits for the slots of one host or user, in order, and when one changed hands."""

    changed_at: float
    waiting: list[_Waiting] = field(default_factory=list)


class SlotQueue:
    """Lines of jobs, by host or user. Belongs to the event loop's thread."""

    def __init__(self, max_wait: float = MAX_WAIT) -> None:
        self._max_wait = max_wait
        self._lines: dict[str, _Line] = {}

    def taken(self, *names: str, ago: float = 0.0) -> None:
        """Note that a job has got slots of these hosts or users, here or elsewhere, some seconds ago."""
        at = asyncio.get_running_loop().time() - ago
        for name in names:
            line = self._line(name, at)
            line.changed_at = max(line.changed_at, at)

    def freed(self, name: str) -> bool:
        """Note that a slot is free, and let the first that waits for it try; False if none waits."""
        now = asyncio.get_running_loop().time()
        line = self._line(name, now)
        line.changed_at = now
        while line.waiting:
            first = line.waiting.pop(0).turn
            if not first.done():
                first.set_result(None)
                return True
        return False

    async def wait(
        self, name: str, check: Callable[[], None], *, order: str = "", asks: bool = False
    ) -> bool:
        """Wait until a slot may be free; False when none has changed hands for too long.

        Args:
            name: of the line.
            check: called several times a second; it may raise to end this.
            order: the line is in order of this, and of those that are alike the first comes first.
            asks: whether the first one returns now and then, to ask the store whether it is its turn.
        """
        loop = asyncio.get_running_loop()
        line = self._line(name, loop.time() - self._max_wait)
        one = _Waiting(order, loop.create_future())
        insort(line.waiting, one, key=attrgetter("order"))
        since = loop.time()
        try:
            while not one.turn.done():
                now = loop.time()
                left = line.changed_at + self._max_wait - now
                if left <= 0:
                    return False
                pause = _pause(now - line.changed_at)
                is_first = asks and line.waiting[0] is one
                await asyncio.wait([one.turn], timeout=min(left, pause if is_first else _LOOK))
                if not one.turn.done():
                    check()
                    if asks and line.waiting[0] is one and loop.time() - since >= pause:
                        return True
            return True
        finally:
            one.turn.cancel()
            with suppress(ValueError):  # its turn has come
                line.waiting.remove(one)

    def _line(self, name: str, changed_at: float) -> _Line:
        line = self._lines.get(name)
        if line is None:
            if len(self._lines) >= _MAX_LINES:
                self._lines = {key: one for key, one in self._lines.items() if one.waiting}
            line = self._lines[name] = _Line(changed_at)
        return line


def _pause(unchanged: float) -> float:
    """Return the seconds until the first one asks again when no slot has changed hands for some."""
    return min(max(unchanged / 2, _SOONEST), _LATEST)
