"""Lines that are written over, as a terminal emulator shows them."""

from __future__ import annotations

import io

import pyte
import pytest

from cli.output.progress.screen import Screen
from cli.output.styled import Line, Part, Style, line


class Terminal(io.StringIO):
    """A stream that shows what is written, and counts the writes."""

    def __init__(self, columns: int = 30, rows: int = 8) -> None:
        super().__init__()
        self.screen = pyte.HistoryScreen(columns, rows, history=100)
        self.writes: list[str] = []
        self._stream = pyte.Stream(self.screen)

    def write(self, text: str) -> int:
        self.writes.append(text)
        self._stream.feed(text.replace("\n", "\r\n"))
        return len(text)

    @property
    def lines(self) -> list[str]:
        return [one.rstrip() for one in self.screen.display]


def lines(*texts: str) -> list[Line]:
    return [line(text) for text in texts]


def test_lines_are_replaced_and_what_has_ended_scrolls_above() -> None:
    terminal = Terminal()
    screen = Screen(terminal, colour=True)
    screen.update([], lines("one 1 %", "two 1 %", "three 1 %"))
    screen.update([], lines("one 2 %", "two 2 %", "three 2 %"))
    assert terminal.lines[:4] == ["one 2 %", "two 2 %", "three 2 %", ""]
    assert terminal.screen.cursor.hidden
    screen.update(lines("one is done"), lines("two 3 %", "three 3 %"))
    assert terminal.lines[:4] == ["one is done", "two 3 %", "three 3 %", ""]
    screen.update(lines("two is done", "three is done"), [])
    assert terminal.lines[:4] == ["one is done", "two is done", "three is done", ""]
    assert not terminal.screen.cursor.hidden
    assert (terminal.screen.cursor.y, terminal.screen.cursor.x) == (3, 0)


def test_change_is_one_write_without_clearing_first_and_no_change_is_none() -> None:
    terminal = Terminal()
    screen = Screen(terminal, colour=True)
    for _ in range(3):
        screen.update([], lines("one 1 %", "two 1 %"))
    assert len(terminal.writes) == 1
    screen.update([], lines("one 2 %", "two 1 %"))
    assert len(terminal.writes) == 2
    before, _, after = terminal.writes[1].partition("one 2 %")
    assert "\x1b[J" not in before
    assert "\x1b[K" not in before
    assert "\x1b[J" in after


def test_more_lines_than_before_scroll_the_terminal() -> None:
    terminal = Terminal(rows=5)
    screen = Screen(terminal, colour=False)
    screen.update(lines("a", "b", "c"), lines("row 1"))
    for _ in range(2):
        screen.update([], lines("row 1", "row 2", "row 3", "row 4"))
        assert terminal.lines == ["c", "row 1", "row 2", "row 3", "row 4"]
    screen.update(lines("d"), lines("row 1"))
    assert terminal.lines[:3] == ["c", "d", "row 1"]


@pytest.mark.parametrize("columns", [20, 40])
def test_after_a_resize_nothing_of_the_earlier_width_is_left(columns: int) -> None:
    terminal = Terminal(columns=30)
    screen = Screen(terminal, colour=True)
    screen.update(lines("done"), lines("x" * 29, "y" * 29))
    terminal.screen.resize(8, columns)
    screen.update([], lines("x" * (columns - 1), "y" * (columns - 1)))
    assert terminal.lines[:4] == ["done", "x" * (columns - 1), "y" * (columns - 1), ""]


def test_name_that_a_terminal_counts_differently_moves_no_column() -> None:
    terminal = Terminal()
    flags = "\U0001f1e9\U0001f1ea" * 4  # eight cells, or sixteen, or four
    row = (Part(flags + " " * 2), Part("50 %", column=10), Part("1.0 MB/s", column=16))
    Screen(terminal, colour=True).update([], [row, line("below")])
    assert terminal.lines[0].endswith("1.0 MB/s")
    assert terminal.screen.display[0].index("50 %") <= 10
    assert terminal.screen.buffer[0][10].data == "5"
    assert terminal.lines[1] == "below"


def test_styles_are_of_the_16_colours_and_end_with_their_part() -> None:
    terminal = Terminal()
    row = tuple(Part(style.name, style) for style in Style)
    Screen(terminal, colour=True).update([], [(*row, Part("end"))])
    assert terminal.screen.buffer[0][len("PLAINFAINT")].fg == "green"
    assert terminal.screen.buffer[0][sum(len(one.name) for one in Style)].fg == "default"
    plain = Terminal()
    Screen(plain, colour=False).update([], [row])
    assert "m" not in "".join(plain.writes).replace("\x1b[?25l", "")


class _Gone(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(5, "Input/output error")


def test_terminal_that_is_gone_stops_nothing() -> None:
    screen = Screen(_Gone(), colour=True)
    screen.update(lines("done"), lines("one"))
    screen.clear()
    assert not screen.is_in_foreground
