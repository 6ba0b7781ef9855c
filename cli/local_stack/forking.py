"""Forks the processes of the local stack from one process, which has loaded their modules.

A Python process takes most of a second to load them; a fork shares what is loaded. The parent has one
thread and no connection to the store, the database or an origin: a fork would have copies of them.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from cli.local_stack import process_title
from cli.local_stack.environment import ROOT
from domain.errors import OutputError
from worker.process import standard_streams, stop_signals

_PR_SET_PDEATHSIG = 1
#: Seconds between two looks at a process for whose end the parent waits.
_POLL = 0.005
#: Of Python's garbage collector; a command sets others.
_DEFAULT_THRESHOLDS = (700, 10, 10)
_EVERY_SIGNAL = signal.valid_signals()


class ForkedProcess:
    """A child of this process, by its id."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        #: Its exit status; below zero the number of the signal that ended it. None while it runs.
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return `returncode` as it is now."""
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # this process ignores SIGCHLD, so the kernel keeps no status
                self.returncode = 0
            else:
                self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended; return False when it still runs after so many seconds."""
        end = time.monotonic() + seconds
        while self.poll() is None:
            if time.monotonic() >= end:
                return False
            time.sleep(_POLL)
        return True

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


def fork(
    run: Callable[[], int],
    command: Sequence[str],
    *,
    title: str,
    output: int,
    dies_with_parent: bool,
    keep: int | None = None,
) -> ForkedProcess:
    """Start a child in a session of its own, with no standard input, in the folder of the program.

    Args:
        run: what it does; returns its exit status. It may execute another program.
        command: the command line of a process that does the same; the child has it in `sys.argv`.
        title: what `ps` shows.
        output: a descriptor for its standard output and standard error.
        dies_with_parent: the kernel kills it when this process ends (on Linux), and SIGTERM stops it.
        keep: a descriptor that the child needs; it has no other one of this process.
    """
    _refuse_threads_and_flush()
    parent = os.getpid()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _EVERY_SIGNAL)

    def become_and_run() -> int:
        if dies_with_parent:
            _die_with(parent)
        _replace_descriptors(output, keep)
        _become(command, title)
        stop_signals.forget_handlers(terminable=dies_with_parent)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return run()

    try:
        pid = os.fork()
        if pid == 0:
            _end(become_and_run)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return ForkedProcess(pid)


def _refuse_threads_and_flush() -> None:
    if threading.active_count() > 1:
        raise RuntimeError(f"this process has threads: {threading.enumerate()}")
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError, OutputError):
            stream.flush()  # else both processes would write what is buffered


def _become(command: Sequence[str], title: str) -> None:
    """Leave behind what the parent's own command line and output have set up."""
    os.setsid()
    os.chdir(ROOT)
    sys.orig_argv = list(command)
    if "-m" in command:
        sys.argv = ["-m", *command[command.index("-m") + 2 :]]
    gc.set_threshold(*_DEFAULT_THRESHOLDS)
    process_title.show(title)
    logging.getLogger().handlers.clear()
    standard_streams.prepare_service()


def _die_with(parent: int) -> None:
    """Let the kernel kill this process when its parent ends; only Linux can do this."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        sys.exit("the supervisor ended before its child started")


def _replace_descriptors(output: int, keep: int | None) -> None:
    """Use `output` for both outputs, and close all else that the parent has open."""
    null = os.open(os.devnull, os.O_RDONLY)
    for descriptor, number in ((null, 0), (output, 1), (output, 2)):
        os.dup2(descriptor, number)
    # Only those that are open: the highest possible one may be a billion.
    for number in [int(path.name) for path in Path("/dev/fd").iterdir()]:
        if number > 2 and number != keep:
            with suppress(OSError):  # the descriptor of the folder itself
                os.close(number)


def _end(program: Callable[[], int]) -> NoReturn:
    """Run a program in this child, and exit with its status.

    The interpreter is not finalized: freeing each object of the loaded modules takes 0.2 s.
    """
    status = 1
    try:
        status = program()
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            sys.stderr.write(f"{error.code}\n")
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            threading._shutdown()  # type: ignore[attr-defined] # waits for threads, as an exit does
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)
