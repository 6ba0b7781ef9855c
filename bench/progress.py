"""The cost of live progress: updates a second, and its share of the CPU in a fast transfer."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from bench.report import Figure, show
from domain.byte_counts import ByteCounts
from domain.job import Job, JobStatus
from tests.support.servers.nginx import Nginx
from tests.support.services.running import run_download
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from worker.leases.drain import Drain
from worker.leases.stop_signal import StopSignal
from worker.progress.reporter import AttemptResult, DownloadTracker, ProgressReporter

MIB = 2**20
#: Commands that the script of an update runs, and those that a flush sends beside scripts.
_INSIDE = ("hmget", "time", "hset", "pexpire", "pttl", "hget", "del")
_PLAIN = ("zadd", "zrem", "zremrangebyscore")


def main(arguments: list[str]) -> None:
    """Run it: ``--downloads N`` at once, ``--seconds S``, ``--size MIB`` of the transfer, ``--json``."""
    parser = argparse.ArgumentParser(prog="python -m bench progress")
    parser.add_argument("--downloads", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--size", type=int, default=1024, help="MiB")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="seen-bench-") as name, StoreServer() as store:
        settings = {"SEEN_FLUSH_INTERVAL": "0.25", "SEEN_HEARTBEAT_INTERVAL": "5"}
        with System(Path(name), store, settings=settings | {"SEEN_PROGRESS_TTL": "30"}) as system:
            figures = _updates(system, options.downloads, options.seconds)
            figures += _transfer(system, Path(name), options.size)
    show("progress", figures, as_json=options.json)


def _updates(system: System, downloads: int, seconds: float) -> list[Figure]:
    """Flush as fast as possible, with new bytes of every download in each flush.

    The server's commands are counted, too: unlike its time, their number is the same on every machine.
    """
    reporter = ProgressReporter(
        system.runtime.cache.download, flush_interval=3600, heartbeat_interval=5
    )
    trackers = [_track(reporter, system, number) for number in range(downloads)]
    reporter.flush()  # connects and creates the hashes
    updates = flushes = 0
    before = _commands(system)
    started = time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        for tracker in trackers:
            tracker.update(ByteCounts(tracker.counts.downloaded + 65_536))
        updates += reporter.flush()
        flushes += 1
    ran = _commands(system) - before
    for tracker in trackers:
        end = AttemptResult(status=JobStatus.CANCELLED)
        system.runtime.cache.store.run(reporter.finish_flow(tracker, end, persisted=True))
    reporter.close()
    scripts, inside = ran["progress_update"], ran["inside"]
    return [
        Figure(f"updates a second, {downloads} downloads", updates / elapsed, "1/s", "20,000"),
        Figure("scripts a flush", ran["evalsha"] / flushes, ""),
        Figure("commands a flush, beside scripts", ran["plain"] / flushes, ""),
        Figure("commands within the script of one update", inside / scripts, ""),
        Figure("the server's time for one script", ran["script_usec"] / ran["evalsha"], "µs"),
    ]


def _commands(system: System) -> Counter[str]:
    """Return how many commands the server has run, by origin."""
    stats = system.runtime.cache.client.info("commandstats")
    calls = {name.removeprefix("cmdstat_"): one["calls"] for name, one in stats.items()}
    return Counter(
        {
            "evalsha": calls.get("evalsha", 0),
            # Each update is one of these, and no other script or plain command of a flush is.
            "progress_update": calls.get("hmget", 0),
            "inside": sum(calls.get(name, 0) for name in _INSIDE),
            "plain": sum(calls.get(name, 0) for name in _PLAIN),
            "script_usec": int(stats.get("cmdstat_evalsha", {}).get("usec", 0)),
        }
    )


def _track(reporter: ProgressReporter, system: System, number: int) -> DownloadTracker:
    now = system.runtime.now()
    job = Job(
        id=f"bench-{number}",
        url="http://localhost/",
        directory="",
        status=JobStatus.DOWNLOADING,
        max_attempts=1,
        created_at=now,
        updated_at=now,
        fence=1,
    )
    return reporter.track(job, StopSignal(Drain()))


def _transfer(system: System, folder: Path, mebibytes: int) -> list[Figure]:
    with Nginx() as nginx:
        _fill(nginx.root / "big.bin", mebibytes)
        url = nginx.url("/big.bin")
        curl = _curl(url, folder / "curl.bin")
        job = system.submit(url)
        cpu_before = time.process_time()
        elapsed = _timed(lambda: run_download(system.runtime, job.id))
        cpu = time.process_time() - cpu_before
        reporting = _thread_cpu("progress")
    assert system.job(job).status is JobStatus.COMPLETED
    size = mebibytes * MIB / 1e6
    figures = [
        Figure(f"a transfer of {mebibytes} MiB, with SHA-256 and fsync", size / elapsed, "MB/s"),
        Figure("progress' share of the process's CPU", 100 * reporting / cpu, "%", "< 2"),
    ]
    if curl is not None:
        figures.insert(1, Figure("curl, the same file, without either", size / curl, "MB/s"))
    return figures


def _fill(path: Path, mebibytes: int) -> None:
    block = os.urandom(MIB)
    with path.open("wb") as file:
        for _ in range(mebibytes):
            file.write(block)


def _curl(url: str, target: Path) -> float | None:
    """Return the seconds curl takes, or None where it is not installed."""
    program = shutil.which("curl")
    if program is None:
        return None
    command = [program, "-sS", "-o", str(target), url]
    elapsed = _timed(lambda: subprocess.run(command, check=True))
    target.unlink()
    return elapsed


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _thread_cpu(name: str) -> float:
    """Return the processor time that the thread of this name has used."""
    for thread in threading.enumerate():
        if thread.name == name and thread.ident is not None:
            return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
    return 0.0
