"""The version before this one: its code from the repository's history, run as real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.support.servers.process import Process, spawn
from tests.support.services.system import FAST, ROOT
from tests.support.wait import wait_until

#: The last commit before names changed: its queues, tasks, settings and columns are the former ones.
COMMIT = "c32e935"
QUEUES: Mapping[str, str] = {
    "downloads": "downloads.begun,downloads.high,downloads.normal,downloads.low",
    "maintenance": "maintenance",
}
_CLIENT = """
import json, sys
import tasks
from domain.job import DownloadRequest
for line in sys.stdin:
    action, argument = json.loads(line)
    if action == "submit":
        job = tasks.submit(DownloadRequest(**argument))
    else:
        job = getattr(tasks, action)(argument)
    print(json.dumps([job.id, str(job.status)]), flush=True)
"""
_MIGRATE = (
    "from database import Database, migrate; import sys; migrate.upgrade(Database(sys.argv[1]))"
)


class VersionBefore:
    """Processes of the version before, on a database that it has migrated.

    Skips the test where the repository's history is not at hand, as in a source archive.

    Args:
        folder: for the code and the logs.
        variables: SEEN_ variables.
        database_url: of an empty database.
    """

    def __init__(self, folder: Path, variables: Mapping[str, str], database_url: str) -> None:
        self.code = folder / "version-before"
        self.folder = folder
        _extract(self.code)
        variables = {**FAST, "SEEN_WAKE_INTERVAL": "0.5", **variables}
        self.environment = {**os.environ, **variables, "PYTHONPATH": str(self.code)}
        self._processes: list[Process] = []
        self._run("-c", _MIGRATE, database_url)
        self._client = subprocess.Popen(
            [sys.executable, "-c", _CLIENT],
            env=self.environment,
            cwd=self.code,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start_worker(self, queue: str = "downloads", *, concurrency: int = 4) -> Process:
        """Start a worker and wait until it is ready."""
        name = f"before-{queue}{len(self._processes)}"
        options = ["worker", "-Q", QUEUES[queue], "-n", f"{name}@%h", "-c", str(concurrency)]
        process = self._start(name, options)
        log = self.folder / f"{name}.log"
        wait_until(lambda: "ready." in log.read_text(), deadline=120, what=f"{name} is ready")
        return process

    def start_beat(self) -> Process:
        """Start beat."""
        return self._start(f"before-beat{len(self._processes)}", ["beat"])

    def submit(self, url: str) -> str:
        """Submit a download in a process that has run since the start; return the job's id."""
        return self._call("submit", {"url": url})[0]

    def control(self, action: str, job_id: str) -> str:
        """Pause, resume, cancel or retry a job in that process; return its status."""
        return self._call(action, job_id)[1]

    def close(self) -> None:
        """Kill every process that was started."""
        self._client.kill()
        self._client.communicate()
        running = [process for process in self._processes if process.poll() is None]
        for process in running:
            os.killpg(process.pid, signal.SIGKILL)
        for process in running:
            process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _call(self, action: str, argument: object) -> tuple[str, str]:
        assert self._client.stdin is not None
        assert self._client.stdout is not None
        self._client.stdin.write(json.dumps([action, argument]) + "\n")
        self._client.stdin.flush()
        job_id, status = json.loads(self._client.stdout.readline())
        return job_id, status

    def _start(self, name: str, options: Sequence[str]) -> Process:
        process = spawn(
            [sys.executable, "-m", "worker.program", *options, "-l", "INFO"],
            log=self.folder / f"{name}.log",
            env=self.environment,
            cwd=self.code,
        )
        self._processes.append(process)
        return process

    def _run(self, *arguments: str) -> None:
        command = [sys.executable, *arguments]
        subprocess.run(command, env=self.environment, cwd=self.code, check=True, timeout=120)


def _extract(folder: Path) -> None:
    folder.mkdir()
    archive = subprocess.run(
        ["git", "archive", COMMIT], cwd=ROOT, capture_output=True, check=False, timeout=60
    )
    if archive.returncode:
        reason = archive.stderr.decode(errors="replace").strip()
        pytest.skip(f"The version before ({COMMIT}) is not in this checkout's history: {reason}")
    subprocess.run(["tar", "-x"], input=archive.stdout, cwd=folder, check=True, timeout=60)
