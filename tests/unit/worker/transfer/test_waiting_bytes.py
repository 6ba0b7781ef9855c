"""The bytes that wait for disks are bounded, and the turns to receive more are in order."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from worker.transfer.network import (
    LEAST_OF_FOLDER,
    MOST_OF_TRANSFER,
    MOST_WAITING,
    ONE_TURN,
    FolderBytes,
    TransferBytes,
    WaitingBytes,
)

MIB = 1 << 20


class Loop:
    """Makes calls when a turn is taken."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def call_soon(self, call: Callable[[], None]) -> None:
        self.calls.append(call)

    def turn(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call()


class Reader:
    """Notes when it may read on."""

    def __init__(self, number: int, turns: list[int]) -> None:
        self._number, self._turns = number, turns

    def read_on(self) -> None:
        self._turns.append(self._number)


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def waiting(loop: Loop) -> WaitingBytes:
    return WaitingBytes(loop.call_soon)


def fill(folder: FolderBytes) -> None:
    """Count the bytes of readers that read as long as they may."""
    while not folder.is_full:
        folder.count(16 * 1024)


def full_folder(waiting: WaitingBytes, path: str) -> TransferBytes:
    transfer = waiting.of_transfer(path)
    fill(transfer.folder)
    return transfer


@pytest.mark.parametrize("hanging", range(40))
def test_folders_that_hang_leave_room_for_another(waiting: WaitingBytes, hanging: int) -> None:
    held = [full_folder(waiting, f"/{number}") for number in range(hanging)]
    other = waiting.of_transfer("/other")
    assert not other.folder.is_full
    assert not other.is_full
    other.folder.count(LEAST_OF_FOLDER - 1)
    assert not other.folder.is_full
    assert waiting.size <= MOST_WAITING + (len(held) + 1) * LEAST_OF_FOLDER


def test_transfers_of_a_folder_share_its_bytes(waiting: WaitingBytes) -> None:
    one, two, other = (waiting.of_transfer(path) for path in ("/a", "/a", "/b"))
    one.count(MOST_OF_TRANSFER)
    assert one.is_full
    assert not two.is_full
    assert two.folder.size == MOST_OF_TRANSFER == waiting.size
    assert other.folder.size == 0
    one.count(-MOST_OF_TRANSFER)
    assert waiting.size == 0


def test_those_that_are_held_back_read_on_in_order_and_as_there_is_room(
    loop: Loop, waiting: WaitingBytes
) -> None:
    folder = full_folder(waiting, "/a").folder
    turns: list[int] = []
    for number in range(12):
        folder.hold_back(Reader(number, turns))
    loop.turn()
    assert turns == []
    folder.count(-ONE_TURN // 2)  # of the folder and of all: its limit rises as it has less
    loop.turn()
    assert turns == [0]
    folder.count(-ONE_TURN)
    loop.turn()
    assert turns[:3] == [0, 1, 2]
    folder.count(-folder.size)
    loop.turn()
    assert turns == list(range(12))


def test_one_that_has_ended_takes_no_turn(loop: Loop, waiting: WaitingBytes) -> None:
    folder = full_folder(waiting, "/a").folder
    turns: list[int] = []
    readers = [Reader(number, turns) for number in range(3)]
    for reader in readers:
        folder.hold_back(reader)
    folder.forget(readers[0])
    folder.forget(readers[0])
    folder.count(-MIB)
    loop.turn()
    assert turns == [1, 2]


def test_one_is_held_back_no_longer_when_the_bytes_of_others_were_dropped(
    loop: Loop, waiting: WaitingBytes
) -> None:
    """Given a folder that is full only since another one has so many."""
    other, folder = waiting.of_transfer("/b").folder, full_folder(waiting, "/a").folder
    turns: list[int] = []
    other.count(MOST_WAITING)
    folder.count(-folder.size + LEAST_OF_FOLDER)
    folder.hold_back(Reader(0, turns))
    other.count(-other.size)
    waiting.let_read_soon()  # as at every tick
    loop.turn()
    assert turns == [0]
