"""Programs that need no time for imports: forks of `tests.support.processes.fork_server`."""

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
from typing import IO, Any

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
    start = _read_at_start(environment)
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


def has_usual_start(environment: Mapping[str, str]) -> bool:
    """Whether Python and the loader start as in this process: then a fork is no other program."""
    return _read_at_start(environment) == _read_at_start({**os.environ, "PYTHONPATH": str(ROOT)})


def start_service(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    log: Path,
    changes: Sequence[str] = (),
) -> subprocess.Popen[bytes]:
    """Start a worker or beat, as the local stack does: ``python -m worker.celery_ext.main ARGUMENT …``.

    Args:
        arguments: of the program.
        environment: one that `has_usual_start`.
        log: to which both outputs are appended.
        changes: to the process, keys of `broken_process.CHANGES`.
    """
    request = {
        "module": None,
        "arguments": list(arguments),
        "environment": dict(environment),
        "changes": list(changes),
        "umask": _umask(),
    }
    status, written = os.pipe()
    try:
        with log.open("ab") as output:
            server = _server(_read_at_start(environment))
            server.send(json.dumps(request).encode(), [output.fileno(), written])
    finally:
        os.close(written)
    return _Service(arguments, os.fdopen(status, "rb", buffering=0))


def _read_at_start(environment: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((k, v) for k, v in environment.items() if k.startswith(_AT_START)))


class _Service(subprocess.Popen[bytes]):
    """A grandchild of the server, with the interface of a child of this process."""

    stdin = stdout = stderr = None

    def __init__(self, arguments: Sequence[str], status: IO[bytes]) -> None:
        self.args = list(arguments)
        self.returncode: Any = None
        self._status = status
        self._mutex = threading.Lock()
        self.pid = int(status.readline())

    def poll(self) -> int | None:
        """See `Popen.poll`."""
        with self._mutex:
            if self.returncode is None and select([self._status], [], [], 0)[0]:
                with self._status:
                    # Without a number the parent of the service was killed, and the service with it.
                    self.returncode = int(self._status.readline() or -signal.SIGKILL)
        code: int | None = self.returncode
        return code

    def wait(self, timeout: float | None = None) -> int:
        """See `Popen.wait`."""
        if self.returncode is None and not select([self._status], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        code = self.poll()
        assert code is not None
        return code


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
