"""A worker process without a queue: it runs the jobs that stdin names, and measures itself.

It hands messages to the job pool of a worker's own runtime. An input line is a JSON list of job ids; the
output line says when each ended, and what the process has used.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worker.job_pool import JobPool
    from worker.outcome import JobEnd


def main() -> None:
    """Serve until stdin ends: ``--slots N``, ``--no-fsync``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--slots", type=int, default=1)
    parser.add_argument("--no-fsync", action="store_true")
    options = parser.parse_args()
    if options.no_fsync:
        # Before any module imports them from `os` by name.
        os.fsync = os.fdatasync = _nothing  # type: ignore[assignment]
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))

    from worker.app import close_runtime, current_job_pool
    from worker.process import garbage

    pool = current_job_pool()
    pool.concurrency = options.slots
    garbage.settle()  # as in a worker that is ready
    for line in sys.stdin:
        print(json.dumps(_measured(pool, json.loads(line))), flush=True)
    close_runtime()


def _nothing(_fd: int) -> None:
    return None


def _measured(pool: JobPool, jobs: list[str]) -> dict[str, Any]:
    from worker.job_pool import JobMessage

    cpu = time.process_time()
    started = time.perf_counter()
    ends: dict[str, float] = {}
    have_ended = threading.Event()

    def note(job_ends: list[JobEnd]) -> None:
        ends[job_ends[0].job_id] = time.perf_counter() - started
        if len(ends) == len(jobs):
            have_ended.set()

    # A message for each job, so that each end is heard of.
    for job in jobs:
        pool.start(JobMessage((job,)), note)
    have_ended.wait()
    return {
        "seconds": time.perf_counter() - started,
        "cpu": time.process_time() - cpu,
        "peak": _peak_memory(),
        "ends": [ends[job] for job in jobs],
    }


def _peak_memory() -> int:
    """Return the most memory this process has had, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    main()
