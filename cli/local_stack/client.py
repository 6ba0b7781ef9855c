"""How a command uses the local stack: the running one, or one that it starts on demand.

`supervisor.py` is the process of the stack; `stack_state.py` describes the locks between both.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cli.errors import StackError
from cli.local_stack import environment
from cli.local_stack.log_files import last_line, open_log, supervisor_log
from cli.output.messages import say, show_busy
from cli.signals import AnsweredInterrupt
from seen_local import discovery, stack_state
from seen_local.stack_state import StackState
from worker.utf8_mode import UTF8

_POLL = 0.02
#: Longer than an earlier stack needs to stop, and a store to start.
_START_TIMEOUT = 60.0
_STOP_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class StackClient:
    """A command's use of a stack."""

    state: StackState
    started: bool
    """Whether this command started it: then no other command has jobs in it."""
    data_dir: Path

    @property
    def is_alive(self) -> bool:
        """Whether the stack still runs."""
        state = stack_state.running(self.data_dir)
        return state is not None and state.pid == self.state.pid


def use_running_stack(*, any_directory: bool = False) -> None:
    """Make this process use the running local stack, unless a store is configured; say so on a terminal.

    Args:
        any_directory: as in `configure_for_local_stack`.

    Raises:
        OtherVersionError: the stack is of another version.
    """
    state = discovery.use_running_stack(any_directory=any_directory)
    if state is not None and sys.stderr.isatty():
        say(f"using {discovery.describe(state)}")


@contextmanager
def join_stack() -> Iterator[StackClient]:
    """Use the running stack or start one; at the end wait for its stop, if this was its last client.

    Raises:
        OtherVersionError: the running stack is of another version.
        StackError: it did not start.
    """
    settings = environment.resolve_paths()
    environment.refuse_shared_database(settings)
    data_dir = environment.make_data_dir(settings)
    client = stack_state.clients_lock(data_dir)
    with stack_state.start_lock(data_dir):
        client.acquire(shared=True, timeout=_START_TIMEOUT)
        running = stack_state.running(data_dir)
        if running is not None:
            discovery.refuse_other_version(running)
        state = running or _start(data_dir)
    discovery.configure(settings, state, any_directory=True)
    wait_for_stop = state.on_demand
    try:
        yield StackClient(state, running is None, data_dir)
    except KeyboardInterrupt:
        wait_for_stop = False  # the stack stops by itself
        raise
    finally:
        client.release()
        if wait_for_stop:
            _wait_until_stopped(data_dir, state)


def _start(data_dir: Path) -> StackState:
    """Start a supervisor; return when its store answers."""
    log = supervisor_log(data_dir)
    log.parent.mkdir(exist_ok=True, mode=0o700)
    with open_log(log) as output:
        process = subprocess.Popen(
            [sys.executable, *UTF8, "-P", "-m", "cli.local_stack.supervisor"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=environment.ROOT,
            start_new_session=True,  # Ctrl-C is for the command; the stack stops without clients
        )
    # Import what the command needs next while the stack starts.
    importlib.import_module("tasks")
    end = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < end:
        state = stack_state.running(data_dir)
        if state is not None and state.pid == process.pid:
            return state
        if process.poll() is not None:
            break
        time.sleep(_POLL)
    raise StackError(f"The local stack did not start: {last_line(log)} (log: {log})")


def _wait_until_stopped(data_dir: Path, state: StackState) -> None:
    """Wait until the stack has stopped; return at once while other commands use it.

    Raises:
        AnsweredInterrupt: Ctrl-C has ended the waiting.
    """
    try:
        _poll_until_stopped(data_dir, state)
    except KeyboardInterrupt:
        say("interrupted. No download runs any more; the workers stop by themselves.")
        raise AnsweredInterrupt from None


def _poll_until_stopped(data_dir: Path, state: StackState) -> None:
    show_busy("stopping workers …")
    end = time.monotonic() + _STOP_TIMEOUT
    while time.monotonic() < end and stack_state.supervisor_is_running(data_dir):
        now = stack_state.read_state(data_dir)
        if now is not None and (now.pid != state.pid or _has_clients(data_dir)):
            return
        time.sleep(_POLL)


def _has_clients(data_dir: Path) -> bool:
    """Return whether other commands use the stack; False while the supervisor checks that itself."""
    starting, clients = stack_state.start_lock(data_dir), stack_state.clients_lock(data_dir)
    if not starting.acquire():
        return False
    try:
        return not clients.acquire()
    finally:
        clients.release()
        starting.release()
