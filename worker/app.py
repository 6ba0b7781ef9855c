"""The Celery app (``celery -A worker.app``), and what its processes do at start and shutdown."""

from __future__ import annotations

import logging
import os
import socket
import threading
from datetime import UTC, datetime
from functools import partial
from typing import Any

from celery import signals

import settings as settings_module
from cache.store import scripts
from database import Database
from database.webhooks import Receivers
from domain.errors import DatabaseUnavailableError
from domain.job import Job
from seen_local.discovery import use_running_stack
from worker import utf8_mode
from worker.broker import transport
from worker.broker.client import Broker
from worker.broker.queues import DOWNLOAD_QUEUES
from worker.celery_ext import command_line, ignored_signals
from worker.celery_ext.beat_monitor import BeatMonitor
from worker.celery_ext.heartbeat import Heartbeat
from worker.celery_ext.interface import control_commands
from worker.celery_ext.interface.app_class import App
from worker.celery_ext.pool import TaskPool
from worker.cleanup.sweeper import DiskSweep, Sweeper, SweepResult
from worker.exclusive import run_exclusive
from worker.job_pool import JobPool
from worker.leases.drain import Drain
from worker.logs import setup as log_setup
from worker.metrics.catalog import PROCESSES
from worker.process import garbage
from worker.runtime import Runtime, build_runtime
from worker.tracing import setup as traces

logger = logging.getLogger(__name__)

if log_setup.uses_json():
    signals.setup_logging.connect(log_setup.for_celery)
    if service := command_line.service():
        log_setup.start(service)
transport.install()
ignored_signals.install()
control_commands.install()
app = App("seen")
app.config_from_object("seen_modules:celeryconfig")
command_line.use_own_flower_config()
app.steps["worker"].add("worker.celery_ext.shutdown:Shutdown")

#: Starts when this process, or the parent from which it was forked, shuts down.
drain = Drain()

#: Of the process that consumes messages; the sweeper in download workers only.
_sweeper: Sweeper | None = None
_beat_monitor: BeatMonitor | None = None
_heartbeat: Heartbeat | None = None

_mutex = threading.Lock()
_runtimes: dict[int, Runtime] = {}
_job_pools: dict[int, JobPool] = {}
#: How many jobs this process runs at once; 0 as configured.
_slots = 0


def current_runtime() -> Runtime:
    """Return this process's runtime, built at first use; a forked child builds its own."""
    with _mutex:
        runtime = _runtimes.get(os.getpid())
        if runtime is None:
            _runtimes.clear()  # a parent's connections must be neither used nor closed here
            use_running_stack()
            settings = settings_module.load()
            broker = Broker(app, timeout=settings.cache_timeout)
            runtime = build_runtime(settings, broker, drain=drain)
            traces.start(settings, runtime.worker)
            _runtimes[os.getpid()] = runtime
        return runtime


def current_job_pool() -> JobPool:
    """Return this process's job pool, built at first use with as many slots as Celery's pool has."""
    runtime = current_runtime()
    with _mutex:
        pool = _job_pools.get(os.getpid())
        if pool is None:
            _job_pools.clear()
            slots = _slots or runtime.settings.download_concurrency
            runtime.concurrency_shares.concurrency = slots
            pool = _job_pools[os.getpid()] = JobPool(runtime, slots)
        return pool


def _find_job(job_id: str) -> Job:
    return current_runtime().jobs.get(job_id)


app.find_job = _find_job
app.job_pool = current_job_pool


def close_runtime() -> None:
    """Close this process's runtime, if it was built."""
    with _mutex:
        runtime = _runtimes.pop(os.getpid(), None)
        _job_pools.clear()
    if runtime is not None:
        runtime.close()
        traces.stop()


@signals.celeryd_init.connect
def _print_no_banner(instance: Any, **_: Any) -> None:
    """Let Celery print nothing of several lines where the log is JSON."""
    instance.quiet = instance.quiet or log_setup.uses_json()


@signals.celeryd_init.connect
def _ensure_utf8(**_: Any) -> None:
    """Use UTF-8 mode in workers started by Celery's command line, too."""
    utf8_mode.ensure()


signals.worker_process_init.connect(ignored_signals.leave_stop_to_parent)


@signals.worker_init.connect
def _note_end_program(**_: Any) -> None:
    """Have ends of jobs kept for the program of SEEN_ON_END before this worker ends one."""
    settings = settings_module.load()
    if settings.on_end is None:
        return
    database = Database(settings.sqlalchemy_url())  # its connection is closed before any fork
    try:
        Receivers(database).note_program(datetime.now(UTC))
    except DatabaseUnavailableError as error:
        logger.warning("Ends of jobs are not kept for SEEN_ON_END yet: %s", error)
    finally:
        database.close()


