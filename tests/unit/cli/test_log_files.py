"""Logs of the local stack stay bounded while a process holds them open."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from cli.local_stack import log_files
from cli.local_stack.log_files import (
    KEPT_LOGS,
    LogRotation,
    append_line,
    last_line,
    open_log,
    rotate_if_full,
)

LIMIT = 10_000


@pytest.fixture(autouse=True)
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_files, "MAX_LOG_BYTES", LIMIT)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "worker.log"


def copy(log: Path, number: int) -> Path:
    return log.with_name(f"{log.name}.{number}")


def test_process_that_holds_a_log_open_goes_on_in_the_emptied_one(log: Path) -> None:
    with open_log(log) as process:
        process.write(b"a" * LIMIT)
        process.flush()
        rotate_if_full(log)
        assert not copy(log, 1).exists(), "not full yet"
        process.write(b"b")
        process.flush()
        rotate_if_full(log)
        process.write(b"c")
    assert copy(log, 1).read_bytes() == b"a" * (LIMIT - 1) + b"b", "the end, as much as is kept"
    assert log.read_bytes() == b"c"
    assert stat.S_IMODE(copy(log, 1).stat().st_mode) == 0o600


def test_copies_move_up_and_the_oldest_is_dropped(log: Path) -> None:
    with open_log(log) as process:
        for number in range(KEPT_LOGS + 2):
            process.write(str(number).encode() * (LIMIT + 1))
            process.flush()
            rotate_if_full(log)
    names = sorted(path.name for path in log.parent.iterdir())
    assert names == [log.name, *(f"{log.name}.{n}" for n in range(1, KEPT_LOGS + 1))]
    newest = [copy(log, number).read_bytes()[:1] for number in range(1, KEPT_LOGS + 1)]
    assert newest == [b"4", b"3", b"2"]
    assert sum(path.stat().st_size for path in log.parent.iterdir()) <= KEPT_LOGS * LIMIT


def test_full_log_is_rotated_when_a_process_opens_it(log: Path) -> None:
    log.write_bytes(b"a" * (LIMIT + 1))
    log.chmod(0o600)
    with open_log(log) as process:
        process.write(b"b")
    assert log.read_bytes() == b"b"
    assert copy(log, 1).exists()


def test_lines_written_during_rotations_are_whole_and_in_order(log: Path) -> None:
    lines = 4_000

    def write() -> None:
        fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        for number in range(lines):
            os.write(fd, f"{number:08}\n".encode())
        os.close(fd)

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        if log.exists():
            rotate_if_full(log)
    with log.open("ab") as file:
        file.write(f"{lines:08}\n".encode())
    files = [*(copy(log, n) for n in range(KEPT_LOGS, 0, -1)), log]
    kept = b"".join(path.read_bytes() for path in files if path.exists())
    found = [int(line) for line in kept.splitlines() if len(line) == 8]
    assert found == sorted(set(found))
    assert found[-1] == lines


@pytest.mark.parametrize("obstacle", ["a folder that is full", "a symbolic link"])
def test_log_is_emptied_although_its_copy_has_a_foreign_name(log: Path, obstacle: str) -> None:
    other = log.with_name("other")
    other.write_text("kept")
    if obstacle == "a symbolic link":
        copy(log, 1).symlink_to(other)
    else:
        (copy(log, 1) / "inside").mkdir(parents=True)
        copy(log, 2).write_text("")
        copy(log, 2).chmod(0o600)
        copy(log, 3).mkdir()
    with open_log(log) as process:
        process.write(b"a" * (LIMIT + 1))
    rotate_if_full(log)
    assert log.stat().st_size == 0
    assert other.read_text() == "kept"


def test_stack_goes_on_without_a_log(log: Path) -> None:
    elsewhere = log.with_name("elsewhere")
    elsewhere.write_bytes(b"a" * (LIMIT + 1))
    linked = log.with_name("linked.log")
    linked.symlink_to(elsewhere)
    LogRotation().run([log, linked, log / "below.log"])
    append_line(log / "below.log", "line")
    assert elsewhere.stat().st_size == LIMIT + 1
    assert not log.exists()


def test_lines_are_appended_with_their_time(log: Path) -> None:
    append_line(log, "one")
    append_line(log, "two")
    first, second = log.read_text().splitlines()
    assert first.endswith("Z one")
    assert second.endswith("Z two")
    assert last_line(log) == second
