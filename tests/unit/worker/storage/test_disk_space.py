"""Room on a volume: what one download is promised, no other one gets."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from domain.errors import DiskFullError, PermanentError
from worker.storage import disk_space as space
from worker.storage.disk_space import DiskSpace
from worker.storage.part_file import PartFile

MIB = 1 << 20
Open = Callable[[str], PartFile]


@pytest.fixture
def open_part(tmp_path: Path) -> Iterator[Open]:
    """Opens part files in one folder, and closes them in the end."""
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(PartFile(tmp_path, name))


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets how many bytes the volume says are free: the real number moves under us."""

    def set_to(size: int) -> None:
        monkeypatch.setattr(space, "_free", lambda _directory: size)

    return set_to


def test_the_free_room_is_the_volumes_own(open_part: Open, tmp_path: Path) -> None:
    part, room = open_part("a"), shutil.disk_usage(tmp_path).total
    DiskSpace(0).reserve(part, 1)
    with pytest.raises(DiskFullError):
        DiskSpace(0).reserve(part, room)
    with pytest.raises(DiskFullError):
        DiskSpace(room).reserve(part, 1)


def test_what_the_empty_volume_could_not_hold_is_not_waited_for(
    open_part: Open, tmp_path: Path
) -> None:
    whole = shutil.disk_usage(tmp_path).total
    with pytest.raises(PermanentError) as caught:
        DiskSpace(0).reserve(open_part("a"), whole + 1)
    assert caught.value.code == "too_large"
    assert f"{whole:,}" in str(caught.value)


def test_promises_are_summed(open_part: Open, free: Callable[[int], None]) -> None:
    free(100 * MIB + space.BESIDE_PART_FILE)
    volume = DiskSpace(10 * MIB)
    volume.reserve(open_part("a"), 50 * MIB)
    volume.reserve(open_part("b"), 40 * MIB)
    with pytest.raises(DiskFullError) as caught:
        volume.reserve(open_part("c"), 1)
    for number in (1, 90 * MIB, 10 * MIB, 100 * MIB + space.BESIDE_PART_FILE):
        assert f"{number:,}" in str(caught.value)


def test_a_new_promise_replaces_the_old_one(open_part: Open, free: Callable[[int], None]) -> None:
    free(100 * MIB)
    volume, part = DiskSpace(0), open_part("a")
    volume.reserve(part, 80 * MIB)
    volume.reserve(part, 90 * MIB)
    volume.reserve(part, 20 * MIB)
    volume.reserve(open_part("b"), 80 * MIB)


def test_a_refused_promise_takes_nothing(open_part: Open, free: Callable[[int], None]) -> None:
    free(100 * MIB)
    volume = DiskSpace(0)
    with pytest.raises(DiskFullError):
        volume.reserve(open_part("a"), 101 * MIB)
    volume.reserve(open_part("b"), 100 * MIB)


def test_what_is_released_is_free_for_others(open_part: Open, free: Callable[[int], None]) -> None:
    free(100 * MIB)
    volume, part = DiskSpace(0), open_part("a")
    volume.reserve(part, 100 * MIB)
    volume.release(part)
    volume.release(part)
    part.close()
    volume.reserve(open_part("b"), 100 * MIB)


def test_what_a_file_holds_is_not_counted_twice(
    open_part: Open, free: Callable[[int], None]
) -> None:
    """Given 4 MiB of 10 on disk: the volume's free room has sunk by them already."""
    part, other, volume = open_part("a"), open_part("b"), DiskSpace(0)
    free(10 * MIB)
    volume.reserve(part, 10 * MIB)
    part.write_at([os.urandom(4 * MIB)], 0)
    part.write_checkpoint(part.checkpoint)
    free(6 * MIB + 4096)  # the file system may have taken a block of its own
    volume.reserve(part, 10 * MIB)  # by an attempt that goes on
    with pytest.raises(DiskFullError):
        volume.reserve(other, MIB)
    free(8 * MIB)
    volume.reserve(other, MIB)


def test_what_is_written_is_promised_no_more(open_part: Open, free: Callable[[int], None]) -> None:
    """Given 40 MiB of 100 on disk: the volume's free room has sunk by them already."""
    free(100 * MIB)
    volume, part, other = DiskSpace(0), open_part("a"), open_part("b")
    volume.reserve(part, 100 * MIB)
    free(70 * MIB)  # somebody else gave 10 back
    volume.mark_written(part, 40 * MIB)
    with pytest.raises(DiskFullError):
        volume.reserve(other, 10 * MIB + 1)
    volume.reserve(other, 10 * MIB)
    volume.release(part)
    volume.mark_written(part, 40 * MIB)  # too late: it has no promise
    volume.reserve(other, 70 * MIB)


