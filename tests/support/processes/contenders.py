"""Processes that contend for one rate limit or one lock, and record what they got.

    python -m tests.support.processes.contenders limit|lock sync|async FOLDER

The store is the one in the environment. A contender makes the file ``ready-PID``, begins when there is a
file ``go``, and ends when there is a file ``stop``. What it writes down are lines of one append each, so
a contender that is killed leaves whole lines.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

from cache import CacheManager, LockLease, RateLimit, SyncStore
from cache.store.aio import AsyncStore
from domain.errors import LeaseLostError, LockTakenError
from settings import Settings

#: The limit that is fought for, and one that is never reached: it keeps every grant's time in the store.
LIMITS = [RateLimit(limit=100, window=1.0), RateLimit(limit=100_000, window=3600)]
#: The lock's life in seconds: a sixth of it is more than any of us is ever kept waiting for a processor.
TTL = 1.2
#: Seconds to wait for it before asking anew: short, or whoever has just had it would have it again.
WAIT = 0.05


class Notes:
    """A file that several processes write lines into."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def line(self, *words: object) -> None:
        """Write one line, whole."""
        os.write(self._file, (" ".join(map(str, words)) + "\n").encode())


class Counter:
    """A number in a file, read and written without any care: what the lock has to guard."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_RDWR)

    def read(self) -> int:
        return int(os.pread(self._file, 20, 0) or b"0")

    def write(self, number: int) -> None:
        os.pwrite(self._file, f"{number:020}".encode(), 0)


class Work:
    """What a holder of the lock does: it counts, step by step, and asks before each whether it may."""

    def __init__(self, folder: Path) -> None:
        self._notes = Notes(folder / "steps")
        self._counter = Counter(folder / "counter")
        self._folder = folder
        self._held = 0

    def begin(self) -> Callable[[LockLease[SyncStore] | LockLease[AsyncStore]], None]:
        """Begin a hold; returns its step, which raises LeaseLostError when the lock is lost."""
        self._held += 1
        name = f"{os.getpid()}-{self._held}"

        def step(hold: LockLease[SyncStore] | LockLease[AsyncStore]) -> None:
            hold.check()
            number = self._counter.read() + 1
            self._counter.write(number)
            self._notes.line(number, name)
            try:
                hold.check()
            except LeaseLostError:  # this process stood still between the check and the write
                (self._folder / "late").touch()
                raise

        return step

    def how_long(self) -> float:
        """Seconds to hold the lock: mostly next to none, at times so long that it must be renewed."""
        return TTL * 1.2 if self._rarely("long") else random.random() * 0.02

    def stalls(self) -> bool:
        """Whether to let the lock's life run out by not letting anybody renew it."""
        return self._rarely("stalled")

    def _rarely(self, what: str) -> bool:
        """Once for sure in every contest, and now and then."""
        try:
            (self._folder / what).touch(exist_ok=False)
        except FileExistsError:
            return random.random() < 0.002
        return True


def lock_sync(manager: CacheManager, folder: Path, until: Callable[[], bool]) -> None:
    work = Work(folder)
    while until():
        try:
            with manager.session.lock("arena", ttl=TTL, wait=WAIT) as hold:
                step, ends = work.begin(), time.monotonic() + work.how_long()
                while time.monotonic() < ends:
                    step(hold)
                    time.sleep(0.001)
        except (LockTakenError, LeaseLostError):
            continue


async def lock_async(
    manager: CacheManager[AsyncStore], folder: Path, until: Callable[[], bool]
) -> None:
    work = Work(folder)
    while until():
        try:
            async with manager.session.lock("arena", ttl=TTL, wait=WAIT) as hold:
                step, ends = work.begin(), time.monotonic() + work.how_long()
                while time.monotonic() < ends:
                    step(hold)
                    if work.stalls():
                        time.sleep(TTL * 1.3)  # this holds up the loop, the renewal included
                        if random.random() < 0.5:
                            await asyncio.sleep(0.05)  # now it comes, too late
                        step(hold)
                    await asyncio.sleep(0.001)
        except (LockTakenError, LeaseLostError):
            continue


def limit_sync(manager: CacheManager, folder: Path, until: Callable[[], bool]) -> None:
    notes = Notes(folder / "grants")
    while until():
        if manager.session.rate_limits_check("all", "contest", LIMITS, fail="closed").allowed:
            notes.line(os.getpid())


async def limit_async(
    manager: CacheManager[AsyncStore], folder: Path, until: Callable[[], bool]
) -> None:
    notes = Notes(folder / "grants")
    while until():
        decision = await manager.session.rate_limits_check("all", "contest", LIMITS, fail="closed")
        if decision.allowed:
            notes.line(os.getpid())


async def on_asyncio(what: str, folder: Path, until: Callable[[], bool]) -> None:
    async with CacheManager.connect_async(Settings()) as manager:
        await manager.ping()
        wait_for_the_bell(folder)
        await (lock_async if what == "lock" else limit_async)(manager, folder, until)


def blocking(what: str, folder: Path, until: Callable[[], bool]) -> None:
    with CacheManager.connect(Settings()) as manager:
        manager.ping()
        wait_for_the_bell(folder)
        (lock_sync if what == "lock" else limit_sync)(manager, folder, until)


def wait_for_the_bell(folder: Path) -> None:
    (folder / f"ready-{os.getpid()}").touch()
    while not (folder / "go").exists():
        time.sleep(0.005)


def main(what: str, side: str, where: str) -> None:
    folder = Path(where)

    def until() -> bool:
        """Whether the contest goes on."""
        return not (folder / "stop").exists()

    if side == "async":
        asyncio.run(on_asyncio(what, folder, until))
    else:
        blocking(what, folder, until)


if __name__ == "__main__":
    main(*sys.argv[1:])
