"""Server processes of the tests: start, wait until ready, stop by pid, never outlive the tests."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

GUARD = Path(__file__).with_name("guard.py")
PORT_ATTEMPTS = 5
LOG_TAIL = 4000  # characters of a server's output shown in an error

Process = subprocess.Popen[bytes]


class ServerError(RuntimeError):
    """A test server did not start; the message ends with what the server printed."""


def free_port() -> int:
    """Return a TCP port on 127.0.0.1 without a listener.

    It lies below the range the kernel gives to outgoing connections. A client that keeps
    dialling a stopped server inside that range can be handed the server's own port, connect to
    itself and so keep the server from coming back.
    Raises `ServerError` when no free port was found.
    """
    for _ in range(200):
        port = random.SystemRandom().randrange(15000, _first_outgoing_port())
        with socket.socket() as probe:
            # Servers set this too; without it a port in TIME_WAIT would look taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServerError("no free port on 127.0.0.1")


def on_a_port(known: int, launch: Callable[[int], None]) -> None:
    """Call `launch` with the `known` port, or with new free ones when that is 0.

    A port just found free can be taken before the server binds it, so a new one is tried a few
    times. The last `ServerError` of `launch` comes through.
    """
    for attempts_left in reversed(range(1 if known else PORT_ATTEMPTS)):
        try:
            launch(known or free_port())
            return
        except ServerError:
            if not attempts_left:
                raise


def _first_outgoing_port() -> int:
    """The start of the kernel's range for outgoing connections."""
    try:
        text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text()
    except OSError:
        return 32768
    return max(16000, int(text.split()[0]))


def spawn(
    command: Sequence[str | os.PathLike[str]],
    *,
    log: Path,
    user: tuple[int, int] | None = None,
    death_signal: int = signal.SIGKILL,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Process:
    """Start `command` with both outputs appended to `log`, in the log's folder or in `cwd`.

    `user` is a (uid, gid) to switch to (root only). On Linux the kernel sends `death_signal` to
    the child when this process ends, however it ends. The program's path must be absolute.
    """
    owner = f"{user[0]}:{user[1]}" if user else "-"
    guard = [sys.executable, "-I", "-S", str(GUARD), str(os.getpid()), str(int(death_signal))]
    arguments = [*guard, owner, *(os.fspath(part) for part in command)]
    # The kernel means the *thread* that forked when it says parent. One thread that lives as
    # long as the process starts every child, so a test may restart a server from any thread.
    return _spawner.submit(_popen, arguments, log, env, cwd or log.parent).result()


def _popen(arguments: list[str], log: Path, env: Mapping[str, str] | None, cwd: Path) -> Process:
    with log.open("ab") as output:
        return subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=None if env is None else dict(env),
            start_new_session=True,  # Ctrl-C is for pytest; fixtures stop the servers
        )


def _new_spawner() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="test-spawner")


_spawner = _new_spawner()


def _renew_spawner() -> None:
    """A forked child has no spawner thread: give it its own."""
    global _spawner
    _spawner = _new_spawner()


os.register_at_fork(after_in_child=_renew_spawner)


def wait_ready(
    process: Process, log: Path, ready: Callable[[], bool], *, deadline: float = 20.0
) -> None:
    """Poll `ready` until it is true; `deadline` in seconds.

    Raises `ServerError` with the server's output when it ends first or takes too long.
    """
    end = time.monotonic() + deadline
    while not ready() or process.poll() is not None:
        code = process.poll()
        if code is not None:
            raise ServerError(f"the server ended with {code}:\n{tail(log)}")
        if time.monotonic() > end:
            raise ServerError(f"the server was not ready within {deadline:g} s:\n{tail(log)}")
        time.sleep(0.01)


def tail(log: Path) -> str:
    """The last `LOG_TAIL` characters of a log file, or a note that there are none."""
    try:
        return log.read_text(errors="replace")[-LOG_TAIL:] or "(it printed nothing)"
    except OSError as error:
        return f"(no output: {error})"


def end_process(
    process: Process, *, how: signal.Signals = signal.SIGTERM, grace: float = 10.0
) -> None:
    """Send `how`, wait `grace` seconds, then SIGKILL; returns once the process is gone."""
    if process.poll() is None:
        process.send_signal(how)
        process.send_signal(signal.SIGCONT)  # a paused process cannot act on a signal
    try:
        process.wait(grace)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
