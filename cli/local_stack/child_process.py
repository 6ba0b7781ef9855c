"""A child process of the local stack: started, restarted when it exits, stopped."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from cli.local_stack import command_lines
from cli.local_stack.forking import ForkedProcess, fork
from cli.local_stack.log_files import open_log
from domain.backoff import Backoff

_BACKOFF = Backoff(first=0.5, longest=30.0)
#: A process that ran for this long restarts with the first back-off again. Seconds.
_HEALTHY_AFTER = 60.0


class Child:
    """One process of the stack. It has its own session, so that Ctrl-C reaches only the supervisor.

    Args:
        name: of the process, in `stack.json`.
        command: its command line. A program of Celery's is forked from this process, without a start of
            Python; any other one is executed.
        log: to which its output is appended.
    """

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name = name
        self.log = log
        self._command = list(command)
        self._process: ForkedProcess | None = None
        self._started_at = 0.0
        self._restart_at: float | None = None
        self._failures = 0

    @property
    def pid(self) -> int | None:
        """The process id; None while it does not run."""
        return self._process.pid if self.is_running() and self._process else None

    def is_running(self) -> bool:
        """Return whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process; its output is appended to its log."""
        with open_log(self.log) as output:
            self._process = fork(
                _program(self._command),
                self._command,
                title=f"seen: {self.name}",
                output=output.fileno(),
                dies_with_parent=True,
            )
        self._started_at = time.monotonic()
        self._restart_at = None

    def restart_if_exited(self) -> str | None:
        """Restart an exited process after a back-off; return a line for the log when it has exited."""
        if self._process is None or self.is_running():
            return None
        now = time.monotonic()
        if self._restart_at is None:
            if now - self._started_at > _HEALTHY_AFTER:
                self._failures = 0
            self._failures += 1
            pause = _BACKOFF.delay(self._failures)
            self._restart_at = now + pause
            exit_text = _exit_text(self._process.returncode or 0)
            return f"{self.name} exited ({exit_text}); restarting in {pause:g} s (log: {self.log})"
        if now >= self._restart_at:
            self.start()
        return None

    def terminate(self) -> None:
        """Send SIGTERM."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)

    def wait(self, grace: float) -> None:
        """Wait until the process exits; kill it after `grace` seconds."""
        if self._process is None:
            return
        if not self._process.wait(grace):
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(float("inf"))


def _program(command: list[str]) -> Callable[[], int]:
    arguments = command_lines.arguments_of_program(command)
    if arguments is None:
        return partial(_execute, command)
    from worker.celery_ext.main import run

    return partial(run, arguments)


def _execute(command: list[str]) -> int:
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


def _exit_text(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"status {code}"
