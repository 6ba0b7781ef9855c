"""Run one job in its own process; print its outcome.

    python -m tests.support.processes.one_download JOB_ID

Its settings come from the environment, as a worker's do. A library that is loaded before libc
(`refusing_disk`) stands between it and the disk.
"""

from __future__ import annotations

import os
import sys

from domain.job import Job
from tests.support.faults.refusing_disk import RefusingDisk
from tests.support.servers.preloaded import run_module
from tests.support.services.running import run_download
from tests.support.services.system import ROOT, System, client_runtime


def run_apart(system: System, job: Job, disk: RefusingDisk) -> str:
    """Run a job on a disk that refuses; return the outcome, or "killed"."""
    done = run_module(
        "tests.support.processes.one_download",
        [job.id],
        environment={**system.environment, **disk.environment},
        folder=ROOT,
        timeout=60,
    )
    if done.returncode < 0:
        return "killed"
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def main() -> None:
    """Run the job of the command line."""
    variables = {name: value for name, value in os.environ.items() if name.startswith("SEEN_")}
    runtime = client_runtime(variables)
    try:
        sys.stdout.write(run_download(runtime, sys.argv[1]).value)
    finally:
        runtime.close()


if __name__ == "__main__":
    main()
