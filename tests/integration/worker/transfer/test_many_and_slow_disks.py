"""Many transfers to disks that hang or are slow: bounded memory, and a turn for each."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.build import new_job
from tests.support.origins.origin import Origin
from tests.support.services.transferring import Direct, transfer_pools
from worker.loop.folder_threads import MOST_THREADS
from worker.storage.part_file import PartFile
from worker.transfer import network
from worker.transfer.interfaces import TransferSpec
from worker.transfer.network import running_network

MANY = 40
MIB = 1 << 20
#: The bound of these tests, lower than the real one, so that fewer bytes reach it.
MOST, TOO_MANY = 4 * MIB, 5 * MIB
_CHUNK = 16 * 1024


class SlowPart(PartFile):
    """A part file on a disk that writes only as often as it is permitted."""

    permits: threading.Semaphore

    def write_at(self, chunks: Sequence[bytes], position: int) -> int:
        assert self.permits.acquire(timeout=120)
        return super().write_at(chunks, position)


@pytest.fixture
def slow() -> Iterator[type[SlowPart]]:
    class Slow(SlowPart):
        permits = threading.Semaphore(0)

    yield Slow
    Slow.permits.release(100_000)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Starts a transfer; all share their threads, as those of one process do."""
    with transfer_pools(MOST_THREADS) as pools:

        def start(url: str, folder: str, **fields: Any) -> tuple[Direct, asyncio.Task[Any]]:
            direct = Direct(tmp_path / folder, job=new_job(), pools=pools, **fields)
            run = direct.run(TransferSpec(urls=(url,), connections=1))
            return direct, asyncio.create_task(run)

        yield start


@pytest.fixture(autouse=True)
def low_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "MOST_WAITING", MOST)
    monkeypatch.setattr(network, "_TOO_MANY", TOO_MANY)


async def wait_for(condition: Callable[[], Any], what: str) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, f"not in time: {what}"
        await asyncio.sleep(0.01)


def written(direct: Direct) -> int:
    """Return how many bytes of a transfer are written."""
    return 0 if direct.tracker is None else direct.tracker.counts.downloaded


def test_many_transfers_to_a_disk_that_hangs_take_bounded_memory(
    start: Callable[..., Any], origin: Origin, slow: type[SlowPart]
) -> None:
    large, small = origin.serve("/a.bin", size=MIB), origin.serve("/b.bin", size=3 * MIB)

    async def run() -> tuple[int, list[tuple[Any, str]], tuple[Any, str]]:
        all_ = [start(large.url, "hanging", part_type=slow) for _ in range(MANY)]
        waiting = running_network().waiting_bytes
        most = 0

        def is_full() -> bool:
            nonlocal most
            most = max(most, waiting.size)
            return 2 * waiting.size >= MOST and len(origin.requests_for("/a.bin")) == MANY

        await wait_for(is_full, "the bound is reached")
        _, task = start(small.url, "other")
        ended = await task  # beside those that hang
        is_full()
        assert not any(map(written, [direct for direct, _ in all_]))
        slow.permits.release(100_000)
        results = await asyncio.gather(*(task for _, task in all_))
        assert waiting.size == 0
        return most, results, ended

    most, results, (result, digest) = asyncio.run(run())
    # As much as is left free; each transfer may have handed over what it had at that moment.
    assert most <= TOO_MANY + _CHUNK
    assert {digest for _, digest in results} == {large.sha256}
    assert (result.size, digest) == (small.size, small.sha256)


def test_each_of_many_transfers_to_a_slow_disk_has_its_turn(
    start: Callable[..., Any], origin: Origin, slow: type[SlowPart]
) -> None:
    """Given a disk that is the bottleneck: all have bytes written before the first is complete."""
    file = origin.serve("/a.bin", size=4 * MIB)

    def all_send() -> bool:
        sent = [one.bytes_sent for one in origin.requests_for(file.path)]
        return len(sent) == MANY and min(sent) > 0

    async def run() -> list[int]:
        all_ = [start(file.url, "slow", part_type=slow) for _ in range(MANY)]
        directs = [direct for direct, _ in all_]
        waiting = running_network().waiting_bytes
        await wait_for(lambda: 2 * waiting.size >= MOST, "the bound is reached")
        await wait_for(all_send, "all origins have sent bytes")

        def goes_on() -> bool:
            slow.permits.release(1)
            return all(map(written, directs))

        await wait_for(goes_on, "each has bytes on the disk")
        counts = [written(direct) for direct in directs]
        slow.permits.release(100_000)
        results = await asyncio.gather(*(task for _, task in all_))
        assert {digest for _, digest in results} == {file.sha256}
        return counts

    assert max(asyncio.run(run())) < file.size
