"""Eight processes, half of them on asyncio, contend for a rate limit and for a lock; some are killed.

For six seconds each, longer on a slow machine; with the environment variable SEEN_TEST_FULL=1 for a
minute.
"""

from __future__ import annotations

import itertools
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.environment import FULL
from tests.support.processes.contenders import LIMITS
from tests.support.servers.process import Process, end_process, spawn, tail
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

CONTENDERS = 8
SECONDS = 60.0 if FULL else 6.0
#: Seconds after which even a busy machine has done what a contest needs.
PATIENCE = SECONDS + 60
ROOT = Path(__file__).resolve().parents[4]

pytestmark = pytest.mark.timeout(3 * PATIENCE + 120)


class Arena:
    """The contenders of one contest."""

    def __init__(self, store: StoreServer, folder: Path, what: str) -> None:
        self.folder = folder
        self._what = what
        self._log = folder / "output"
        self._environment = {
            **os.environ,
            "SEEN_CACHE_ADDR": store.addr,
            "SEEN_CACHE_PASSWORD": store.password,
            # A busy machine must neither let a second holder in nor lose the lock.
            "SEEN_CACHE_TIMEOUT": "10",
            "SEEN_CACHE_BUDGET": "10",
        }
        self._sides = itertools.cycle(["sync", "async"])
        self.contenders: list[Process] = []

    def enter(self) -> Process:
        """Start one more contender."""
        script = [
            sys.executable,
            "-m",
            "tests.support.processes.contenders",
            self._what,
            next(self._sides),
        ]
        command = [*script, str(self.folder)]
        contender = spawn(command, log=self._log, env=self._environment, cwd=ROOT)
        self.contenders.append(contender)
        return contender

    def ready(self) -> int:
        """How many have been ready to contend, those since killed included."""
        return len(list(self.folder.glob("ready-*")))

    def ring(self) -> None:
        """Begin, once all are ready."""
        wait_until(lambda: self.ready() == CONTENDERS, deadline=60, what="eight contenders")
        (self.folder / "go").touch()

    def stop(self) -> None:
        """End the contest; processes not killed exit with status 0."""
        (self.folder / "stop").touch()
        wait_until(
            lambda: all(one.poll() is not None for one in self.contenders),
            deadline=60,
            interval=0.1,
            what="the end of the contest",
        )
        assert {one.returncode for one in self.contenders} <= {0, -9}, tail(self._log)

    def lines(self, name: str) -> list[list[str]]:
        """What the contenders have written down in a file."""
        path = self.folder / name
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


@contextmanager
def arena(store: StoreServer, folder: Path, what: str) -> Iterator[Arena]:
    """A contest that begins with eight."""
    there = Arena(store, folder, what)
    try:
        for _ in range(CONTENDERS):
            there.enter()
        there.ring()
        yield there
    finally:
        for contender in there.contenders:
            end_process(contender, grace=0)


def test_no_window_ever_has_more_than_the_limit(store: StoreServer, tmp_path: Path) -> None:
    with arena(store, tmp_path, "limit") as contest:
        began = time.monotonic()
        wait_until(
            lambda: (
                time.monotonic() - began > SECONDS
                and len({pid for (pid,) in contest.lines("grants")}) > CONTENDERS / 2
            ),
            deadline=PATIENCE,
            interval=0.2,
        )
        contest.stop()
    with store.client() as client:
        stamps = sorted(int(one) for one in client.lrange("seen:ratelimit:all:contest", 0, -1))
    limit, window = LIMITS[0].limit, round(LIMITS[0].window * 1_000_000)
    granted = Counter(pid for (pid,) in contest.lines("grants"))
    # What the processes were granted is what the server has noted, one by one.
    assert granted.total() == len(stamps)
    # Fought for all the while, the first window has exactly the limit, and no other one has more.
    assert sum(stamp < stamps[0] + window for stamp in stamps) == limit
    assert [
        place
        for place in range(len(stamps) - limit)
        if stamps[place + limit] < stamps[place] + window
    ] == []
    assert len(stamps) > limit * 3


def test_a_lock_never_has_two_holders_though_holders_are_killed(
    store: StoreServer, tmp_path: Path
) -> None:
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        with arena(store, folder, "lock") as contest:
            killed = kill_some(contest)
            contest.stop()
        # A process that stood still between its check and its write had the lock no more; what it wrote
        # shows nothing about the lock.
        if not (folder / "late").exists():
            break
    steps = [(int(number), holder) for number, holder in contest.lines("steps")]
    # Two at once would have read the same number, and written the same one.
    numbers = [number for number, _ in steps]
    assert [number for number, times in Counter(numbers).items() if times > 1] == []
    # One at a time: who has made room for another does not come back.
    turns = [holder for holder, _ in itertools.groupby(holder for _, holder in sorted(steps))]
    assert [holder for holder, times in Counter(turns).items() if times > 1] == []
    # Nothing was lost but the note of a step in which its holder was killed.
    counted = int((folder / "counter").read_bytes())
    assert max(numbers) <= counted
    assert counted - len(numbers) <= killed


def kill_some(contest: Arena) -> int:
    """Kill the holder, or anybody, at random moments, and send in another; return how many.

    It ends when the time is over, some were killed, and more than half of them have held the lock.
    """
    began, killed = time.monotonic(), 0
    while time.monotonic() - began < PATIENCE:
        time.sleep(random.uniform(0.1, 0.8))  # at any moment: nothing is waited for here
        steps = contest.lines("steps")
        holders = {holder.partition("-")[0] for _, holder in steps}
        is_over = time.monotonic() - began > SECONDS * 0.8
        if is_over and killed >= 4 and len(holders) > CONTENDERS / 2:
            return killed
        last = steps[-1][1].partition("-")[0] if steps else ""
        alive = [one for one in contest.contenders if one.poll() is None]
        holder = [one for one in alive if str(one.pid) == last]
        victim = random.choice(holder or alive) if random.random() < 0.5 else random.choice(alive)
        victim.kill()
        victim.wait()
        killed += 1
        contest.enter()
    raise AssertionError(f"{killed} were killed, {len(holders)} have held the lock")
