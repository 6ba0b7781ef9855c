"""The system under test: two download workers, each behind its own proxy, and their servers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from tests.chaos.evidence import LimitLog
from tests.chaos.fault_injector import WorkerFaults
from tests.chaos.schedule import WORKERS, DatabaseKind, StoreKind
from tests.support.faults.refusing_disk import RefusingDisk
from tests.support.origins.origin import Origin
from tests.support.servers.postgres import PostgresServer
from tests.support.servers.process import Process, ServerError
from tests.support.servers.tcp_proxy import Proxy
from tests.support.services.system import System
from tests.support.stores.server import StoreServer

#: Downloads a worker runs at once.
CONCURRENCY = 8
#: Besides the short times of all tests.
SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "SEEN_MAX_ATTEMPTS": "1000",  # an origin that is down for a while must not fail a job
        "SEEN_CLEANUP_INTERVAL": "2",
        "SEEN_STALE_AFTER": "6",
    }
)
#: A worker that was signalled to drain and still runs after so many seconds is killed, and reported.
DRAIN_PATIENCE = 40.0

BEAT, MAINTENANCE = "beat", "maintenance worker"


def worker_name(number: int) -> str:
    """Return the name under which `Cluster` knows a download worker."""
    return f"worker {number}"


@dataclass
class Program:
    """One program that is to run, and its process."""

    process: Process
    since: float
    wanted: bool = True
    """False while a fault keeps it away."""
    leaving_since: float | None = None
    """When it was signalled to drain."""


@dataclass
class Cluster:
    """Programs and servers, and the means to break them. Made by `cluster`."""

    system: System
    store: StoreServer
    origin: Origin
    postgres: PostgresServer | None
    lines: list[Proxy]
    disks: list[RefusingDisk]
    folder: Path
    programs: dict[str, Program] = field(default_factory=dict)
    frozen: list[tuple[float, float]] = field(default_factory=list)
    """When workers stood still, in seconds of the monotonic clock."""
    limit: LimitLog = field(default_factory=LimitLog)
    """Of all downloads at once."""
    incidents: list[str] = field(default_factory=list)
    """What no fault explains: programs that ended by themselves, or did not end on SIGTERM."""

    @property
    def kind(self) -> DatabaseKind:
        """Which database it runs on."""
        return "sqlite" if self.postgres is None else "postgres"

    @property
    def store_kind(self) -> StoreKind:
        """Which kind of store it runs on."""
        if self.store.is_stand_in:
            return "stand-in"
        return "dragonfly" if self.store.kind == "dragonfly" else "redis"

    # ── programs ────────────────────────────────────────────────────────────────────────────────

    def start(self, name: str) -> None:
        """Start a program; it gets ready behind our back."""
        self.programs[name] = Program(self._launch(name), time.monotonic())

    def _launch(self, name: str) -> Process:
        if name == BEAT:
            return self.system.start_beat()
        if name == MAINTENANCE:
            return self.system.start_worker("maintenance", concurrency=2, wait=False)
        number = int(name.removeprefix("worker "))
        return self.system.start_worker(
            concurrency=CONCURRENCY,
            program=("-m", "tests.chaos.worker", str(self.faults_file(number))),
            variables={
                "SEEN_CACHE_ADDR": self.lines[number].addr,
                **self.disks[number].environment,
            },
            wait=False,
        )

    def kill(self, name: str) -> None:
        """SIGKILL, until `want`."""
        program = self.programs[name]
        program.wanted = False
        program.process.kill()
        program.process.wait()

    def drain(self, name: str) -> None:
        """SIGTERM; it is started again by `want`, as soon as it has ended."""
        program = self.programs[name]
        program.wanted = False
        if program.leaving_since is None:  # a second signal would end it at once
            program.leaving_since = time.monotonic()
            program.process.terminate()

    def want(self, name: str) -> None:
        """Have a program run again."""
        self.programs[name].wanted = True

    def freeze(self, name: str) -> float:
        """SIGSTOP; returns the moment, for `thaw`."""
        self.programs[name].process.send_signal(signal.SIGSTOP)
        return time.monotonic()

    def thaw(self, name: str, since: float) -> None:
        """SIGCONT."""
        self.programs[name].process.send_signal(signal.SIGCONT)
        self.frozen.append((since, time.monotonic()))

    def supervise(self) -> None:
        """Start what is to run and does not; look at every program once."""
        for name, program in list(self.programs.items()):
            status = program.process.poll()
            if status is None:
                self._look_at_drain(name, program)
            elif program.wanted:
                if program.leaving_since is None and status != -signal.SIGKILL:
                    self.incidents.append(f"{name} ended by itself, with status {status}")
                # SIGTERM: the signal came before its handler was installed.
                elif status not in {0, -signal.SIGKILL, -signal.SIGTERM}:
                    self.incidents.append(f"{name} drained, and ended with status {status}")
                self.start(name)

    def _look_at_drain(self, name: str, program: Program) -> None:
        since = program.leaving_since
        if since is not None and time.monotonic() - since > DRAIN_PATIENCE:
            self.incidents.append(f"{name} did not end within {DRAIN_PATIENCE:g} s of SIGTERM")
            program.process.kill()
            program.process.wait()

    # ── clocks ────────────────────────────────────────────────────────────────────────

    def faults_file(self, number: int) -> Path:
        """Return where a worker reads what is wrong with its clock."""
        return self.folder / f"faults-{number}.json"

    def inject(self, number: int, faults: WorkerFaults) -> None:
        """Tell a worker what is wrong from now on."""
        faults.write(self.faults_file(number))


@contextmanager
def cluster(folder: Path, kind: DatabaseKind) -> Iterator[Cluster]:
    """Start everything, and end it."""
    with ExitStack() as stack:
        store = stack.enter_context(StoreServer())
        postgres = stack.enter_context(PostgresServer()) if kind == "postgres" else None
        origin = stack.enter_context(Origin())
        lines = [stack.enter_context(Proxy(store.port)) for _ in range(WORKERS)]
        url = postgres.create_database() if postgres else None
        system = System(folder, store, database_url=url, settings=SETTINGS)
        stack.callback(system.close)
        stack.callback(_wake, store)  # a store that stands still would keep the client waiting
        disks = [RefusingDisk(_new_folder(folder / f"disk-{number}")) for number in range(WORKERS)]
        made = Cluster(system, store, origin, postgres, lines, disks, folder)
        for name in (MAINTENANCE, BEAT, *map(worker_name, range(WORKERS))):
            made.start(name)
        yield made


def _new_folder(path: Path) -> Path:
    path.mkdir()
    return path


def _wake(store: StoreServer) -> None:
    try:
        os.kill(store.pid, signal.SIGCONT)
    except ServerError:
        return
