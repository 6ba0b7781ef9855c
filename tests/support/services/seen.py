"""The `seen` command as a person uses it, with a folder and settings of the test's own."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cli.local_stack import embedded_store
from tests.support.servers.preloaded import run_module
from tests.support.servers.process import Process, end_process, spawn
from tests.support.wait import wait_until

ROOT = Path(__file__).parents[3]

#: Becomes another program with signals ignored, as `nohup` does: NUMBER,… PROGRAM ARGUMENT …
_IGNORE = """
import os, signal, sys
for number in sys.argv[1].split(","):
    signal.signal(int(number), signal.SIG_IGN)
os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True)
class Result:
    """How one command ended."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        """Return what it printed, read as JSON."""
        return json.loads(self.out)

    def error_line(self) -> str:
        """Return the one line it complained with; fails when there are none or several."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("seen: "), self.err
        return lines[0]


class Seen:
    """A person with a current folder, a data folder that does not exist yet, and settings.

    Args:
        folder: for both.
        settings: SEEN_ variables.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder / "home"
        self.data_dir = folder / "data"
        self.folder.mkdir()
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("SEEN_")},
            "PYTHONPATH": str(ROOT),
            "SEEN_DATA_DIR": str(self.data_dir),
            **settings,
        }
        self._log = folder / "commands.log"
        self._started: list[Process] = []

    def run(
        self,
        *arguments: str,
        timeout: float = 90,
        changes: Sequence[str] = (),
        interrupt_at_output: bool = False,
    ) -> Result:
        """Run a command to its end, in a process with `changes` (keys of `broken_process.CHANGES`)."""
        done = run_module(
            "cli",
            arguments,
            environment=self.environment,
            folder=self.folder,
            timeout=timeout,
            changes=changes,
            interrupt_at_output=interrupt_at_output,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def good(self, *arguments: str) -> Result:
        """Run a command that has to succeed."""
        result = self.run(*arguments)
        assert result.status == 0, f"{arguments}: {result}"
        return result

    def start(self, *arguments: str, ignoring: Sequence[int] = ()) -> Process:
        """Start a command, with some signals ignored; what it prints is in `printed`."""
        return self.start_module("cli", *arguments, ignoring=ignoring)

    def start_module(self, module: str, *arguments: str, ignoring: Sequence[int] = ()) -> Process:
        """Start ``python -m MODULE ARGUMENT …``, as `start` does with a command."""
        command = [sys.executable, "-m", module, *arguments]
        if ignoring:
            numbers = ",".join(str(int(number)) for number in ignoring)
            command = [sys.executable, "-c", _IGNORE, numbers, *command]
        process = spawn(command, log=self._log, env=self.environment, cwd=self.folder)
        self._started.append(process)
        return process

    @property
    def printed(self) -> str:
        """What started commands have printed so far."""
        return self._log.read_text()

    # ── the local stack ─────────────────────────────────────────────────────────────────────────

    def stack(self) -> dict[str, Any] | None:
        """Return what stack.json says, or None without one."""
        try:
            found: dict[str, Any] = json.loads((self.data_dir / "stack.json").read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None
        return found

    def wait_for_stack(self, *names: str) -> dict[str, Any]:
        """Wait until the stack runs with these processes, and return it."""

        def there() -> dict[str, Any] | None:
            stack = self.stack()
            return stack if stack and set(names) <= stack["pids"].keys() else None

        stack = wait_until(there, deadline=30, what=f"the stack runs {names}")
        assert stack is not None
        return stack

    def close(self) -> None:
        """Kill what was started, and a stack that was left."""
        # Other tests check how they end on a signal.
        for process in self._started:
            end_process(process, how=signal.SIGKILL)
        stack = self.stack()
        if stack is None:
            return
        pids = (stack["pid"], *stack["pids"].values())
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not any(map(is_alive, pids)), what="the stack has ended")
        embedded_store.remove_folder(stack["cache_addr"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def is_alive(pid: int) -> bool:
    """Say whether a process runs; one that has ended and was not reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def command(arguments: tuple[str, ...]) -> list[str]:
    return [sys.executable, "-m", "cli", *arguments]
