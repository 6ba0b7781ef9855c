"""Digests that follow a growing file: of real files, in a real pool."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from domain.errors import PausedError, TransientError
from tests.support.wait import wait_until
from worker.storage.part_file import PartFile
from worker.transfer.integrity.digests import PrefixDigests

MIB = 1 << 20
JOB = "01890a5d-ac96-774b-bcce-b302099a8057"
DATA = os.urandom(5 * MIB + 12_345)
ALGORITHMS = ("md5", "sha1", "sha256", "sha512", "blake2b")


def nothing() -> None:
    """A check that lets everything go on."""


@pytest.fixture
def part(tmp_path: Path) -> Iterator[PartFile]:
    """An empty part file."""
    with PartFile(tmp_path, JOB) as part:
        yield part


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """One thread, so that turns follow one another."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


class Reads:
    """Where the file has been read, and a gate that the next read has to pass."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.started = threading.Event()
        self.spans: list[tuple[int, int]] = []
        really = os.preadv

        def preadv(fd: int, buffers: Any, position: int) -> int:
            self.started.set()
            assert self.gate.wait(10)
            size = really(fd, buffers, position)
            self.spans.append((position, position + size))
            return size

        monkeypatch.setattr(os, "preadv", preadv)

    @property
    def reach(self) -> int:
        return self.spans[-1][1] if self.spans else 0


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch)


def expected(size: int = len(DATA)) -> dict[str, str]:
    return {name: hashlib.new(name, DATA[:size]).hexdigest() for name in ALGORITHMS}


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, len(DATA)])
def test_all_digests_of_the_whole_file(part: PartFile, pool: ThreadPoolExecutor, size: int) -> None:
    part.write_at([DATA[:size]], 0)
    digests = PrefixDigests(part, ALGORITHMS, pool)
    assert digests.finish(size, nothing) == expected(size)


def test_crc32c_as_its_check_value_says(part: PartFile, pool: ThreadPoolExecutor) -> None:
    part.write_at([b"123456789"], 0)
    assert PrefixDigests(part, ["crc32c"], pool).finish(9, nothing) == {"crc32c": "e3069283"}


def test_what_is_there_is_hashed_before_the_end_and_once(
    part: PartFile, pool: ThreadPoolExecutor, reads: Reads
) -> None:
    digests = PrefixDigests(part, ALGORITHMS, pool)
    part.write_at([DATA], 0)
    digests.advance_to(4 * MIB)
    wait_until(lambda: reads.reach == 4 * MIB, what="everything announced is hashed")
    reads.spans.clear()
    assert digests.finish(len(DATA), nothing) == expected()
    assert reads.spans[0][0] == 4 * MIB


def test_bytes_behind_a_gap_are_not_hashed_until_it_is_closed(
    part: PartFile, pool: ThreadPoolExecutor, reads: Reads
) -> None:
    """Given segments in any order: only the contiguous prefix is announced and read."""
    digests = PrefixDigests(part, ALGORITHMS, pool)
    part.write_at([DATA[3 * MIB :]], 3 * MIB)
    part.write_at([DATA[: 2 * MIB]], 0)
    digests.advance_to(2 * MIB)
    wait_until(lambda: reads.reach == 2 * MIB, what="the prefix is hashed")
    part.write_at([DATA[2 * MIB : 3 * MIB]], 2 * MIB)
    digests.advance_to(len(DATA))
    wait_until(lambda: reads.reach == len(DATA), what="the rest is")
    assert digests.finish(len(DATA), nothing) == expected()
    assert all(one[1] == other[0] for one, other in zip(reads.spans, reads.spans[1:], strict=False))


def test_what_comes_during_a_turn_is_taken_up_after_it(
    part: PartFile, pool: ThreadPoolExecutor, reads: Reads
) -> None:
    digests = PrefixDigests(part, ALGORITHMS, pool)
    part.write_at([DATA], 0)
    reads.gate.clear()
    digests.advance_to(MIB)
    assert reads.started.wait(10)
    digests.advance_to(4 * MIB)  # announced once
    reads.gate.set()
    wait_until(lambda: reads.reach == 4 * MIB, what="it goes on by itself")
    assert digests.finish(len(DATA), nothing) == expected()


def test_two_files_take_turns_in_one_thread(
    tmp_path: Path, part: PartFile, pool: ThreadPoolExecutor
) -> None:
    other_data = DATA[::-1]
    with PartFile(tmp_path, "other") as other:
        both = [PrefixDigests(one, ["sha256"], pool) for one in (part, other)]
        for digests, file, data in zip(both, (part, other), (DATA, other_data), strict=True):
            file.write_at([data], 0)
            digests.advance_to(len(data))
        found = [digests.finish(len(DATA), nothing)["sha256"] for digests in both]
    assert found == [hashlib.sha256(data).hexdigest() for data in (DATA, other_data)]


class Stop:
    """A check that stops at the `limit`-th time."""

    def __init__(self, limit: int) -> None:
        self.limit, self.asked = limit, 0

    def __call__(self) -> None:
        self.asked += 1
        if self.asked >= self.limit:
            raise PausedError("pause requested")


def test_a_stop_is_heard_between_two_blocks(
    part: PartFile, pool: ThreadPoolExecutor, reads: Reads
) -> None:
    part.write_at([DATA], 0)
    digests = PrefixDigests(part, ALGORITHMS, pool)
    with pytest.raises(PausedError):
        digests.finish(len(DATA), Stop(3))
    assert 0 < reads.reach < MIB
    assert digests.finish(len(DATA), nothing) == expected(), "nothing is lost by it"


def test_a_stop_is_heard_while_another_thread_hashes(
    part: PartFile, pool: ThreadPoolExecutor, reads: Reads
) -> None:
    part.write_at([DATA], 0)
    digests = PrefixDigests(part, ALGORITHMS, pool)
    reads.gate.clear()
    digests.advance_to(len(DATA))
    assert reads.started.wait(10)
    with pytest.raises(PausedError):
        digests.finish(len(DATA), Stop(1))
    reads.gate.set()
    digests.close()


def test_the_file_is_not_touched_after_close(
    part: PartFile, pool: ThreadPoolExecutor, reads: Reads
) -> None:
    part.write_at([DATA], 0)
    digests = PrefixDigests(part, ALGORITHMS, pool)
    reads.gate.clear()
    digests.advance_to(len(DATA))
    assert reads.started.wait(10)
    closing = threading.Thread(target=digests.close)
    closing.start()
    wait_until(lambda: digests._closed, what="closing has started")
    assert closing.is_alive(), "a read is under way"
    reads.gate.set()
    closing.join(10)
    assert not closing.is_alive()

    read = list(reads.spans)
    assert len(read) == 1, "no further block"
    digests.advance_to(len(DATA))
    pool.submit(nothing).result(10)  # whatever had been handed in is over
    assert reads.spans == read


@pytest.mark.parametrize("in_the_background", [True, False])
def test_an_unreadable_disk_is_reported(
    part: PartFile,
    pool: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
    in_the_background: bool,
) -> None:
    def preadv(fd: int, buffers: Any, position: int) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    part.write_at([DATA], 0)
    monkeypatch.setattr(os, "preadv", preadv)
    digests = PrefixDigests(part, ALGORITHMS, pool)
    if in_the_background:
        digests.advance_to(len(DATA))
    with pytest.raises(TransientError, match="Input/output error") as caught:
        digests.finish(len(DATA), nothing)
    assert caught.value.code == "disk_unavailable"
    digests.close()


def test_a_truncated_file_is_reported(part: PartFile, pool: ThreadPoolExecutor) -> None:
    part.write_at([b"abc"], 0)
    with pytest.raises(TransientError, match="has only 3 bytes, 5 were written") as caught:
        PrefixDigests(part, ["sha256"], pool).finish(5, nothing)
    assert caught.value.code == "disk_error"
