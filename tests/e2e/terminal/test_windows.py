"""`seen get` and `watch` in a terminal window, with real downloads in one local stack."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.origins.origin import Origin
from tests.support.services.pseudo_terminal import PseudoTerminal
from tests.support.services.seen import Seen
from tests.support.wait import wait_until

MB = 1_000_000
XTERM = {"TERM": "xterm-256color", "LANG": "C.UTF-8"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    with Seen(tmp_path_factory.mktemp("terminal")) as seen:
        seen.start("up", "--no-flower", "--no-api")
        seen.wait_for_stack("store", "downloads", "maintenance", "beat")
        yield seen


def window(seen: Seen, *arguments: str, **variables: str) -> PseudoTerminal:
    return PseudoTerminal(
        [sys.executable, "-X", "utf8", "-P", "-m", "cli", *arguments],
        environment={**seen.environment, **XTERM, **variables},
        folder=seen.folder,
        rows=12,
    )


def test_downloads_in_a_window_that_changes_its_width(stack: Seen, origin: Origin) -> None:
    gate = threading.Event()
    files = [
        origin.serve(f"/{name}", size=4 * MB, gate=gate, gate_after=2 * MB)
        for name in ("a-film-with-quite-a-long-name.mkv", "other.iso")
    ]
    missing = origin.url("/missing.bin")
    urls = [files[0].url, files[1].url, missing]
    with window(stack, "get", "--connections", "1", *urls) as terminal:
        terminal.wait_for_text("missing.bin: failed", deadline=60)
        terminal.wait_for_text("2 running, 1 failed; 4.0 of 8.0 MB")
        assert terminal.is_cursor_hidden
        # After five seconds without a byte both are stalled.
        rows = {
            20: r"a-\S*\.mkv +(50 %|stalled)",
            40: r"a-\S+\.mkv +50 % ",
            200: r"name\.mkv .* 50\.0 % ",
        }
        for columns, row in rows.items():
            terminal.resize(columns, 12)
            seen = len(terminal.written)
            terminal.wait_for(lambda seen=seen: len(terminal.written) > seen)  # type: ignore[misc]
            terminal.wait_for(lambda row=row: re.search(row, terminal.text))  # type: ignore[misc]
        gate.set()
        assert terminal.wait() == 1
        assert not terminal.is_cursor_hidden
        check_end(terminal, stack.folder)
    assert (stack.folder / "other.iso").stat().st_size == 4 * MB


def check_end(terminal: PseudoTerminal, folder: Path) -> None:
    text = terminal.text
    assert f"other.iso: 4.0 MB → {folder / 'other.iso'}" in terminal.written.decode()
    assert terminal.written.count(b"404") == 1
    assert b"404 Not Found. Check the URL." in terminal.written
    last = terminal.lines[-1]
    assert re.fullmatch(r"2 of 3 files, 8\.0 MB in .* s, on average .*B/s; 1 failed", last)
    # No row is left, and nothing moved the cursor to a place of its own.
    assert "━" not in text
    assert b"\x1b[2J" not in terminal.written
    assert b"\x1b[H" not in terminal.written


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_window_without_colour_or_cursor(
    stack: Seen, origin: Origin, variables: dict[str, str]
) -> None:
    file = origin.serve("/small.bin", size=1000)
    with window(stack, "get", file.url, "--overwrite", **variables) as terminal:
        assert terminal.wait() == 0
        ended = f"small.bin: 1.0 kB → {stack.folder / 'small.bin'}"
        assert ended in terminal.written.decode()  # on the screen a long path is two lines
        assert re.search(rb"1 file, 1\.0 kB in .*, on average .*B/s", terminal.written)
        assert not re.search(rb"\x1b\[[0-9;]*m", terminal.written)
        if variables.get("TERM") == "dumb":
            assert b"\x1b" not in terminal.written


def test_ctrl_c_pauses_at_once_and_a_second_one_leaves(stack: Seen, origin: Origin) -> None:
    gate = threading.Event()
    file = origin.serve("/endless.bin", size=8 * MB, gate=gate, gate_after=2 * MB)
    worker = _stack_pids(stack)["downloads"]
    with window(stack, "get", "--connections", "1", file.url) as terminal:
        terminal.wait_for_text("25.0 %", deadline=60)
        os.kill(worker, signal.SIGSTOP)  # it cannot honor the request to pause
        try:
            pressed = time.monotonic()
            terminal.press("\x03")
            terminal.wait_for_text("pausing …")
            wait_until(lambda: _control(stack, "endless.bin") == "pause", deadline=30)
            # A signal that repeats another one at once counts as the same; a person is slower.
            wait_until(lambda: time.monotonic() - pressed > 0.2)
            terminal.press("\x03")
            assert terminal.wait(deadline=30) == 130
        finally:
            os.kill(worker, signal.SIGCONT)
        assert not terminal.is_cursor_hidden
        assert "left at once: downloads may still run." in terminal.text
    wait_until(lambda: _job(stack, "endless.bin")["status"] == "paused", deadline=30)
    with window(stack, "get", "--connections", "1", file.url) as terminal:
        terminal.wait_for_text("continuing an earlier download", deadline=60)
        terminal.wait_for_text("50.0 %", deadline=60)
        terminal.press("\x03")
        assert terminal.wait() == 130
        assert "1 paused" in terminal.text
        assert "The same command continues where it stopped." in terminal.text
        assert not terminal.is_cursor_hidden


def test_keys_of_watch_change_the_marked_job(stack: Seen, origin: Origin) -> None:
    gate = threading.Event()
    names = ("watched-1.bin", "watched-2.bin")
    files = [origin.serve(f"/{name}", size=8 * MB, gate=gate, gate_after=2 * MB) for name in names]
    stack.good("add", "--connections", "1", *(file.url for file in files))
    with window(stack, "watch") as terminal:
        terminal.wait_for(lambda: all(name in terminal.text for name in names), deadline=60)
        terminal.press("/watched-2\r")
        terminal.wait_for(lambda: not any(names[0] in one for one in terminal.lines))
        terminal.press("\x1b[B")
        terminal.wait_for(lambda: any(one.startswith(f"▸ {names[1]}") for one in terminal.lines))
        terminal.press("p")
        wait_until(lambda: _status(stack, names[1]) == "paused")
        terminal.wait_for_text("paused")
        terminal.press("p")
        wait_until(lambda: _status(stack, names[1]) == "downloading")
        terminal.press("c")
        terminal.wait_for_text("Its downloaded bytes are deleted. (y, n)")
        terminal.press("n")
        terminal.wait_for_text("It is not cancelled.")
        terminal.press("cy")
        wait_until(lambda: _status(stack, names[1]) == "cancelled")
        terminal.press("q")
        assert terminal.wait() == 0
        assert terminal.lines[-1] == "Stopped watching; the downloads go on."
        assert not terminal.is_cursor_hidden
    assert _status(stack, names[0]) == "downloading"
    gate.set()
    wait_until(lambda: _status(stack, names[0]) == "completed")


def _stack_pids(stack: Seen) -> dict[str, int]:
    found = stack.stack()
    assert found is not None
    pids: dict[str, int] = found["pids"]
    return pids


def _control(stack: Seen, name: str) -> str | None:
    """Read the pending request from SQL: a command would take as long as the pause may."""
    control = _column(stack, name, "control")
    return control and str(control)


def _status(stack: Seen, name: str) -> str:
    return str(_column(stack, name, "status"))


def _column(stack: Seen, name: str, column: str) -> Any:
    with closing(sqlite3.connect(stack.data_dir / "seen.db")) as database:
        query = f"SELECT {column} FROM jobs WHERE url LIKE ?"
        return database.execute(query, (f"%{name}",)).fetchone()[0]


def _job(stack: Seen, name: str) -> dict[str, Any]:
    jobs: list[dict[str, Any]] = stack.good("list", "--json").json()
    return next(job for job in jobs if name in job["url"])


def test_first_line_comes_at_once_and_gives_way_to_an_error(stack: Seen) -> None:
    for arguments in (["get"], ["get", "--unknown"], ["watch", "--unknown"]):
        with window(stack, *arguments) as terminal:
            assert terminal.wait() == 2
            assert terminal.written.startswith(b"\r" + first_text(arguments[0]).encode())
            # The line is gone: what is left is the error.
            assert terminal.lines[0].startswith("seen: ")
            assert "…" not in terminal.text


def first_text(command: str) -> str:
    return "using the running workers …" if command == "get" else "reading jobs …"


def test_piped_there_are_plain_lines_only(stack: Seen, origin: Origin) -> None:
    file = origin.serve("/piped.bin", size=1000)
    done = stack.run("get", file.url, origin.url("/missing.bin"))
    out = done.out.splitlines()
    assert out[-2] == f"piped.bin: 1.0 kB → {stack.folder / 'piped.bin'}" or out[-2] in done.out
    assert re.fullmatch(r"1 of 2 files, 1\.0 kB in .*; 1 failed", out[-1])
    assert done.err.count("missing.bin: failed") == 1
    for text in (done.out, done.err):
        assert "\x1b" not in text
        assert "\r" not in text
        assert "workers …" not in text
