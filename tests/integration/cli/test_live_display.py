"""The live display on a pseudo-terminal: suspended, resized, interrupted, ended by signals."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable
from functools import partial

import pytest

from cli.output import display
from cli.signals import interrupt_on_termination
from domain.job import JobStatus as S
from tasks import JobView
from tests.support.inputs.job_views import job, live
from tests.support.services.pseudo_terminal import PseudoTerminal

NAMES = ("film.mkv", "映画の長い名前のファイルです.mp4", "\x1b[2Jevil\x1b]0;owned\x07.bin")


def views(percent: int, *more: JobView) -> list[JobView]:
    found = list(more)
    for number, name in enumerate(NAMES):
        row = job(S.DOWNLOADING, id=f"{number:036}", name=name)
        progress = live(2, job_id=row.id, bytes_downloaded=percent * 10_000, bytes_total=1_000_000)
        found.append(JobView.merge(row, progress))
    return found


def completed(number: int) -> JobView:
    path = f"/films/done-{number}.mkv"
    return JobView.merge(job(S.COMPLETED, id=f"done{number:032}", path=path), None)


def run_until_interrupted(**environment: str) -> Callable[[], int]:
    """Return a command that shows jobs until Ctrl-C, as `get` and `watch` do."""

    def command() -> int:
        os.environ.update({"TERM": "xterm-256color", **environment})
        interrupt_on_termination()
        shown = display.for_terminal()
        try:
            for step in range(10_000):
                shown.show(views(step % 100))
                time.sleep(0.02)
        except KeyboardInterrupt:
            shown.status("pausing …")
            return 130
        finally:
            shown.close()
        return 0

    return command


def show_and_fail() -> int:
    os.environ["TERM"] = "xterm-256color"
    shown = display.for_terminal()
    try:
        shown.show(views(10))
        raise ValueError("an error in the middle")
    finally:
        shown.close()


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGINT, 130),
        (signal.SIGTERM, 130),
        (signal.SIGHUP, 130),
        (signal.SIGQUIT, -signal.SIGQUIT),
    ],
)
def test_terminal_is_restored_after_a_signal(number: signal.Signals, status: int) -> None:
    with PseudoTerminal(run_until_interrupted()) as terminal:
        terminal.wait_for_text("film.mkv")
        terminal.wait_for(lambda: terminal.is_cursor_hidden)
        terminal.send(number)
        assert terminal.wait() == status
        check_restored(terminal)


def test_terminal_is_restored_after_an_exception() -> None:
    with PseudoTerminal(show_and_fail) as terminal:
        assert terminal.wait() == 127
        assert b"film.mkv" in terminal.written
        check_restored(terminal)


def check_restored(terminal: PseudoTerminal) -> None:
    assert not terminal.is_cursor_hidden
    assert terminal.lines == []
    assert terminal.screen.cursor.x == 0
    assert terminal.written.rfind(b"\x1b[?7h") > terminal.written.rfind(b"\x1b[?7l")


def test_ctrl_c_is_answered_at_once() -> None:
    with PseudoTerminal(run_until_interrupted()) as terminal:
        terminal.wait_for_text("film.mkv")
        terminal.press("\x03")
        terminal.wait_for(lambda: "pausing …".encode() in terminal.written)
        assert terminal.wait() == 130


def test_ctrl_z_gives_the_terminal_back_and_fg_draws_again() -> None:
    with PseudoTerminal(run_until_interrupted()) as terminal:
        terminal.wait_for_text("film.mkv")
        for _ in range(2):
            terminal.press("\x1a")
            terminal.wait_for(lambda: terminal.is_stopped)
            terminal.wait_for(lambda: not terminal.lines)
            assert not terminal.is_cursor_hidden
            terminal.send(signal.SIGCONT)
            terminal.wait_for_text("film.mkv")
            assert terminal.is_cursor_hidden
        terminal.press("\x03")
        assert terminal.wait() == 130
        check_restored(terminal)


def test_resized_in_the_middle_it_fits_and_leaves_nothing_behind() -> None:
    with PseudoTerminal(run_until_interrupted(), columns=80, rows=10) as terminal:
        terminal.wait_for_text("film.mkv")
        for columns in (40, 20, 200, 80):
            terminal.resize(columns, 10)
            # Frames of the earlier width may still be on their way.
            terminal.wait_for(partial(fits, terminal, columns))
        assert not terminal.scrolled
        terminal.press("\x03")
        assert terminal.wait() == 130


def fits(terminal: PseudoTerminal, columns: int) -> bool:
    lines = terminal.lines
    numbers = r"\d %" if columns == 20 else r"\d %\s.* 1\.0 MB/s"
    return (
        len(lines) == (5 if columns < 60 else 4)
        and [line[:2] for line in lines[:3]] == ["fi", "映画", "�["]
        and all(re.search(numbers, line) for line in lines[:3])
        and max(len(line) for line in lines) < columns
        and lines[3].startswith("3 running")
    )


def finish_one_by_one() -> int:
    os.environ["TERM"] = "xterm-256color"
    shown = display.for_terminal()
    done: list[JobView] = []
    for number in range(40):
        done.append(completed(number))
        shown.show(views(number, *done))
    shown.end("40 files")
    shown.close()
    return 0


def test_finished_jobs_scroll_above_in_order_and_each_once() -> None:
    with PseudoTerminal(finish_one_by_one, rows=10) as terminal:
        assert terminal.wait() == 0
        ended = [f"done-{number}.mkv: 10 B → /films/done-{number}.mkv" for number in range(40)]
        assert terminal.text.splitlines() == [*ended, "40 files"]
        assert not terminal.is_cursor_hidden


@pytest.mark.parametrize(
    ("variables", "has_colour"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"CLICOLOR": "0"}, False)],
)
def test_colours_are_the_terminals_own_or_none(variables: dict[str, str], has_colour: bool) -> None:
    with PseudoTerminal(run_until_interrupted(**variables)) as terminal:
        terminal.wait_for_text("film.mkv")
        terminal.wait_for(lambda: len(terminal.written) > 3000)
        terminal.press("\x03")
        assert terminal.wait() == 130
        styles = set(re.findall(rb"\x1b\[([0-9;:]*)m", terminal.written))
        # No background, no fixed colour: the same bytes are right on light and on dark.
        assert styles <= ({b"0", b"2", b"31", b"32", b"33"} if has_colour else set())
        assert bool(styles) is has_colour
        assert b"\x1b[2J" not in terminal.written
        assert b"\x1b]" not in terminal.written


@pytest.mark.parametrize("term", ["dumb", "", "unknown"])
def test_terminal_that_cannot_move_its_cursor_gets_lines(term: str) -> None:
    def command() -> int:
        os.environ["TERM"] = term
        shown = display.for_terminal()
        shown.show(views(10))
        shown.show(views(20, completed(1)))
        shown.status("pausing …")
        shown.end("1 file")
        shown.close()
        return 0

    with PseudoTerminal(command) as terminal:
        assert terminal.wait() == 0
        assert terminal.lines == [
            *("film.mkv: started", "映画の長い名前のファイルです.mp4: started"),
            *("�[2Jevil�]0;owned�.bin: started", "done-1.mkv: 10 B → /films/done-1.mkv"),
            *("seen: pausing …", "1 file"),
        ]
        assert b"\x1b" not in terminal.written
        assert b"\r" not in terminal.written.replace(b"\r\n", b"")


def test_failure_goes_to_a_file_of_errors_and_not_to_the_rows() -> None:
    failed = JobView.merge(job(S.FAILED, reason="It broke.", error_code="broken"), None)
    read, write = os.pipe()

    def command() -> int:
        os.environ["TERM"] = "xterm-256color"
        os.dup2(write, 2)
        shown = display.for_terminal()
        shown.show(views(10, failed))
        shown.close()
        sys.stderr.flush()
        return 0

    with PseudoTerminal(command) as terminal:
        assert terminal.wait() == 0
        assert b"broke" not in terminal.written
    os.close(write)
    with os.fdopen(read) as errors:
        assert errors.read() == "seen: film.mkv: failed: It broke.\n"
