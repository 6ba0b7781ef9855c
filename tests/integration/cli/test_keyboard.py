"""Keys on a pseudo-terminal: what arrives, and that the terminal is as before at the end."""

from __future__ import annotations

import os
import pty
import termios
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import IO

import pytest

from cli.watching.keyboard import Keyboard


@pytest.fixture
def window() -> Iterator[tuple[int, IO[str]]]:
    """A terminal: what presses its keys, and the stream that a command reads."""
    keys, inside = pty.openpty()
    with os.fdopen(inside, "r", encoding="utf-8") as stream:
        yield keys, stream
    os.close(keys)


def _pressed(keyboard: Keyboard, most: int) -> list[str]:
    found: list[str] = []
    end = time.monotonic() + 30
    while len(found) < most and time.monotonic() < end:
        found += keyboard.keys(0.05)
    return found


@pytest.mark.parametrize(
    ("written", "keys"),
    [
        (b"p", ["p"]),
        (b"\x1b[A\x1b[B\x1bOA\x1bOB", ["up", "down", "up", "down"]),
        (b"\r\n", ["enter", "enter"]),
        (b"\x7f\x08", ["backspace", "backspace"]),
        ("é映🎬".encode(), ["é", "映", "🎬"]),
        (b"\x1b[1;5C\x1b[15~\x1b[200~a", ["a"]),
        (b"\x01\x02\x00\x9fa", ["�", "a"]),
        (b"\xff\xfea", ["�", "�", "a"]),
        (b"\x1b", ["escape"]),
        (b"\x1bq", ["escape", "q"]),
    ],
)
def test_keys(window: tuple[int, IO[str]], written: bytes, keys: list[str]) -> None:
    with Keyboard(window[1]) as keyboard:
        assert list(keyboard.keys(0)) == []
        os.write(window[0], written)
        assert _pressed(keyboard, len(keys)) == keys


def test_character_whose_bytes_come_one_by_one(window: tuple[int, IO[str]]) -> None:
    with Keyboard(window[1]) as keyboard:
        for byte in "映".encode():
            assert list(keyboard.keys(0)) == []
            os.write(window[0], bytes([byte]))
        assert _pressed(keyboard, 1) == ["映"]


def test_terminal_is_as_before_at_the_end(window: tuple[int, IO[str]]) -> None:
    before = termios.tcgetattr(window[1])
    with Keyboard(window[1]) as keyboard:
        for _ in range(2):
            list(keyboard.keys(0))
            assert termios.tcgetattr(window[1])[3] & (termios.ECHO | termios.ICANON) == 0
            assert termios.tcgetattr(window[1])[3] & termios.ISIG
            keyboard.restore()
            assert termios.tcgetattr(window[1]) == before
    assert termios.tcgetattr(window[1]) == before


def test_window_that_is_closed_has_no_keys(window: tuple[int, IO[str]]) -> None:
    other, inside = pty.openpty()
    with os.fdopen(inside, "r") as stream, Keyboard(stream) as keyboard:
        list(keyboard.keys(0))
        os.close(other)
        while keyboard.exists:
            assert list(keyboard.keys(0)) == []
        assert list(keyboard.keys(0)) == []


def test_streams_without_keys(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("pppp")
    with (tmp_path / "file").open() as closed:
        pass
    with (tmp_path / "file").open() as file:
        for stream in (None, StringIO("p"), file, closed):
            with Keyboard(stream) as keyboard:
                assert not keyboard.exists
                assert list(keyboard.keys(0)) == []
