"""What a terminal can show, by the variables that many programs agree on."""

from __future__ import annotations

import io
import os
import pty

import pytest

from cli.output.terminal import Terminal, size

XTERM = {"TERM": "xterm-256color", "LANG": "en_US.UTF-8"}


class _Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("variables", "is_live", "has_colour"),
    [
        ({}, True, True),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": "0"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
        ({"CLICOLOR": "0"}, True, False),
        ({"CLICOLOR": "1"}, True, True),
        ({"CLICOLOR": "0", "CLICOLOR_FORCE": "1"}, True, True),
        ({"FORCE_COLOR": "0"}, True, False),
        ({"TERM": "dumb"}, False, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, False, True),
        ({"TERM": "unknown"}, False, False),
        ({"TERM": ""}, False, False),
        ({"TERM": "vt100"}, True, True),
    ],
)
def test_terminal(variables: dict[str, str], is_live: bool, has_colour: bool) -> None:
    found = Terminal.of(_Tty(), XTERM | variables)
    assert (found.is_live, found.has_colour) == (is_live, has_colour)


def test_pipe_has_colour_only_by_force_and_never_moves_a_cursor() -> None:
    assert Terminal.of(io.StringIO(), XTERM) == Terminal(False, False)
    forced = XTERM | {"FORCE_COLOR": "1"}
    assert Terminal.of(io.StringIO(), forced) == Terminal(False, True)
    assert Terminal.of(io.StringIO(), forced | {"NO_COLOR": "1"}) == Terminal(False, False)


@pytest.mark.parametrize(
    ("variables", "has_symbols"),
    [
        ({}, True),
        ({"LANG": "C"}, True),
        ({"LANG": ""}, True),
        ({"LANG": "de_DE.UTF-8"}, True),
        ({"LANG": "de_DE.utf8@euro"}, True),
        ({"LANG": "de_DE.ISO-8859-1"}, False),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "ja_JP.eucJP"}, False),
        ({"LANG": "ja_JP.eucJP", "LC_CTYPE": "en_US.UTF-8"}, True),
        ({"TERM": "linux"}, False),
    ],
)
def test_symbols_need_a_font_and_utf_8(variables: dict[str, str], has_symbols: bool) -> None:
    assert Terminal.of(_Tty(), XTERM | variables).has_symbols is has_symbols


def test_size_of_a_terminal_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("LINES", raising=False)
    assert size(io.StringIO()) == (80, 24)
    ours, its = pty.openpty()
    with os.fdopen(its, "w") as stream, os.fdopen(ours, "rb"):
        assert size(stream) == (80, 24)  # a new one has 0 columns
        monkeypatch.setenv("COLUMNS", "132")
        monkeypatch.setenv("LINES", "many")
        assert size(stream) == (132, 24)
