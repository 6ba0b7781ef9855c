"""The processes of the local stack: started under a guard, started again when they fall, stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from cli.local_stack.environment import ROOT
from domain.backoff import Backoff
from worker.storage.own_files import open_own_file

_GUARD = Path(__file__).with_name("die_with_parent.py")
MAX_LOG_BYTES = 10_000_000
_BACKOFF = Backoff(first=0.5, longest=30.0)
#: A process that lived this long has not failed at its start: its next pause is the first one again.
_HEALTHY_AFTER = 60.0


class Child:
    """One process of the stack, in a session of its own: Ctrl-C is for the supervisor."""

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name = name
        self.log = log
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._again_at: float | None = None
        self._failures = 0

    @property
    def pid(self) -> int | None:
        """Its process id, or None while it does not run."""
        return self._process.pid if self.is_running() and self._process else None

    def is_running(self) -> bool:
        """Say whether it is there."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, its output appended to its log."""
        guarded = [sys.executable, "-I", "-S", str(_GUARD), str(os.getpid()), *self._command]
        with open_log(self.log) as output:
            self._process = subprocess.Popen(
                guarded,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                start_new_session=True,
            )
        self._started_at = time.monotonic()
        self._again_at = None

    def restart_if_exited(self) -> str | None:
        """Start it again when it fell and its pause is over; return what is to be event, if anything."""
        if self._process is None or self.is_running():
            return None
        now = time.monotonic()
        if self._again_at is None:
            if now - self._started_at > _HEALTHY_AFTER:
                self._failures = 0
            self._failures += 1
            pause = _BACKOFF.delay(self._failures)
            self._again_at = now + pause
            end = f"{self.name} ended ({_exit_text(self._process.returncode)})"
            return f"{end}; it starts again in {pause:g} s. Its log: {self.log}"
        if now >= self._again_at:
            self.start()
        return None

    def terminate(self) -> None:
        """Ask it to end."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def wait(self, grace: float) -> None:
        """Wait for its end, and end it after `grace` seconds."""
        if self._process is None:
            return
        try:
            self._process.wait(grace)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def last_line(log: Path) -> str:
    """Return the last thing a process said, or a note that it said nothing."""
    try:
        lines = log.read_text(errors="replace").split("\n")
    except OSError:
        lines = []
    return next((line.strip() for line in reversed(lines) if line.strip()), "(it said nothing)")


def open_log(path: Path) -> BinaryIO:
    """Open a log to append to it, for its owner alone; one that has grown too large is begun anew."""
    fd = open_own_file(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    if os.fstat(fd).st_size > MAX_LOG_BYTES:
        os.ftruncate(fd, 0)
    return os.fdopen(fd, "ab")


def _exit_text(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"status {code}"