def test_another_volume_has_room_of_its_own(open_part: Open, free: Callable[[int], None]) -> None:
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("there is no second file system to write to")
    free(100 * MIB)
    volume, here = DiskSpace(0), open_part("a")
    with PartFile(Path("/dev/shm"), f"test-space-{os.getpid()}") as there:
        try:
            if there.device == here.device:
                pytest.skip("/dev/shm lies on the same file system")
            volume.reserve(here, 100 * MIB)
            volume.reserve(there, 100 * MIB)
        finally:
            there.remove_working_files()


# ── files whose size is not known ───────────────────────────────────────────────────────────────


def grow(volume: DiskSpace, part: PartFile, size: int) -> None:
    volume.reserve_growth(part, size)
    volume.mark_written(part, size)


def refusal(volume: DiskSpace, part: PartFile, size: int) -> DiskFullError:
    with pytest.raises(DiskFullError) as caught:
        volume.reserve_growth(part, size)
    return caught.value


def test_file_that_grows_leaves_what_stays_free(
    open_part: Open, free: Callable[[int], None]
) -> None:
    volume, part = DiskSpace(10 * MIB), open_part("a")
    free(10 * MIB + space.BESIDE_PART_FILE + 1000)
    grow(volume, part, 1000)
    free(10 * MIB)
    assert "10,485,760" in str(refusal(volume, part, 1))


def test_room_is_promised_in_steps(open_part: Open, free: Callable[[int], None]) -> None:
    volume, part, other = DiskSpace(0), open_part("a"), open_part("b")
    free(100 * MIB)
    grow(volume, part, 1)
    free(0)  # not asked again before the step is used up
    grow(volume, part, space.GROWTH_STEP - 1)
    assert refusal(volume, part, 1).uses_attempt
    free(space.GROWTH_STEP)
    volume.reserve_growth(other, space.GROWTH_STEP)
    refusal(volume, part, 1)


def test_what_grows_and_what_is_promised_do_not_share_bytes(
    open_part: Open, free: Callable[[int], None]
) -> None:
    volume, part, other = DiskSpace(0), open_part("a"), open_part("b")
    free(100 * MIB)
    volume.reserve(other, 100 * MIB)
    error = refusal(volume, part, 1)
    assert not error.uses_attempt  # the other one may end
    volume.release(other)
    volume.reserve_growth(part, 100 * MIB)
    with pytest.raises(DiskFullError):
        volume.reserve(other, 1)


def test_only_the_largest_file_uses_an_attempt(
    open_part: Open, free: Callable[[int], None]
) -> None:
    """A small file beside one that fills the disk has done nothing wrong; nor has one that begins."""
    volume, large, small, new = DiskSpace(0), open_part("a"), open_part("b"), open_part("c")
    free(100 * MIB)
    grow(volume, large, 60 * MIB)
    grow(volume, small, 30 * MIB)
    free(0)
    assert refusal(volume, large, MIB).uses_attempt
    assert not refusal(volume, small, MIB).uses_attempt
    assert not refusal(volume, new, MIB).uses_attempt
    assert volume.is_largest_growing_file(large)
    volume.release(large)
    assert refusal(volume, small, MIB).uses_attempt
    volume.release(small)
    assert not refusal(volume, small, MIB).uses_attempt


class OtherVolume:
    """A file of another file system than the folder of the test."""

    folder, device, allocated = "/other", 1, 0


def test_a_volume_that_hangs_holds_up_no_other(
    open_part: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, may_go_on = threading.Event(), threading.Event()
    part, hanging = open_part("a"), OtherVolume()

    def free(folder: str) -> int:
        if folder == hanging.folder:
            hangs.set()
            assert may_go_on.wait(30)
        return 100 * MIB

    monkeypatch.setattr(space, "_free", free)
    volumes = DiskSpace(0)

    def use_the_other() -> None:
        volumes.reserve(part, MIB)
        volumes.mark_written(part, MIB)
        volumes.reserve_growth(part, MIB)
        assert not volumes.is_largest_growing_file(part)
        volumes.release(part)

    with ThreadPoolExecutor(2) as threads:
        try:
            hung = threads.submit(volumes.reserve, hanging, MIB)
            assert hangs.wait(30)
            threads.submit(use_the_other).result(10)
            assert not hung.done()
        finally:
            may_go_on.set()
