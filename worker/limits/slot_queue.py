"""Jobs of this process that wait a moment for a slot which another job of this process frees.

A job without a slot would be written to SQL as waiting, and be queued and published again: that costs
more than a small file. So it first waits here, as long as slots of its host or user change hands.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

#: A slot that was taken or freed within this time shows that another one may be free soon. Seconds.
MAX_WAIT = 1.0
#: Who waits looks so often whether it has to stop. Seconds.
_LOOK = 0.2
#: Hosts and users that are remembered.
_MAX_LINES = 1000


def lines_of(host: str, user_id: str | None) -> tuple[str, str]:
    """Return the names of the lines for slots of a host, and of a user."""
    return host, f"user:{user_id}"


@dataclass(eq=False, slots=True)
class _Line:
    """Who waits for the slots of one host or user, the longest first, and when one changed hands."""

    changed_at: float
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)


class SlotQueue:
    """Lines of jobs, by host or user. Belongs to the event loop's thread."""

    def __init__(self, max_wait: float = MAX_WAIT) -> None:
        self._max_wait = max_wait
        self._lines: dict[str, _Line] = {}

    def taken(self, *names: str) -> None:
        """Note that a job has got slots of these hosts or users."""
        now = asyncio.get_running_loop().time()
        for name in names:
            self._line(name, now).changed_at = now

    def freed(self, name: str) -> bool:
        """Note that a slot is free, and let the first that waits for it try; False if none waits."""
        now = asyncio.get_running_loop().time()
        line = self._line(name, now)
        line.changed_at = now
        while line.waiting:
            first = line.waiting.popleft()
            if not first.done():
                first.set_result(None)
                return True
        return False

    async def wait(self, name: str, check: Callable[[], None]) -> bool:
        """Wait until a slot is free; False when none has changed hands for too long.

        Args:
            check: called several times a second; it may raise to end this.
        """
        loop = asyncio.get_running_loop()
        line = self._line(name, loop.time() - self._max_wait)
        turn: asyncio.Future[None] = loop.create_future()
        line.waiting.append(turn)
        try:
            while not turn.done():
                left = line.changed_at + self._max_wait - loop.time()
                if left <= 0:
                    return False
                await asyncio.wait([turn], timeout=min(left, _LOOK))
                if not turn.done():
                    check()
            return True
        finally:
            turn.cancel()
            with suppress(ValueError):  # its turn has come
                line.waiting.remove(turn)

    def _line(self, name: str, changed_at: float) -> _Line:
        line = self._lines.get(name)
        if line is None:
            if len(self._lines) >= _MAX_LINES:
                self._lines = {key: one for key, one in self._lines.items() if one.waiting}
            line = self._lines[name] = _Line(changed_at)
        return line
