"""A child process of the local stack: started, restarted when it exits, stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from cli.local_stack.environment import ROOT
from cli.local_stack.log_files import open_log
from domain.backoff import Backoff

_DIE_WITH_PARENT = Path(__file__).with_name("die_with_parent.py")
_BACKOFF = Backoff(first=0.5, longest=30.0)
#: A process that ran for this long restarts with the first back-off again. Seconds.
_HEALTHY_AFTER = 60.0


class Child:
    """One process of the stack. It has its own session, so that Ctrl-C reaches only the supervisor."""

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name = name
        self.log = log
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None
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
        command = [
            sys.executable,
            "-I",
            "-S",
            str(_DIE_WITH_PARENT),
            str(os.getpid()),
            *self._command,
        ]
        with open_log(self.log) as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                start_new_session=True,
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
            exit_text = _exit_text(self._process.returncode)
            return f"{self.name} exited ({exit_text}); restarting in {pause:g} s (log: {self.log})"
        if now >= self._restart_at:
            self.start()
        return None

    def terminate(self) -> None:
        """Send SIGTERM."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def wait(self, grace: float) -> None:
        """Wait until the process exits; kill it after `grace` seconds."""
        if self._process is None:
            return
        try:
            self._process.wait(grace)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _exit_text(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"status {code}"