@signals.worker_process_init.connect
def _run_one_job(**_: Any) -> None:
    """Run one job at a time in each child of a prefork pool, which has as many children as slots."""
    global _slots
    _slots = 1


@signals.after_setup_logger.connect
def _set_up_log(**_: Any) -> None:
    """Escape log lines, and drop two of Celery's per message."""
    log_setup.use_line_records()
    log_setup.quieten()


@signals.worker_ready.connect
def _start_sweeper(sender: Any, **_: Any) -> None:
    """Start the sweeper in download workers, which have the disk, and set up their first job."""
    global _sweeper, _slots
    _slots = sender.pool.num_processes
    if set(DOWNLOAD_QUEUES) & set(sender.app.amqp.queues.consume_from):
        _preload()
        if isinstance(sender.pool, TaskPool):
            sender.pool.prepare_downloads()
        garbage.settle()
        runtime = current_runtime()
        interval = runtime.settings.sweep_interval
        sweep = partial(sweep_disk, runtime, disk_sweep(runtime))
        _sweeper = Sweeper(sweep, runtime.outages, interval)
        _sweeper.start()


def disk_sweep(runtime: Runtime) -> DiskSweep:
    """Return what sweeps the disk; it remembers what earlier sweeps have looked at."""
    return DiskSweep(
        runtime.jobs,
        runtime.destinations,
        root=runtime.files_dir,
        allow_any_directory=runtime.settings.allow_any_directory,
        drain=runtime.drain,
        clock=runtime.now,
    )


def sweep_disk(runtime: Runtime, sweep: DiskSweep | None = None) -> SweepResult:
    """Sweep the disk once, unless another worker of this machine is doing so."""
    sweep = sweep or disk_sweep(runtime)
    lock = runtime.cache.lock(f"task:sweep:{socket.gethostname()}")
    work = partial(_watched_sweep, runtime, sweep)
    return run_exclusive(runtime.leases, lock, runtime.drain, work) or SweepResult(0, 0, 0)


def _watched_sweep(runtime: Runtime, sweep: DiskSweep) -> SweepResult:
    """Sweep; the log says if the disk does not answer, since no other worker of the machine sweeps."""

    def log_silence(seconds: float) -> None:
        logger.warning(
            "The sweep waits: the disk has not answered for %.0f s: %s", seconds, disk.folder
        )

    disk = runtime.disk_of("", log_silence)
    disk.expect(lambda: sweep.steps)
    runtime.event_loop.call_soon(runtime.disk_watch.add, disk)
    try:
        return sweep.run()
    finally:
        runtime.event_loop.call_soon(runtime.disk_watch.remove, disk)


def _preload() -> None:
    """Load what the first job needs: later, it may fail for lack of descriptors."""
    scripts.load_all()
    _ = app.backend


@signals.worker_process_init.connect
@signals.worker_ready.connect
def _start_metrics(**_: Any) -> None:
    """Publish what this process counts, until its runtime is closed."""
    runtime = current_runtime()
    runtime.instruments.set_gauge(PROCESSES, "worker", read=lambda: 1)
    runtime.metrics.start()


@signals.worker_ready.connect
def _start_beat_monitor(**_: Any) -> None:
    """Watch beat from the process that consumes messages; children of a pool need not."""
    global _beat_monitor
    _beat_monitor = BeatMonitor(settings_module.load())
    _beat_monitor.start()


@signals.worker_ready.connect
def _start_heartbeat(sender: Any, **_: Any) -> None:
    """Write heartbeats from the process that consumes."""
    global _heartbeat
    _heartbeat = Heartbeat(settings_module.load(), sender)
    _heartbeat.start()


@signals.worker_shutdown.connect
def _stop_heartbeat(**_: Any) -> None:
    if _heartbeat is not None:
        _heartbeat.close()


@signals.worker_shutdown.connect
def _stop_sweeper(**_: Any) -> None:
    if _sweeper is not None:
        _sweeper.close()


@signals.worker_shutdown.connect
def _stop_beat_monitor(**_: Any) -> None:
    if _beat_monitor is not None:
        _beat_monitor.close()


@signals.worker_process_shutdown.connect
@signals.worker_shutdown.connect
def _close(**_: Any) -> None:
    close_runtime()
