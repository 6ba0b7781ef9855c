"""What a run leaves, collected once for the checks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from domain.job import Job, JobEvent
from tests.chaos.client import Submission
from tests.chaos.file_specs import FileSpec
from tests.support.origins.origin import RequestLog
from worker.runtime import Runtime

#: Rows read at a time.
PAGE = 500


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What should not be in the store once every job has ended."""

    locks: tuple[str, ...] = ()
    active: tuple[str, ...] = ()
    """Members of the index of running downloads."""
    dirty: tuple[str, ...] = ()
    """Members of the index of progress that SQL does not have."""

    def __bool__(self) -> bool:
        return bool(self.locks or self.active or self.dirty)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything the checks look at. Times are seconds of the monotonic clock."""

    submissions: Mapping[str, Submission]
    """The accepted jobs."""
    specs: Mapping[str, FileSpec]
    """What was on offer, by its path at the origin; a job of each, accepted or not."""
    jobs: Mapping[str, Job]
    """All rows."""
    events: Mapping[str, Sequence[JobEvent]]
    requests: Sequence[RequestLog]
    folder: Path
    files: Mapping[Path, str]
    """SHA-256 of everything in the download folder."""
    leftovers: Leftovers
    frozen: Sequence[tuple[float, float]] = ()
    """When a worker stood still."""
    checkpoint_interval: float
    """Seconds."""
    seen: Sequence[tuple[str, str]] = field(default=())
    """What the watcher and the client saw and should not have: job id, sentence."""
    incidents: Sequence[str] = ()
    """What happened to programs and is no fault's doing."""

    def spec(self, job: Job) -> FileSpec:
        """Return what a job was to fetch."""
        return self.specs[urlsplit(job.url).path]

    def answers(self, spec: FileSpec) -> list[RequestLog]:
        """Return the answers that brought bytes of a file, in the order in which they began."""
        return self._answers_by_path.get(spec.file.path, [])

    @cached_property
    def _answers_by_path(self) -> dict[str, list[RequestLog]]:
        found: dict[str, list[RequestLog]] = {}
        for one in sorted(self.requests, key=lambda one: one.started):
            if one.method == "GET" and one.status in {200, 206}:
                found.setdefault(one.path, []).append(one)
        return found


def all_jobs(runtime: Runtime) -> dict[str, Job]:
    """Read every row."""
    jobs: dict[str, Job] = {}
    last: str | None = None
    while page := runtime.jobs.find(before_id=last, limit=PAGE):
        jobs |= {job.id: job for job in page}
        last = page[-1].id
    return jobs


def leftovers(runtime: Runtime) -> Leftovers:
    """Look at what is left in the store."""
    keys, client = runtime.cache.keys, runtime.cache.client
    locks = client.scan_iter(match=f"{keys.lock_key('download')}:*", count=1000)
    return Leftovers(
        locks=tuple(sorted(key.decode() for key in locks)),
        active=_members(runtime, keys.active_downloads_key()),
        dirty=_members(runtime, keys.dirty_downloads_key()),
    )


def _members(runtime: Runtime, index: str) -> tuple[str, ...]:
    members: Any = runtime.cache.client.zrange(index, 0, -1)
    return tuple(member.decode() for member in members)


def digests(folder: Path) -> dict[Path, str]:
    """Return the SHA-256 of every file under `folder`."""
    found: dict[Path, str] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                found[path] = hashlib.file_digest(file, "sha256").hexdigest()
    return found
