"""What all transfers of one event loop share: libcurl, a clock that ticks, and memory for bytes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Protocol
from weakref import WeakKeyDictionary, WeakValueDictionary

from worker.transfer.http.curl_loop import CurlLoop
from worker.transfer.http.curl_options import buffer_size

#: A stop, a lost lease or a changed rate takes effect within this time. Seconds.
TICK_INTERVAL = 0.2
#: The most received bytes that wait for all disks. The bytes of one folder may take as much as is left
#: free, so half; where they do since its disk hangs, others have as much of the rest, and so on.
MOST_WAITING = 64 * 1024 * 1024
#: So many bytes each folder may always have, else those that hang could stop one that does not.
LEAST_OF_FOLDER = 1024 * 1024
#: The most of one transfer.
MOST_OF_TRANSFER = 4 * 1024 * 1024
#: So much a reader receives in its turn, while others are held back.
ONE_TURN = 256 * 1024
#: At this number not even those that read may receive more: many that read first did so at once.
_TOO_MANY = MOST_WAITING + 16 * 1024 * 1024

#: Called at every tick with the monotonic time.
OnTick = Callable[[float], None]


class Network:
    """Serves the transfers of one event loop. Belongs to its thread.

    Attributes:
        curl: runs their requests.
        waiting_bytes: the received bytes of all transfers that are not written yet.
        buffer: how many bytes a connection reads at once, when so many transfers share the memory.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._running: set[OnTick] = set()
        self._ticker: asyncio.TimerHandle | None = None
        self.buffer = buffer_size(0)
        self.waiting_bytes = waiting = WaitingBytes(loop.call_soon)
        self.curl = CurlLoop(loop, lambda: waiting.size)

    @contextmanager
    def running(self, on_tick: OnTick) -> Iterator[None]:
        """Count a transfer as running, and call `on_tick` every `TICK_INTERVAL` seconds."""
        self._running.add(on_tick)
        self.buffer = buffer_size(len(self._running))
        if self._ticker is None:
            self._ticker = self._loop.call_later(TICK_INTERVAL, self._tick)
        try:
            yield
        finally:
            self._running.remove(on_tick)
            self.buffer = buffer_size(len(self._running))

    def _tick(self) -> None:
        now = time.monotonic()
        for on_tick in self._running:
            on_tick(now)
        self.waiting_bytes.let_read_soon()
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


class Reader(Protocol):
    """Reads a socket."""

    def read_on(self) -> None:
        """Read on: it was held back, and more bytes may be received now."""


class WaitingBytes:
    """The received bytes of one event loop that are not written yet.

    Args:
        call_soon: calls a function in the loop's next turn.

    Attributes:
        size: their number.
    """

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self.size = 0
        self._call_soon = call_soon
        self._is_called = False
        self._folders: WeakValueDictionary[str, FolderBytes] = WeakValueDictionary()

    def of_transfer(self, folder: str) -> TransferBytes:
        """Return those of a new transfer to a folder."""
        return TransferBytes(self._of_folder(folder))

    def let_read_soon(self) -> None:
        """Let those read on that are held back and have room."""
        if not self._is_called:
            self._is_called = True
            self._call_soon(self._let_read)

    def _let_read(self) -> None:
        self._is_called = False
        for folder in list(self._folders.values()):
            folder.let_read()

    def _of_folder(self, folder: str) -> FolderBytes:
        """Return those of one folder; its transfers share the object."""
        found = self._folders.get(folder)
        if found is None:
            found = self._folders[folder] = FolderBytes(self)
        return found


class FolderBytes:
    """The received bytes of one folder that are not written yet, and who waits to receive more."""

    def __init__(self, all_folders: WaitingBytes) -> None:
        self._all = all_folders
        self.size = 0
        #: Who is held back, the first one first.
        self._held: dict[Reader, None] = {}

    @property
    def _limit(self) -> int:
        return max(LEAST_OF_FOLDER, MOST_WAITING - self._all.size)

    @property
    def is_full(self) -> bool:
        """Whether further readers are held back."""
        size = self.size
        return size + self._all.size >= MOST_WAITING and size >= LEAST_OF_FOLDER

    @property
    def is_overfull(self) -> bool:
        """Whether no byte may be received, also by those that read."""
        size = self.size
        return size + self._all.size >= _TOO_MANY and size >= LEAST_OF_FOLDER

    @property
    def is_crowded(self) -> bool:
        """Whether bytes should not wait for more of their file."""
        return self.size >= self._limit * 3 // 4

    def count(self, size: int) -> None:
        """Count `size` more bytes; fewer, when it is negative."""
        self.size += size
        self._all.size += size
        if size < 0 and self._held:
            self._all.let_read_soon()

    def hold_back(self, reader: Reader) -> None:
        """Have a reader read on when bytes were written, after those that wait already."""
        self._held[reader] = None

    def forget(self, reader: Reader) -> None:
        """Hold a reader back no more, since it has ended."""
        self._held.pop(reader, None)

    def let_read(self) -> None:
        """Let those read on that are held back, as many as there is room for."""
        turns = -(-(self._limit - self.size) // ONE_TURN)
        for reader in list(islice(self._held, max(0, turns))):
            del self._held[reader]
            reader.read_on()


class TransferBytes:
    """The received bytes of one transfer that are not written yet.

    Attributes:
        size: their number.
        folder: all those of its folder.
    """

    def __init__(self, folder: FolderBytes) -> None:
        self.size = 0
        self.folder = folder

    @property
    def is_full(self) -> bool:
        """Whether no more bytes may be received."""
        return self.size >= MOST_OF_TRANSFER or self.folder.is_overfull

    def count(self, size: int) -> None:
        """Count `size` more bytes; fewer, when it is negative."""
        self.size += size
        self.folder.count(size)
