"""Jobs accepted a second, the latency from submit to the request at the origin, small files a second.

Nothing is simulated: submit, SQL, broker, worker processes, libcurl, fsync, published files. aria2c
fetches the same list of files from the same nginx.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import tasks
from bench.accepting import accepting
from bench.processes import cpu_seconds
from bench.report import Figure, percentile, show
from domain.job import JobStatus
from domain.request import DownloadRequest
from tests.support.origins.origin import Origin
from tests.support.servers.nginx import Nginx
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

SMALL = 64 * 1024
#: Of `--memory`.
_JOBS_BETWEEN_LOOKS = 5000
#: The service as it runs by default, without the short times of the tests.
DEFAULTS = {
    "SEEN_LOCK_TTL": "30",
    "SEEN_ORPHAN_AFTER": "30",
    "SEEN_PROGRESS_TTL": "30",
    "SEEN_HEARTBEAT_INTERVAL": "5",
    "SEEN_FLUSH_INTERVAL": "0.25",
    "SEEN_CHECKPOINT_INTERVAL": "5",
}


def main(arguments: list[str]) -> None:
    """Run it: ``--files N`` small files, ``--rounds N`` latencies.

    ``--only accepting`` leaves the rest out; ``--memory`` prints what workers hold; ``--json``.
    """
    parser = argparse.ArgumentParser(prog="python -m bench jobs")
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=100)
    # A Python process uses one core.
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--pool", default="")
    parser.add_argument("--only", choices=["accepting"], help="leave the rest out")
    parser.add_argument(
        "--memory",
        action="store_true",
        help="files of 4 KiB; prints what the workers hold, every 5,000 files",
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="seen-bench-") as name, StoreServer() as store:
        folder = Path(name)
        figures = [] if options.memory else accepting(store)
        if options.only:
            show("jobs", figures, as_json=options.json)
            return
        with System(folder, store, settings=DEFAULTS) as system:
            workers = [
                system.start_worker(concurrency=options.concurrency, pool=options.pool).pid
                for _ in range(options.workers)
            ]
            figures += [] if options.memory else _latency(system, options.rounds)
            figures += _throughput(system, folder, options, workers)
    show("jobs", figures, as_json=options.json)


def _latency(system: System, rounds: int) -> list[Figure]:
    """From the call of `submit` to the origin seeing the request, one job at a time."""
    taken = []
    with Origin() as origin:
        for number in range(rounds + 5):
            file = origin.serve(f"/latency/{number}", size=SMALL)
            started = time.monotonic()
            job = system.submit(file.url)
            taken.append(_first_request(origin, f"/latency/{number}") - started)
            system.wait_for(job, JobStatus.COMPLETED)
    milliseconds = [seconds * 1000 for seconds in taken[5:]]
    what = "enqueue to the request at the origin"
    return [
        Figure(f"{what}, median", percentile(milliseconds, 0.5), "ms", "30"),
        Figure(f"{what}, p99", percentile(milliseconds, 0.99), "ms", "100"),
    ]


def _first_request(origin: Origin, path: str) -> float:
    """Return the moment (monotonic seconds) at which the origin got its first request for `path`."""
    return wait_until(lambda: origin.requests_for(path), interval=0.001)[0].started


def _throughput(
    system: System, folder: Path, options: argparse.Namespace, workers: list[int]
) -> list[Figure]:
    files = options.files
    cpu_before = sum(map(cpu_seconds, workers))
    with Nginx() as nginx:
        names = [f"small-{number}" for number in range(files)]
        for name in names:
            (nginx.root / name).write_bytes(os.urandom(4096 if options.memory else SMALL))
        urls = [nginx.url(f"/{name}") for name in names]
        requests = [DownloadRequest(url=url, directory="small") for url in urls]
        started = time.monotonic()
        tasks.submit_many(requests, runtime=system.runtime)  # at once, as aria2c gets its list
        submitted = time.monotonic() - started
        if options.memory:
            _print_resources(system, files, workers)
        # Seldom: the workers need the processors.
        wait_until(lambda: _all_completed(system), deadline=300, interval=0.1)
        elapsed = time.monotonic() - started
        cpu = sum(map(cpu_seconds, workers)) - cpu_before
        missing = [name for name in names if not (system.downloads / "small" / name).is_file()]
        if missing:
            raise RuntimeError(f"{len(missing)} of {files} files are missing")
        figures = [
            Figure("jobs accepted a second beside running workers", files / submitted, "1/s"),
            Figure(f"small files (64 KiB) a second, {files}", files / elapsed, "1/s", "200"),
            Figure("CPU of the workers a job", cpu / files * 1000, "ms"),
        ]
        peer = _aria2(folder, urls, options.concurrency)
        if peer is not None:
            figures.append(Figure("the same list with aria2c", files / peer, "1/s"))
            figures.append(Figure("ours to aria2c's", peer / elapsed, "×"))
    return figures


def _print_resources(system: System, files: int, workers: list[int]) -> None:
    """Print memory and open descriptors of each worker whenever so many more jobs have ended."""
    for number in range(0, files + 1, _JOBS_BETWEEN_LOOKS):
        wait_until(partial(_has_completed, system, number), deadline=600, interval=0.5)
        looks = [
            f"{_proportional_memory(pid):.1f} MB, {_descriptors(pid)} files" for pid in workers
        ]
        print(f"{_completed(system):>8,} jobs  {'   '.join(looks)}", file=sys.stderr, flush=True)


def _has_completed(system: System, number: int) -> bool:
    return _completed(system) >= number


def _completed(system: System) -> int:
    return system.runtime.jobs.count_by_status().get(JobStatus.COMPLETED, 0)


def _proportional_memory(pid: int) -> float:
    """Return a process's share of memory (PSS): what it shares with others counts in part."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    kibibytes = next(line.split()[1] for line in text.splitlines() if line.startswith("Pss:"))
    return int(kibibytes) * 1024 / 1e6


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _all_completed(system: System) -> bool:
    return set(system.runtime.jobs.count_by_status()) == {JobStatus.COMPLETED}


def _aria2(folder: Path, urls: list[str], concurrency: int) -> float | None:
    """Return the seconds aria2c takes, or None where it is not installed."""
    program = shutil.which("aria2c")
    if program is None:
        print("aria2c is not installed: no comparison", file=sys.stderr)
        return None
    listed = folder / "urls.txt"
    listed.write_text("\n".join(urls))
    started = time.monotonic()
    subprocess.run(
        [program, "-q", "-i", listed, "-d", folder / "aria2", "-j", str(concurrency)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.monotonic() - started
