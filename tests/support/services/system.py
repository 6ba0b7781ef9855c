"""The whole service as real processes: workers, beat, and a client of the same store and database."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from celery import Celery
from kombu import pools

import tasks
from database import migrate
from domain.job import Job, JobStatus, SubmittedJob
from domain.request import DownloadRequest
from settings import Settings
from tests.support.databases import write_migrated
from tests.support.servers.preloaded import has_usual_start, start_service
from tests.support.servers.process import Process, spawn
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.broker import transport
from worker.broker.client import Broker, read_message
from worker.broker.queues import DOWNLOAD_QUEUES, QUEUES
from worker.leases.drain import Drain
from worker.runtime import Runtime, build_runtime

transport.install()  # as in the services: `app` checks messages before kombu decodes them

ROOT = Path(__file__).parents[3]
#: What Python is given to run a worker or beat; a test may wrap it.
PROGRAM = ("-m", "worker.celery_ext.main")

#: Short enough for tests, in the proportions of the real ones.
FAST: Mapping[str, str] = {
    "SEEN_LOCK_TTL": "3",
    "SEEN_ORPHAN_AFTER": "3",
    "SEEN_PROGRESS_TTL": "3",
    "SEEN_HEARTBEAT_INTERVAL": "0.5",
    "SEEN_FLUSH_INTERVAL": "0.1",
    "SEEN_CHECKPOINT_INTERVAL": "0.3",
    "SEEN_PERSIST_INTERVAL": "0.5",
    "SEEN_REQUEUE_INTERVAL": "0.5",
    "SEEN_RECONCILE_INTERVAL": "1",
    "SEEN_SWEEP_INTERVAL": "2",
    "SEEN_RETRY_BACKOFF": "0.5",
    "SEEN_SHORT_RETRIES": "0",
    # Two requests at a time for one file would else be no sign of two workers on it.
    "SEEN_CONNECTIONS": "1",
    "SEEN_RETRY_BACKOFF_MAX": "2",
    "SEEN_MIN_FREE_BYTES": "0",
    "SEEN_LOW_SPEED_TIME": "5",
    "SEEN_CONNECT_TIMEOUT": "3",
    "SEEN_CACHE_TIMEOUT": "1",
    "SEEN_CACHE_CONNECT_TIMEOUT": "1",
}


class System:
    """Processes started as a user would start them, all with one environment.

    Args:
        folder: for the database, the files and the logs.
        store: its server.
        database_url: a database of its own; it is migrated. SQLite in the folder by default.
        settings: further SEEN_ variables; they override `FAST`.
    """

    def __init__(
        self,
        folder: Path,
        store: StoreServer,
        *,
        database_url: str | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.store = store
        self.downloads = folder / "downloads"
        self.variables = {
            **FAST,
            "SEEN_CACHE_ADDR": store.addr,
            "SEEN_CACHE_PASSWORD": store.password,
            "SEEN_DATA_DIR": str(folder),
            "SEEN_DATABASE_URL": database_url or f"sqlite:///{folder / 'seen.db'}",
            "SEEN_ALLOWED_NETWORKS": "127.0.0.0/8",
            **(settings or {}),
        }
        self.environment = {**os.environ, **self.variables, "PYTHONPATH": str(ROOT)}
        if database_url is None and not (folder / "seen.db").exists():
            write_migrated(folder / "seen.db")
        self._processes: list[Process] = []
        self.runtime = client_runtime(self.variables)
        self.app = client_app(self.runtime.settings)
        migrate.upgrade(self.runtime.database)

    # ── processes ───────────────────────────────────────────────────────────────────────────────

    def start_worker(
        self,
        queue: str = "downloads",
        *,
        concurrency: int = 4,
        pool: str = "",
        program: Sequence[str] = PROGRAM,
        variables: Mapping[str, str] | None = None,
        changes: Sequence[str] = (),
        wait: bool = True,
    ) -> Process:
        """Start a worker of one kind and wait until it is ready.

        Args:
            queue: downloads or maintenance.
            concurrency: how many at once.
            pool: Celery's name of one; ours by default.
            program: what Python is given in front of the worker's arguments.
            variables: SEEN_ variables for this one alone.
            changes: to the process, keys of `broken_process.CHANGES`; not with a `program`.
            wait: False returns at once.
        """
        name = f"{queue}{len(self._processes)}"
        arguments = ["worker", "-Q", ",".join(QUEUES[queue]), "-n", f"{name}@%h"]
        arguments += ["-c", str(concurrency), *(["-P", pool] if pool else [])]
        process = self._start(name, arguments, program, variables, changes=changes)
        if wait:
            wait_until(lambda: "ready." in self.log(name), deadline=60, what=f"{name} is ready")
        return process

    def start_beat(self, *, level: str = "INFO") -> Process:
        """Start beat; at the level DEBUG it logs each task that it sends."""
        return self._start(f"beat{len(self._processes)}", ["beat"], level=level)

    def start_all(self, *, concurrency: int = 4) -> Process:
        """Start maintenance worker, beat and one download worker; return the latter, which is ready."""
        self.start_maintenance()
        return self.start_worker(concurrency=concurrency)

    def start_maintenance(self) -> tuple[Process, Process]:
        """Start maintenance worker and beat; they get ready while the test goes on."""
        worker = self.start_worker("maintenance", concurrency=2, wait=False)
        return worker, self.start_beat()

    def log(self, name: str) -> str:
        """Return what a process has printed so far."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def logs(self) -> str:
        """Return what all processes have printed."""
        return "".join(
            path.read_text(errors="replace") for path in sorted(self.folder.glob("*.log"))
        )

    def _start(
        self,
        name: str,
        arguments: list[str],
        program: Sequence[str] = PROGRAM,
        variables: Mapping[str, str] | None = None,
        *,
        changes: Sequence[str] = (),
        level: str = "INFO",
    ) -> Process:
        arguments = [*arguments, "-l", level]
        environment = {**self.environment, **(variables or {})}
        log = self.folder / f"{name}.log"
        # A fork leaves behind the temporary folder of `multiprocessing`, which pools of Celery's use.
        is_ours = "-P" not in arguments or bool(changes)
        if program == PROGRAM and is_ours and has_usual_start(environment):
            process = start_service(arguments, environment=environment, log=log, changes=changes)
        else:
            assert not changes, "only forks can be changed"
            command = [sys.executable, *program, *arguments]
            process = spawn(command, log=log, env=environment, cwd=ROOT)
        self._processes.append(process)
        return process

    # ── jobs ────────────────────────────────────────────────────────────────────────────────────

    def submit(self, url: str, **fields: object) -> SubmittedJob:
        """Submit one download."""
        request = DownloadRequest.model_validate({"url": url, **fields})
        return tasks.submit(request, runtime=self.runtime)

    def job(self, job: Job) -> Job:
        """Return a job as the database has it now."""
        return self.runtime.jobs.get(job.id)

    def wait_for(self, job: Job, status: JobStatus, *, deadline: float = 30) -> Job:
        """Wait until a job has a status; fail at once when it ends in another one."""

        def reached() -> Job | None:
            now = self.job(job)
            assert now.status is status or not now.is_finished, f"{now.status}: {now.reason}"
            return now if now.status is status else None

        found = wait_until(reached, deadline=deadline, what=f"job {job.id} is {status}")
        assert found is not None
        return found

    def backlog(self) -> int:
        """Return how many jobs the messages name that wait for a download worker, in all queues."""
        with self.runtime.broker._client() as client:
            found = [raw for queue in DOWNLOAD_QUEUES for raw in client.lrange(queue, 0, -1)]
        return sum(len(read_message(raw).job_ids) for raw in found)

    # ── the end ─────────────────────────────────────────────────────────────────────────────────

    def close(self) -> None:
        """Kill every process this system started, with its children, and close the client."""
        # Other tests check how a worker ends on a signal; here that would cost two seconds each.
        running = [process for process in self._processes if process.poll() is None]
        for process in running:
            os.killpg(process.pid, signal.SIGKILL)  # `spawn` gave each a group of its own
        for process in running:
            process.wait()
        self.runtime.close()
        # kombu keeps connections for the whole process; the store may be restarted before the next test.
        pools.reset()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def client_runtime(variables: Mapping[str, str], *, drain: Drain | None = None) -> Runtime:
    """Build a runtime of this process from SEEN_ variables, beside the environment's."""
    fields = {name.removeprefix("SEEN_").lower(): value for name, value in variables.items()}
    settings = Settings.model_validate(fields)
    broker = Broker(client_app(settings), timeout=settings.cache_timeout)
    return build_runtime(settings, broker, drain=drain)


def client_app(settings: Settings) -> Celery:
    """Build a Celery app of this process on the broker of these settings."""
    app = Celery("client", set_as_current=False)
    app.config_from_object("seen_modules:celeryconfig")
    app.conf.update(broker_url=settings.celery_broker_url())
    return app
