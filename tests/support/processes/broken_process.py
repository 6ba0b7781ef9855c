"""What can be wrong with a process that a person starts; applied to a fork, before its program runs."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

#: A user id without an entry in the user database.
UNKNOWN_USER = 54_321
_DESCRIPTORS = 16
_STREAMS = ("stdin", "stdout", "stderr")
_KEEP_CAPABILITIES, _VERSION_3, _READ_ANYTHING = 8, 0x20080522, 2


def apply(names: Sequence[str]) -> None:
    """Make this process as described by keys of CHANGES."""
    for name in names:
        CHANGES[name]()


def _close(*numbers: int) -> Callable[[], None]:
    def close() -> None:
        for number in numbers:
            os.close(number)
            name = _STREAMS[number]  # Python has None for a stream that is closed at its start
            setattr(sys, name, None)
            setattr(sys, f"__{name}__", None)

    return close


def _redirect(path: str, *numbers: int) -> Callable[[], None]:
    def redirect() -> None:
        opened = os.open(path, os.O_WRONLY)
        for number in numbers:
            os.dup2(opened, number)
        os.close(opened)

    return redirect


def _break_pipe(number: int) -> Callable[[], None]:
    def break_pipe() -> None:
        read, written = os.pipe()
        os.dup2(written, number)
        os.close(written)
        os.close(read)

    return break_pipe


def _be_an_unknown_user() -> None:
    """Change the user, and keep the right to read: Python may be installed in a home folder."""
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_KEEP_CAPABILITIES, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(UNKNOWN_USER, UNKNOWN_USER, UNKNOWN_USER)
    os.setresuid(UNKNOWN_USER, UNKNOWN_USER, UNKNOWN_USER)
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    kept = 1 << _READ_ANYTHING
    data = (ctypes.c_uint32 * 6)(kept, kept, 0, 0, 0, 0)
    if libc.capset(header, data) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def _lose_the_folder() -> None:
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    Path(folder).rmdir()


def _limit_descriptors() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (_DESCRIPTORS, _DESCRIPTORS))


def _stop_at_the_start_of_a_service() -> None:
    """End the program, with status 0, where it would become or start a service."""

    def exec_program(_path: str, command: list[str]) -> None:
        raise SystemExit(0)

    def fork() -> int:
        raise SystemExit(0)

    os.execv = exec_program  # type: ignore[assignment]
    os.fork = fork


def _miss_beat_soon() -> None:
    """Let a worker say that beat is missing after two seconds, where it would after thirty."""
    from worker.celery_ext.beat_monitor import BeatMonitor

    defaults: Any = BeatMonitor.__init__.__kwdefaults__
    defaults.update(max_silence=2.0, interval=0.2)


CHANGES: dict[str, Callable[[], None]] = {
    "stdin closed": _close(0),
    "stdout closed": _close(1),
    "stderr closed": _close(2),
    "all streams closed": _close(0, 1, 2),
    "stdout full": _redirect("/dev/full", 1),
    "stderr full": _redirect("/dev/full", 2),
    "stdout and stderr full": _redirect("/dev/full", 1, 2),
    "stdout without a reader": _break_pipe(1),
    "stderr without a reader": _break_pipe(2),
    "unknown user": _be_an_unknown_user,
    "current folder deleted": _lose_the_folder,
    "few descriptors": _limit_descriptors,
    "services do not start": _stop_at_the_start_of_a_service,
    "beat is missing soon": _miss_beat_soon,
}
