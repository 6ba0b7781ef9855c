"""How a command uses the local stack: the running one, or one that it starts on demand.

`supervisor.py` is the process of the stack; `stack_state.py` describes the locks between both.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cli.errors import StackError
from cli.local_stack import command_lines, environment, preload
from cli.local_stack.log_files import last_line, open_log, supervisor_log
from cli.output.messages import say, show_busy
from cli.signals import AnsweredInterrupt
from seen_local import discovery, stack_state
from seen_local.stack_state import StackState

_POLL = 0.005
#: Longer than an earlier stack needs to stop, and a store to start.
_START_TIMEOUT = 60.0
_STOP_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class StackClient:
    """A command's use of a stack."""

    state: StackState
    data_dir: Path
    starter: int | None
    """The write end of the supervisor's pipe, if this command started the stack."""

    @property
    def started(self) -> bool:
        """Whether this command started it: then no other command has jobs in it."""
        return self.starter is not None

    def report_busy(self) -> None:
        """Let the supervisor know that its worker runs a job: the other services may start."""
        if self.starter is not None:
            with suppress(OSError):  # the supervisor has ended
                os.write(self.starter, b".")

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
        state, starter = (running, None) if running else _start(data_dir)
    discovery.configure(settings, state, any_directory=True)
    wait_for_stop = state.on_demand
    try:
        yield StackClient(state, data_dir, starter)
    except KeyboardInterrupt:
        wait_for_stop = False  # the stack stops by itself
        raise
    finally:
        client.release()
        if starter is not None:
            os.close(starter)  # the supervisor looks at once whether the stack has clients
        if wait_for_stop:
            _wait_until_stopped(data_dir, state)


def _start(data_dir: Path) -> tuple[StackState, int]:
    """Start a supervisor; return when its store answers, with the write end of its pipe."""
    log = supervisor_log(data_dir)
    log.parent.mkdir(exist_ok=True, mode=0o700)
    from cli.local_stack.forking import fork

    preload.load(preload.COMMON)
    its_end, starter = os.pipe()
    with open_log(log) as output:
        process = fork(
            partial(_supervise, its_end),
            command_lines.supervisor(),
            title="seen: supervisor",
            output=output.fileno(),
            dies_with_parent=False,  # other commands may use it; it stops without clients
            keep=its_end,
        )
    os.close(its_end)
    preload.load(preload.COMMAND)  # while the stack starts
    end = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < end:
        state = stack_state.running(data_dir)
        if state is not None and state.pid == process.pid:
            return state, starter
        if process.poll() is not None:
            break
        time.sleep(_POLL)
    os.close(starter)
    raise StackError(f"The local stack did not start: {last_line(log)} (log: {log})")


def _supervise(starter: int) -> int:
    from cli.local_stack import supervisor

    supervisor.main(starter)
    return 0


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
