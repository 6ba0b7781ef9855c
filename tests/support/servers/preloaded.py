"""Short programs that need no time for imports: forks of `tests.support.processes.fork_server`."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from select import select
from subprocess import CompletedProcess
from typing import IO

ROOT = Path(__file__).parents[3]
#: Variables that Python, libc or the loader read once, when a process starts.
_AT_START = ("LD_", "PYTHON", "LC_", "LANG", "TZ", "MALLOC_")


def run_module(
    module: str,
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: Path,
    timeout: float,
    changes: Sequence[str] = (),
    interrupt_at_output: bool = False,
) -> CompletedProcess[str]:
    """Run ``python -m MODULE ARGUMENT …`` to its end, like `subprocess.run`, with no standard input.

    Args:
        changes: to the process, keys of `broken_process.CHANGES`.
        interrupt_at_output: send SIGINT when it has printed something.
        timeout: in seconds; the program is then killed.

    Raises `subprocess.TimeoutExpired`.
    """
    start = tuple(sorted((k, v) for k, v in environment.items() if k.startswith(_AT_START)))
    request = {
        "module": module,
        "arguments": list(arguments),
        "environment": dict(environment),
        "folder": str(folder),
        "umask": _umask(),
        "changes": list(changes),
    }
    with _Running(_server(start), request, interrupt_at_output=interrupt_at_output) as running:
        return running.result([module, *arguments], timeout)


class _Server:
    """One server process; it ends when this process does."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._control, its_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        with its_end:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.support.processes.fork_server"),
                    str(its_end.fileno()),
                ],
                env={**os.environ, **variables, "PYTHONPATH": str(ROOT)},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[its_end.fileno()],
            )

    def send(self, message: bytes, descriptors: Sequence[int]) -> None:
        socket.send_fds(self._control, [message], descriptors)


@cache
def _server(start: tuple[tuple[str, str], ...]) -> _Server:
    return _Server(dict(start))


class _Running:
    """A program on its way; both outputs are read while it runs."""

    def __init__(
        self, server: _Server, request: Mapping[str, object], *, interrupt_at_output: bool
    ) -> None:
        pipes = [os.pipe() for _ in range(3)]
        try:
            server.send(json.dumps(request).encode(), [written for _, written in pipes])
        finally:
            for _, written in pipes:
                os.close(written)
        self._files: list[IO[str]] = [os.fdopen(read, encoding="utf-8") for read, _ in pipes]
        self._outputs = ["", ""]
        self._printed_or_ended = threading.Event()
        self._interrupt_at_output = interrupt_at_output
        self._readers = [threading.Thread(target=self._read, args=(n,)) for n in range(2)]
        for reader in self._readers:
            reader.start()

    def result(self, command: list[str], timeout: float) -> CompletedProcess[str]:
        """Wait for the end of the program, and for all that it has printed."""
        status = self._files[2]
        pid = int(status.readline())
        if self._interrupt_at_output:
            self._interrupt(pid, timeout)
        if not select([status], [], [], timeout)[0]:
            os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(command, timeout)
        code = int(status.readline())
        for reader in self._readers:
            reader.join(timeout)
            if reader.is_alive():  # a process that it left behind holds its output open
                raise subprocess.TimeoutExpired(command, timeout)
        return CompletedProcess(command, code, *self._outputs)

    def _interrupt(self, pid: int, timeout: float) -> None:
        """Send SIGINT when the program has printed some output; do nothing when it ends before."""
        self._printed_or_ended.wait(timeout)
        if self._outputs[0]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)

    def _read(self, number: int) -> None:
        self._outputs[number] = self._files[number].read(1)
        if number == 0:
            self._printed_or_ended.set()
        self._outputs[number] += self._files[number].read()

    def __enter__(self) -> _Running:
        return self

    def __exit__(self, *_: object) -> None:
        for reader in self._readers:
            reader.join(1)
        self._files[2].close()
        for file, reader in zip(self._files, self._readers, strict=False):
            if not reader.is_alive():
                file.close()


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
