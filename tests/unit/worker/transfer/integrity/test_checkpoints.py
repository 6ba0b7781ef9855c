"""When bytes are made durable, and what becomes of a disk that refuses."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from domain.errors import DiskFullError, LeaseLostError
from tests.support.wait import wait_until
from worker.storage.destination import Checkpoint
from worker.storage.part_file import PartFile
from worker.transfer.integrity.checkpoints import CheckpointWriter


class Bench:
    """A part file with checkpoints, and how much of it there is to describe.

    Attributes:
        syncs: how often the bytes were made durable.
        gate: every sync waits for it.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.part = PartFile(folder, "a")
        self.pool = ThreadPoolExecutor(1)
        self.written = self.syncs = 0
        self.gate = threading.Event()
        self.gate.set()
        self.full = False
        really = os.fdatasync

        def fdatasync(fd: int) -> None:
            self.syncs += 1
            assert self.gate.wait(10)
            if self.full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            really(fd)

        monkeypatch.setattr(os, "fdatasync", fdatasync)

    def checkpoints(self, interval: float = 0.0) -> CheckpointWriter:
        return CheckpointWriter(self.part, "a", pool=self.pool, interval=interval)

    def describe(self) -> Checkpoint:
        return Checkpoint(written=((0, self.written),) if self.written else ())

    def write(self, size: int) -> None:
        self.part.write_at([b"x" * size], self.written)
        self.written += size

    @property
    def durable(self) -> int:
        return self.part.checkpoint.durable


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    bench = Bench(tmp_path, monkeypatch)
    yield bench
    bench.gate.set()
    bench.pool.shutdown()
    bench.part.close()


def allow() -> None:
    """The lease is ours."""


def test_one_is_written_when_it_is_due_and_counted_when_it_is_done(bench: Bench) -> None:
    checkpoints = bench.checkpoints()
    bench.write(100)
    bench.gate.clear()
    checkpoints.write_if_due(bench.describe)
    wait_until(lambda: bench.syncs == 1, what="a running sync")
    bench.write(100)
    checkpoints.write_if_due(bench.describe)  # one at a time
    assert (bench.syncs, bench.durable) == (1, 0)
    bench.gate.set()
    checkpoints.wait()
    assert bench.durable == 100
    checkpoints.write_if_due(bench.describe)
    checkpoints.wait()
    assert bench.durable == 200


def test_before_its_time_none_is_written(bench: Bench) -> None:
    checkpoints = bench.checkpoints(interval=3600)
    bench.write(100)
    checkpoints.write_if_due(bench.describe)
    checkpoints.wait()
    assert bench.syncs == 0


def test_nothing_new_is_not_worth_an_fsync(bench: Bench) -> None:
    checkpoints = bench.checkpoints()
    checkpoints.write_if_due(bench.describe)
    checkpoints.wait()
    assert bench.syncs == 0
    bench.write(100)
    for _ in range(3):
        checkpoints.write_if_due(bench.describe)
        checkpoints.wait()
    checkpoints.write_final(bench.describe, allow)
    assert bench.syncs == 1


def test_a_full_disk_reaches_the_transfer(bench: Bench) -> None:
    checkpoints = bench.checkpoints()
    bench.write(100)
    bench.full = True
    checkpoints.write_if_due(bench.describe)
    wait_until(lambda: bench.syncs == 1, what="a running sync")
    with pytest.raises(DiskFullError):
        wait_until(
            partial(checkpoints.write_if_due, bench.describe),
            deadline=5,
            what="the next check raises it",
        )
    assert bench.durable == 0


def test_what_a_full_disk_did_not_take_is_not_kept_when_it_has_room(bench: Bench) -> None:
    checkpoints = bench.checkpoints()
    bench.write(100)
    bench.full = True
    checkpoints.write_if_due(bench.describe)
    with pytest.raises(DiskFullError):
        checkpoints.wait()
    bench.full = False
    bench.write(100)
    checkpoints.write_final(bench.describe, allow)
    assert (bench.syncs, bench.durable) == (1, 0)


def test_the_last_bytes_are_kept(bench: Bench) -> None:
    bench.write(100)
    bench.checkpoints(interval=3600).write_final(bench.describe, allow)
    assert bench.durable == 100


def test_the_last_checkpoint_waits_for_no_other_transfer(bench: Bench) -> None:
    checkpoints = bench.checkpoints()
    others_are_done = threading.Event()
    bench.pool.submit(others_are_done.wait, 10)
    bench.write(100)
    checkpoints.write_if_due(bench.describe)
    bench.write(100)

    checkpoints.write_final(bench.describe, allow)
    assert (bench.syncs, bench.durable) == (1, 200)
    others_are_done.set()


def test_without_the_lease_nothing_is_kept_and_nothing_raised(bench: Bench) -> None:
    def refuse() -> None:
        raise LeaseLostError("Another worker holds the lock.")

    bench.write(100)
    bench.checkpoints(interval=3600).write_final(bench.describe, refuse)
    assert (bench.syncs, bench.durable) == (0, 0)


def test_what_is_kept_may_fail_without_hiding_why_it_was_to_be_kept(bench: Bench) -> None:
    bench.write(100)
    bench.full = True
    bench.checkpoints(interval=3600).write_final(bench.describe, allow)
    assert bench.syncs == 1
    assert bench.durable == 0
