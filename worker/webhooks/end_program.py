"""The program of SEEN_ON_END: started for the end of a job, without a shell, and with few variables."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from domain.text import escaped

#: A program that still runs after so many seconds is killed, with what it has started.
TIME_LIMIT = 60.0
#: Bytes of its output that the log gets.
MAX_OUTPUT = 2_000
_READ, _READS = 65_536, 16
#: The variables of this process that it gets, beside its own.
_PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramResult:
    """How a program has ended.

    Attributes:
        status: its exit status; negative for a signal; None if it did not start.
        error: a sentence; None for the exit status 0.
        output: the end of what it has printed, on one line.
        seconds: how long it ran.
    """

    status: int | None
    error: str | None
    output: str
    seconds: float


class EndProgram:
    """One run of the program, in a process group of its own."""

    def __init__(
        self, program: Path, variables: Mapping[str, str], *, time_limit: float = TIME_LIMIT
    ) -> None:
        self._program, self._time_limit = program, time_limit
        self._started = time.monotonic()
        self._output = b""
        self._pipe, writing_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(writing_end, True)
        self._failure: str | None = None
        self._process: subprocess.Popen[bytes] | None = None
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        try:
            self._process = subprocess.Popen(
                [str(program)],
                env={**environment, **variables},
                stdin=subprocess.DEVNULL,
                stdout=writing_end,
                stderr=subprocess.STDOUT,
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            self._failure = error.strerror or str(error)
        except ValueError as error:  # a variable that no environment can hold, as one with NUL
            self._failure = str(error)
        finally:
            os.close(writing_end)

    def poll(self) -> ProgramResult | None:
        """Return the result; None while it runs. Kills it after its time."""
        if self._process is None:
            return self._result(None, f"{self._program} cannot be started: {self._failure}.")
        status = self._process.poll()  # before reading: what it has printed by then is there
        self._read()
        if status is not None:
            return self._result(status, _meaning(status))
        if time.monotonic() - self._started < self._time_limit:
            return None
        self._kill()
        return self._result(
            self._process.wait(), f"It ran for more than {self._time_limit:g} s, and was killed."
        )

    def close(self) -> None:
        """Kill it if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._kill()
            self._process.wait()
        self._close_pipe()

    def _read(self) -> None:
        """Keep the end of what it has printed. Each call reads a part, so that no output holds it up."""
        with suppress(BlockingIOError):
            for _ in range(_READS):
                data = os.read(self._pipe, _READ)
                if not data:
                    break
                self._output = (self._output + data)[-MAX_OUTPUT:]

    def _close_pipe(self) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1

    def _kill(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _result(self, status: int | None, error: str | None) -> ProgramResult:
        self._close_pipe()
        text = self._output.decode(errors="replace").strip()
        return ProgramResult(
            status=status,
            error=error,
            output=escaped(text, MAX_OUTPUT),
            seconds=time.monotonic() - self._started,
        )


def _meaning(status: int) -> str | None:
    if status == 0:
        return None
    if status < 0:
        return f"It was ended by signal {-status}."
    return f"It ended with exit status {status}."
