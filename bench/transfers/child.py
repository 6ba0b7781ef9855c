"""A worker process without a queue: it runs the jobs that stdin names, and measures itself.

It uses a worker's own runtime and `run_download`, in one thread for each job. An input line is a JSON
list of job ids; the output line says when each ended, and what the process has used.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any


def main() -> None:
    """Serve until stdin ends: ``--threads N``, ``--no-fsync``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-fsync", action="store_true")
    options = parser.parse_args()
    if options.no_fsync:
        # Before any module imports them from `os` by name.
        os.fsync = os.fdatasync = _nothing  # type: ignore[assignment]
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))

    from tests.support.services.running import run_download
    from worker.app import close_runtime, current_runtime

    download = partial(run_download, current_runtime())
    with ThreadPoolExecutor(options.threads) as pool:
        for line in sys.stdin:
            print(json.dumps(_measured(pool, download, json.loads(line))), flush=True)
    close_runtime()


def _nothing(_fd: int) -> None:
    return None


def _measured(pool: ThreadPoolExecutor, download: Any, jobs: list[str]) -> dict[str, Any]:
    cpu = time.process_time()
    started = time.perf_counter()

    def ended(job: str) -> float:
        download(job)
        return time.perf_counter() - started

    ends = list(pool.map(ended, jobs))
    seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "cpu": time.process_time() - cpu,
        "peak": _peak_memory(),
        "ends": ends,
    }


def _peak_memory() -> int:
    """Return the most memory this process has had, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    main()
