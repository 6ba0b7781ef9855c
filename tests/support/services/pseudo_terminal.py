"""A command on a pseudo-terminal, and what a terminal emulator shows of it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pyte

#: Exit statuses of the shell: the command did not start; and, with the signal added, a signal ended it.
_FAILED, _SIGNALLED = 127, 200


class PseudoTerminal:
    """Runs one command as in a terminal window; the emulator keeps the lines that scrolled away.

    Args:
        command: a program and its arguments; or a function, which a fork of this process calls.
        environment: of a program.
        folder: where it runs.
        columns: the width of the window.
        rows: its height.

    Attributes:
        pid: of the command.
        written: all bytes that the command wrote.
    """

    def __init__(
        self,
        command: Sequence[str] | Callable[[], int],
        *,
        environment: Mapping[str, str] = os.environ,
        folder: Path = Path("/"),
        columns: int = 80,
        rows: int = 24,
    ) -> None:
        self.written = b""
        self.screen = pyte.HistoryScreen(columns, rows, history=10_000)
        self._stream = pyte.ByteStream(self.screen)
        self._status: int | None = None
        read, write = os.pipe()
        self._shell, self._fd = pty.fork()
        if self._shell == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            _run_as_a_shell_does(command, environment, folder, write)
        os.close(write)
        with os.fdopen(read) as pid:
            self.pid = int(pid.readline())

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

    @property
    def has_ended(self) -> bool:
        """Whether the command has ended."""
        return self._reaped() is not None

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

    @property
    def is_stopped(self) -> bool:
        """Whether the command has been suspended (Ctrl-Z)."""
        text = Path(f"/proc/{self.pid}/stat").read_text()
        return text.rpartition(")")[2].split()[0] == "T"

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
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self._shell, 0)
        os.close(self._fd)

    def _reaped(self) -> int | None:
        if self._status is None:
            pid, status = os.waitpid(self._shell, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                self._status = _SIGNALLED - code if code > _SIGNALLED else code
        return self._status

    def _set_size(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def _run_as_a_shell_does(
    command: Sequence[str] | Callable[[], int],
    environment: Mapping[str, str],
    folder: Path,
    pid_pipe: int,
) -> None:
    """Run the command as a job in the foreground, and exit with its status; never returns."""
    try:
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        pid = os.fork()
        if pid:
            os.write(pid_pipe, f"{pid}\n".encode())
        os.close(pid_pipe)
        if pid == 0:
            os.setpgid(0, 0)
            os.tcsetpgrp(0, os.getpid())
            _become(command, environment, folder)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os._exit(_SIGNALLED - code if code < 0 else code)
    finally:
        os._exit(_FAILED)


def _become(
    command: Sequence[str] | Callable[[], int], environment: Mapping[str, str], folder: Path
) -> None:
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        os.chdir(folder)
        if not callable(command):
            os.execve(command[0], list(command), dict(environment))
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        status = command()
        sys.stdout.flush()
        os._exit(status)
    finally:
        os._exit(_FAILED)
