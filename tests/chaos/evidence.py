"""What a run leaves, collected once for the checks."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cache.coordination.transfer_limits import TransferLimits
from domain.errors import StoreError
from domain.job import Job, JobEvent
from tests.chaos.client import Submission
from tests.chaos.file_specs import FileSpec
from tests.support.origins.origin import RequestLog
from worker.runtime import Runtime

#: Seconds between two answers of one fetch: it has its slot meanwhile.
SAME_FETCH = 2.0
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


class LimitLog:
    """The highest that the limit of all downloads may have been, and since when."""

    def __init__(self) -> None:
        #: Seconds of the monotonic clock, and downloads; infinite without a limit.
        self.changes: list[tuple[float, float]] = [(-math.inf, math.inf)]

    def set(self, limits: TransferLimits, count: int | None) -> bool:
        """Set or remove it; return whether the store has answered. Without that, either may hold."""
        new, before = math.inf if count is None else float(count), self.changes[-1][1]
        self.changes.append((time.monotonic(), max(new, before)))
        try:
            limits.set_most_downloads(count)
        except StoreError:
            return False
        self.changes.append((time.monotonic(), new))
        return True

    def may_be_lost(self) -> None:
        """Note that the store may have lost it."""
        self.changes.append((time.monotonic(), math.inf))


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
    limits: Sequence[tuple[float, float]] = ((-math.inf, math.inf),)
    """The highest limit of all downloads, and since when; the first is from the beginning."""
    incidents: Sequence[str] = ()
    """What happened to programs and is no fault's doing."""

    def spec(self, job: Job) -> FileSpec:
        """Return what a job was to fetch."""
        return self.specs[urlsplit(job.url).path]

    def answers(self, spec: FileSpec) -> list[RequestLog]:
        """Return the answers that brought bytes of a file, in the order in which they began."""
        return self._answers_by_path.get(spec.file.path, [])

    def highest_limit(self, since: float, until: float) -> float:
        """Return the highest limit of all downloads that may have held at some time in between."""
        before = [limit for at, limit in self.limits if at <= since]
        return max(before[-1:] + [limit for at, limit in self.limits if since < at <= until])

    @cached_property
    def fetches(self) -> list[tuple[float, float]]:
        """When files were fetched, in order of the beginnings.

        Answers of one file that follow each other soon are one fetch.
        """
        found: list[tuple[float, float]] = []
        for answers in self._answers_by_path.values():
            begin, end = -math.inf, -math.inf
            for one in answers:
                if one.started > end + SAME_FETCH and end > begin:
                    found.append((begin, end))
                begin = one.started if one.started > end + SAME_FETCH else begin
                end = max(end, math.inf if one.ended is None else one.ended)
            found.append((begin, end))
        return sorted(found)

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
