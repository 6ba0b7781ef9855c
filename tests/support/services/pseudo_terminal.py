"""A command on a pseudo-terminal, and what a terminal emulator shows of it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pyte


class PseudoTerminal:
    """Runs one command as in a terminal window; the emulator keeps the lines that scrolled away.

    Attributes:
        written: all bytes that the command wrote.
        first_output_after: seconds from the start to the first byte; None before that.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        columns: int = 80,
        rows: int = 24,
    ) -> None:
        self.written = b""
        self.first_output_after: float | None = None
        self.screen = pyte.HistoryScreen(columns, rows, history=10_000)
        self._stream = pyte.ByteStream(self.screen)
        self._status: int | None = None
        self._started = time.monotonic()
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            _become(command, environment, folder, columns, rows)
        self._set_size(columns, rows)

    # ── what it shows ───────────────────────────────────────────────────────────────────────────

    @property
    def lines(self) -> list[str]:
        """The lines on the screen, without empty ones at the end."""
        shown = [one.rstrip() for one in self.screen.display]
        while shown and not shown[-1]:
            shown.pop()
        return shown

    @property
    def scrolled(self) -> list[str]:
        """The lines that have scrolled away at the top."""
        columns = range(self.screen.columns)
        return ["".join(row[x].data for x in columns).rstrip() for row in self.screen.history.top]

    @property
    def text(self) -> str:
        """All lines, as a person sees who scrolls back."""
        return "\n".join(self.scrolled + self.lines)

    @property
    def is_cursor_hidden(self) -> bool:
        """Whether the terminal shows no cursor."""
        return bool(self.screen.cursor.hidden)

    # ── what a person does ──────────────────────────────────────────────────────────────────────

    def press(self, keys: str) -> None:
        """Press keys: ``\\x03`` is Ctrl-C."""
        os.write(self._fd, keys.encode())

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the window."""
        self.read(0.0)
        self.screen.resize(rows, columns)
        self._set_size(columns, rows)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the command."""
        os.kill(self.pid, number)

    def wait_for(self, condition: Callable[[], object], *, deadline: float = 30.0) -> None:
        """Feed the screen until `condition` holds."""
        end = time.monotonic() + deadline
        while not condition():
            assert time.monotonic() < end, f"not within {deadline:g} s; the screen:\n{self.text}"
            self.read(0.05)

    def wait_for_text(self, text: str, *, deadline: float = 30.0) -> None:
        """Feed the screen until it shows `text`."""
        self.wait_for(lambda: text in self.text, deadline=deadline)

    def wait(self, *, deadline: float = 60.0) -> int:
        """Wait for the end of the command; return its exit status, or minus the signal that ended it."""
        self.wait_for(lambda: self._reaped() is not None, deadline=deadline)
        while self.read(0.0):
            pass
        assert self._status is not None
        return self._status

    def read(self, timeout: float) -> bool:
        """Feed the screen with what arrives within `timeout` seconds; return whether something did."""
        if not select.select([self._fd], [], [], timeout)[0]:
            return False
        try:
            data = os.read(self._fd, 65_536)
        except OSError:  # the command has closed its terminal
            return False
        if data and self.first_output_after is None:
            self.first_output_after = time.monotonic() - self._started
        self.written += data
        self._stream.feed(data)
        return bool(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._reaped() is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._fd)

    def _reaped(self) -> int | None:
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def _set_size(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def _become(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, columns: int, rows: int
) -> None:
    """Replace the forked child by the command; never returns."""
    try:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        os.chdir(folder)
        os.execve(command[0], list(command), dict(environment))
    finally:
        os._exit(127)
