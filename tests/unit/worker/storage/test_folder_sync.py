"""Threads that want the same folder synced share one fsync that starts after their calls."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.support.wait import wait_until
from worker.storage.folders import FolderSync


class SlowSync:
    """Counts calls; each waits for the gate."""

    def __init__(self) -> None:
        self.calls: list[Path] = []
        self.gate = threading.Event()

    def __call__(self, _fd: int, path: Path) -> None:
        self.calls.append(path)
        assert self.gate.wait(10)


@contextmanager
def opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


def key_of(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def test_calls_that_come_during_a_sync_share_the_next_one(tmp_path: Path) -> None:
    slow = SlowSync()
    sync = FolderSync(slow)
    with opened(tmp_path) as fd, ThreadPoolExecutor(9) as threads:
        first = threads.submit(sync, fd, tmp_path, key_of(fd))
        wait_until(lambda: len(slow.calls) == 1)
        others = [threads.submit(sync, fd, tmp_path, key_of(fd)) for _ in range(8)]
        folder = next(iter(sync._folders.values()))
        wait_until(lambda: folder.threads == 9)
        assert not any(one.done() for one in (first, *others))
        slow.gate.set()
        for one in (first, *others):
            one.result(10)
    assert len(slow.calls) == 2, "one for the first, one for all others"
    assert sync._folders == {}


def test_one_folder_does_not_wait_for_another(tmp_path: Path) -> None:
    slow = SlowSync()
    quick: list[Path] = []
    slow_folder, other = tmp_path / "slow", tmp_path / "other"
    slow_folder.mkdir()
    other.mkdir()
    sync = FolderSync(
        lambda fd, path: slow(fd, path) if path == slow_folder else quick.append(path)
    )
    with opened(slow_folder) as fd, opened(other) as second, ThreadPoolExecutor(1) as threads:
        running = threads.submit(sync, fd, slow_folder, key_of(fd))
        wait_until(lambda: slow.calls)
        sync(second, other, key_of(second))
        assert quick == [other]
        slow.gate.set()
        running.result(10)


def test_a_real_folder_is_synced(tmp_path: Path) -> None:
    with opened(tmp_path) as fd:
        FolderSync()(fd, tmp_path, key_of(fd))
