"""The line that says what a command does gives way to everything else that the command prints."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.errors import report
from cli.output import display, formatting
from cli.output.counter import counter
from cli.output.messages import be_quiet, clear_busy, say, show_busy
from cli.output.progress.plain_lines import PlainLines
from cli.output.progress.program_output import JsonLines, NoProgress
from domain.job import JobStatus
from tasks import JobView
from tests.support.inputs.job_views import job
from tests.support.services.pseudo_terminal import PseudoTerminal

ROOT = Path(__file__).parents[3]
DONE = JobView.merge(job(JobStatus.COMPLETED, path="/films/film.mkv"), None)
FAILED = JobView.merge(job(JobStatus.FAILED, reason="It broke."), None)


def show_live() -> None:
    shown = display.for_terminal()
    shown.show([DONE])
    shown.close()


OUTPUTS: dict[str, tuple[Callable[[], object], str]] = {
    "a message": (lambda: say("using other workers"), "seen: using other workers"),
    "an error": (lambda: report("It broke.", "broken", as_json=False), "seen: It broke."),
    "an error as JSON": (
        lambda: report("It broke.", "broken", as_json=True),
        '{"error": {"code": "broken", "message": "It broke."}}',
    ),
    "a result as JSON": (lambda: formatting.print_json([]), "[]"),
    "rows": (show_live, "film.mkv: 10 B → /films/film.mkv"),
    "lines": (lambda: PlainLines().note("film.mkv: started"), "film.mkv: started"),
    "an error without progress": (
        lambda: NoProgress().show([FAILED]),
        "seen: film.mkv: failed: It broke.",
    ),
    "an error in lines": (lambda: PlainLines().fail("It broke."), "seen: It broke."),
    "JSON lines": (lambda: JsonLines().show([DONE]), '{"id": "01a205a2'),
    "the end": (clear_busy, ""),
}


@pytest.mark.parametrize(("output", "first"), OUTPUTS.values(), ids=OUTPUTS.keys())
def test_output_takes_the_place_of_the_busy_line(output: Callable[[], object], first: str) -> None:
    def command() -> int:
        os.environ["TERM"] = "xterm"
        show_busy("starting workers …")
        output()
        return 0

    with PseudoTerminal(command) as terminal:
        assert terminal.wait() == 0
        assert terminal.written.startswith("\rstarting workers …".encode())
        assert (terminal.lines or [""])[0].startswith(first)
        assert "workers …" not in terminal.text


@pytest.mark.parametrize(
    ("term", "columns", "shown"),
    [
        ("xterm", 80, "1,000 jobs …"),
        ("xterm", 8, "1,000 j"),
        ("linux", 80, "1,000 jobs ..."),
        ("dumb", 80, ""),
    ],
)
def test_counter_fits_its_terminal_and_leaves_nothing(term: str, columns: int, shown: str) -> None:
    def command() -> int:
        os.environ["TERM"] = term
        with counter() as count:
            count(1000)
        return 0

    with PseudoTerminal(command, columns=columns) as terminal:
        assert terminal.wait() == 0
        assert terminal.lines == []
        assert terminal.written.startswith(f"\r{shown}\x1b[K".encode() if shown else b"")
        assert bool(terminal.written) is bool(shown)


def test_quiet_command_shows_no_busy_line() -> None:
    def command() -> int:
        os.environ["TERM"] = "xterm"
        be_quiet()
        show_busy("stopping workers …")
        return 0

    with PseudoTerminal(command) as terminal:
        assert terminal.wait() == 0
        assert terminal.written == b""


def test_messages_are_printed_in_one_place() -> None:
    """Another `print` to standard error would write into the busy line."""
    found = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "cli").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.keyword) and node.arg == "file"
        if ast.unparse(node.value) == "sys.stderr"
    ]
    assert found == ["cli/output/messages.py"]
