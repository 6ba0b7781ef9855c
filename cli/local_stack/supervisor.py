"""Runs the local stack: store, workers, beat and, if wanted, Flower and the HTTP API.

`seen up` runs it in the foreground until a signal stops it. The first `seen get` forks it as a process
of its own, which stops when no command uses it. Workers and beat are forked from the supervisor, which
has loaded their modules, starts no thread, and keeps no connection. The kernel kills its children when
it ends.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cli.errors import StackError, exit_status, report
from cli.local_stack import command_lines, embedded_store, environment, preload
from cli.local_stack.child_process import Child
from cli.local_stack.log_files import LogRotation, last_line, supervisor_log, with_time
from domain.errors import SeenError
from seen_local import discovery, stack_state
from seen_local.late_settings import settings_module
from seen_local.stack_settings import sqlite_url
from seen_local.stack_state import StackState
from seen_local.version import version
from worker import utf8_mode
from worker.logs import setup
from worker.process import standard_streams, stop_signals

if TYPE_CHECKING:
    from settings import Settings

_TICK = 0.1
_STORE_START_TIMEOUT = 15.0
#: Seconds until SIGKILL for a process that has nothing to finish.
_QUICK_GRACE = 5.0
#: The API ends requests that run.
_API_GRACE = 12.0
#: A stack on demand starts maintenance and beat later, so that the download starts sooner: after so many
#: seconds, when the worker runs a job; at the latest after so many; at once when a process has exited.
_START_REST_AFTER, _START_REST_AT_LATEST = 1.5, 5.0


class Supervisor:
    """One local stack: `start`, then `run`, then `stop`.

    Args:
        settings: of this process, with absolute paths.
        on_demand: whether it stops when no command uses it.
        log: is called with a line, and the name of its event, for each process that exits.
        flower_url: the address of Flower; "" for no Flower.
        api_url: the address of the HTTP API; "" for none.
        starter: the read end of a pipe from the command that started a stack on demand: a byte in it
            reports that the worker runs a job, its end that the command uses the stack no more.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        on_demand: bool,
        log: Callable[[str, str], None],
        flower_url: str = "",
        api_url: str = "",
        starter: int | None = None,
    ) -> None:
        self._settings = settings
        self._on_demand = on_demand
        self._log = log
        self._flower_url = flower_url
        self._api_url = api_url
        self._data_dir = environment.make_data_dir(settings)
        self._logs = self._data_dir / "logs"
        self._logs.mkdir(exist_ok=True, mode=0o700)
        self._lock = stack_state.stack_lock(self._data_dir)
        self._log_rotation = LogRotation()
        self._children: list[Child] = []
        self._state: StackState | None = None
        self._starter = starter
        self._start_rest_at: float | None = None
        self._stop_requested = False

    @property
    def _drain_grace(self) -> float:
        """Seconds until SIGKILL for a worker: longer than its drain."""
        return self._settings.drain_timeout + _QUICK_GRACE

    # ── starting ────────────────────────────────────────────────────────────────────────────────

    def start(self) -> StackState:
        """Start the store and the download worker.

        The caller holds `start.lock`, or the process that started this one does.

        Raises:
            StackError: another stack does not stop, or the store does not start.
        """
        stop_signals.handle(self._request_stop)
        # An earlier stack may need this long to stop: its processes stop in three groups.
        if not self._lock.acquire(timeout=self._drain_grace + 3 * _QUICK_GRACE):
            raise StackError(f"Another local stack holds {self._lock.path} and does not stop.")
        self._remove_stale_state()
        self._started_at = datetime.now(UTC)
        self._start_store()
        if not self._on_demand:
            self._recover()
        self._started = time.monotonic()
        self._start_rest_at = self._started + (_START_REST_AT_LATEST if self._on_demand else 0.0)
        self._start_child(
            "downloads", command_lines.worker(self._settings, command_lines.DOWNLOADS)
        )
        return self._write_state()

    def _remove_stale_state(self) -> None:
        """Remove the files of a stack that was killed."""
        left = stack_state.read_state(self._data_dir)
        if left is not None:
            embedded_store.remove_folder(left.cache_addr)
            stack_state.remove(self._data_dir)

    def _start_store(self) -> None:
        embedded_store.check_descriptors()
        folder = embedded_store.new_folder()
        self._cache_addr = f"unix://{embedded_store.socket_path(folder)}"
        store = self._start_child("store", embedded_store.command(folder))
        preload.load(preload.SERVICES)  # while the store starts
        end = time.monotonic() + _STORE_START_TIMEOUT
        while not embedded_store.answers(folder):
            if not store.is_running() or time.monotonic() > end:
                raise StackError(
                    f"The embedded store did not start: {last_line(store.log)} (log: {store.log})"
                )
            time.sleep(0.002)
        self._settings = environment.configure_for_local_stack(
            self._settings,
            self._cache_addr,
            str(self._settings.files_dir),
            any_directory=True,
        )

    def _recover(self) -> None:
        from cli.local_stack.recovery import recover

        requeued = recover(self._settings, self._started_at)
        if requeued:
            self._log(f"{requeued} interrupted downloads are queued again", "stack.recovered")

    def _start_rest(self) -> None:
        self._start_rest_at = None
        if self._on_demand:
            self._recover()
        self._start_child(
            "maintenance", command_lines.worker(self._settings, command_lines.MAINTENANCE)
        )
        self._start_child("beat", command_lines.beat(self._settings))
        if self._flower_url:
            self._start_child("flower", command_lines.flower())
        if self._api_url:
            self._start_child("api", command_lines.api())

    def _start_child(self, name: str, command: list[str]) -> Child:
        child = Child(name, command, self._logs / f"{name}.log")
        child.start()
        self._children.append(child)
        return child

    def _write_state(self) -> StackState:
        """Write the addresses and process ids of the stack to `stack.json`, if they changed."""
        settings, flower = self._settings, bool(self._flower_url)
        state = self._state or StackState(
            pid=os.getpid(),
            cache_addr=self._cache_addr,
            download_dir=str(settings.files_dir),
            started_at=self._started_at.isoformat(),
            on_demand=self._on_demand,
            version=version(),
            root=str(discovery.ROOT),
            database_url=sqlite_url(settings) if settings.database_url else "",
            api_url=self._api_url,
            flower_url=self._flower_url,
            flower_user=settings.flower_user if flower else "",
            flower_password=settings.flower_password.get_secret_value() if flower else "",
        )
        state = replace(state, pids={c.name: c.pid for c in self._children if c.pid is not None})
        if state != self._state:
            stack_state.write(self._data_dir, state)
            self._state = state
        return state

    # ── running ─────────────────────────────────────────────────────────────────────────────────

    def run(self, every_tick: Callable[[], None] = lambda: None) -> None:
        """Restart processes that exit, until a signal or, on demand, until no command uses the stack."""
        while not self._stop_requested and not self._has_no_clients():
            if self._start_rest_at is not None and time.monotonic() >= self._start_rest_at:
                self._start_rest()
            for child in self._children:
                event = child.restart_if_exited()
                if event:
                    self._log(event, "process.exited")
                    self._start_rest_soon(0.0)
            self._write_state()
            self._rotate_logs()
            every_tick()
            self._wait_for_starter()

    def _wait_for_starter(self) -> None:
        """Wait for the next tick, or for the command that started this stack."""
        if self._starter is None:
            time.sleep(_TICK)
        elif select.select([self._starter], (), (), _TICK)[0]:
            if os.read(self._starter, 16):
                self._start_rest_soon(_START_REST_AFTER)
            else:
                os.close(self._starter)
                self._starter = None

    def _start_rest_soon(self, seconds: float) -> None:
        """Start the rest so many seconds after the start, unless it runs."""
        if self._start_rest_at is not None:
            self._start_rest_at = min(self._start_rest_at, self._started + seconds)

    def _rotate_logs(self) -> None:
        children = (child.log for child in self._children)
        self._log_rotation.run((*children, supervisor_log(self._data_dir)))

    def _request_stop(self, _number: int, _frame: object) -> None:
        self._stop_requested = True

    def _has_no_clients(self) -> bool:
        """Return whether a stack on demand has no clients; if so, none can join it any more."""
        if not self._on_demand:
            return False
        starting = stack_state.start_lock(self._data_dir)
        clients = stack_state.clients_lock(self._data_dir)
        if not starting.acquire():
            return False
        try:
            is_unused = clients.acquire()
            if is_unused:
                stack_state.remove(self._data_dir)
            return is_unused
        finally:
            clients.release()
            starting.release()

    # ── stopping ────────────────────────────────────────────────────────────────────────────────

    def stop(self) -> None:
        """Stop beat, Flower and the API, then the workers, then the store."""
        if not self._lock.is_held:
            return  # it did not start; the files belong to another stack
        stack_state.remove(self._data_dir)
        by_name = {child.name: child for child in self._children}
        for names, grace in (
            (("beat", "flower", "api"), _API_GRACE),
            (("downloads", "maintenance"), self._drain_grace),
            (("store",), _QUICK_GRACE),
        ):
            group = [by_name[name] for name in names if name in by_name]
            for child in group:
                child.terminate()
            for child in group:
                child.wait(grace)
        if "store" in by_name:
            embedded_store.remove_folder(self._cache_addr)
        self._lock.release()


def _write_line(line: str, event: str) -> None:
    # Not by `print`, whose lines are records already where the log is JSON.
    print(with_time(line, event), file=sys.__stderr__, flush=True)


def main(starter: int | None = None) -> None:
    """Run a stack on demand; the output goes to the supervisor's log."""
    try:
        setup.start("supervisor")
        supervisor = Supervisor(
            settings_module.load(), on_demand=True, log=_write_line, starter=starter
        )
        try:
            supervisor.start()
            _write_line("started", "stack.started")
            supervisor.run()
        finally:
            supervisor.stop()
            _write_line("stopped", "stack.stopped")
    except SeenError as error:
        report(str(error), error.code, as_json=False)
        sys.exit(exit_status(error))


if __name__ == "__main__":
    utf8_mode.ensure()
    standard_streams.prepare_service()
    main()
