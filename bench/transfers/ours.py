"""Our side: a worker process that starts before the clock runs, and its jobs."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

import tasks
from bench.transfers.contender import Run
from bench.transfers.origin import OriginFile
from domain.job import Job, JobStatus
from domain.request import DownloadRequest
from settings import Settings
from tests.support.services.system import ROOT, System

#: The service's own defaults instead of the short times of the tests. Limits that protect origins are
#: off (`_NO_LIMITS`): the benchmark would measure them.
DEFAULTS = {
    "SEEN_LOCK_TTL": "30",
    "SEEN_ORPHAN_AFTER": "30",
    "SEEN_PROGRESS_TTL": "30",
    "SEEN_HEARTBEAT_INTERVAL": "5",
    "SEEN_FLUSH_INTERVAL": "0.25",
    "SEEN_CHECKPOINT_INTERVAL": "5",
    "SEEN_LOW_SPEED_TIME": "30",
    "SEEN_CONNECT_TIMEOUT": "10",
    "SEEN_CACHE_TIMEOUT": "5",
    "SEEN_CACHE_CONNECT_TIMEOUT": "5",
}
#: Seconds after which a batch counts as hanging.
_TIMEOUT = 600
NO_FIELDS: Mapping[str, Any] = MappingProxyType({})
_NO_LIMITS = {"SEEN_HOST_CONNECTIONS": "0", "SEEN_HOST_DOWNLOADS": "0", "SEEN_USER_DOWNLOADS": "0"}


def settings() -> dict[str, str]:
    """Return the SEEN_ variables of a benchmark."""
    known = {f"SEEN_{name.upper()}" for name in Settings.model_fields}
    return DEFAULTS | {name: value for name, value in _NO_LIMITS.items() if name in known}


def can_choose_connections() -> bool:
    """Return whether a request can set the number of connections; without that, a job uses one."""
    return "connections" in DownloadRequest.model_fields


@dataclass(frozen=True, slots=True)
class Batch:
    """The figures of some jobs that ran together.

    Attributes:
        ends: the second at which each had ended.
        unfinished: the reason of each job that did not complete.
    """

    run: Run
    ends: list[float]
    unfinished: list[str]


class Worker:
    """A fresh worker process that has done one small job already, as a context manager."""

    def __init__(
        self, system: System, small: OriginFile, *, slots: int = 1, fsync: bool = True
    ) -> None:
        self._system = system
        self._small = small
        more = [] if fsync else ["--no-fsync"]
        self._command = [sys.executable, "-m", "bench.transfers.child", f"--slots={slots}"]
        self._command += more

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self._system.environment,
            cwd=ROOT,
        )
        self.fetch(self._small)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def fetch(self, file: OriginFile, fields: Mapping[str, Any] = NO_FIELDS) -> Run:
        """Run one job. Raises RuntimeError when it does not end with the origin's file."""
        batch = self.download([file], fields)
        if batch.unfinished:
            raise RuntimeError(f"a job is {batch.unfinished[0]}")
        return batch.run

    def download(self, files: list[OriginFile], fields: Mapping[str, Any] = NO_FIELDS) -> Batch:
        """Run a job for each of the files, all at once; check and remove what they fetched.

        Raises:
            RuntimeError: a file is not the origin's, or the worker process did not survive.
        """
        # Different names, so that numbering of equal names is not measured.
        requests = [
            DownloadRequest(url=file.url, name=str(number), **fields)
            for number, file in enumerate(files)
        ]
        jobs = tasks.submit_many(requests, runtime=self._system.runtime)
        answer = self._run_jobs([job.id for job in jobs])
        ends = answer.pop("ends")
        now = [self._system.job(job) for job in jobs]
        unfinished = [
            f"{job.status}: {job.reason}"
            for job, file in zip(now, files, strict=True)
            if not _is_fetched(job, file)
        ]
        return Batch(Run(**answer), ends, unfinished)

    def _run_jobs(self, jobs: list[str]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(jobs), file=self._process.stdin, flush=True)
        ready, _, _ = select.select([self._process.stdout], [], [], _TIMEOUT)
        if not ready:
            self._process.kill()
            raise RuntimeError(f"the worker process did not finish within {_TIMEOUT} s")
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise RuntimeError(f"the worker process ended with {code}; its output is above")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _is_fetched(job: Job, file: OriginFile) -> bool:
    """Return whether a job is complete; its file is checked and removed."""
    if job.status is not JobStatus.COMPLETED or job.path is None:
        return False
    path = Path(job.path)
    if job.sha256 != file.sha256 or path.stat().st_size != file.size:
        raise RuntimeError(f"job {job.id} says it is complete, and {path} is not the file")
    path.unlink()
    return True


def connections(number: int) -> Mapping[str, int]:
    """Return the fields of a request that is to use so many connections."""
    return {"connections": number} if can_choose_connections() else {}
