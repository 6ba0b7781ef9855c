"""What all transfers of one event loop share: libcurl, a clock that ticks, and memory for bytes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from worker.transfer.http.curl_loop import CurlLoop

#: A stop, a lost lease or a changed rate takes effect within this time. Seconds.
TICK_INTERVAL = 0.2
#: The most bytes of all transfers that may wait for their disks; beyond, none receives more.
_MAX_WAITING_BYTES = 64 * 1024 * 1024

#: Called at every tick with the monotonic time.
OnTick = Callable[[float], None]


class Network:
    """Serves the transfers of one event loop. Belongs to its thread.

    Attributes:
        curl: runs their requests.
        waiting_bytes: received bytes of all transfers that are not written yet.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._running: set[OnTick] = set()
        self._ticker: asyncio.TimerHandle | None = None
        self.curl = CurlLoop(loop)
        self.waiting_bytes = 0

    @property
    def transfers(self) -> int:
        """How many transfers run."""
        return len(self._running)

    @property
    def is_full(self) -> bool:
        """Whether so many bytes wait for the disks that no more are to be received."""
        return self.waiting_bytes >= _MAX_WAITING_BYTES

    @contextmanager
    def running(self, on_tick: OnTick) -> Iterator[None]:
        """Count a transfer as running, and call `on_tick` every `TICK_INTERVAL` seconds."""
        self._running.add(on_tick)
        if self._ticker is None:
            self._ticker = self._loop.call_later(TICK_INTERVAL, self._tick)
        try:
            yield
        finally:
            self._running.remove(on_tick)

    def _tick(self) -> None:
        now = time.monotonic()
        for on_tick in self._running:
            on_tick(now)
        again = bool(self._running)
        self._ticker = self._loop.call_later(TICK_INTERVAL, self._tick) if again else None


_networks: WeakKeyDictionary[asyncio.AbstractEventLoop, Network] = WeakKeyDictionary()


def running_network() -> Network:
    """Return the network of the running event loop."""
    loop = asyncio.get_running_loop()
    found = _networks.get(loop)
    if found is None:
        for former in [one for one in _networks if one.is_closed()]:
            _networks.pop(former).curl.close()
        found = _networks[loop] = Network(loop)
    return found


class Wakeup:
    """Lets one coroutine wait until something happens, or for a time."""

    def __init__(self) -> None:
        self._is_set = False
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        """Wake the coroutine, or let its next `wait` return at once."""
        self._is_set = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self, seconds: float | None) -> None:
        """Wait for `set`, at most for `seconds` (None: for any time); others always get a turn."""
        if self._is_set or (seconds is not None and seconds <= 0):
            await asyncio.sleep(0)
        else:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = None if seconds is None else loop.call_later(seconds, self.set)
            try:
                await self._waiter
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()
        self._is_set = False
