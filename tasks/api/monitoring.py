"""What operators watch, read from SQL and the store: the same in every process that is asked."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from database.watching.job_statistics import JobStatistics
from database.webhooks import Outbox
from domain.errors import SeenError, StoreError
from domain.job import JobStatus
from tasks.api.readiness import Readiness, part_names
from worker.metrics.metric import Metric
from worker.metrics.reading import Total, read_totals
from worker.metrics.reasons import bounded_reason
from worker.runtime import Runtime

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Gauge:
    """What is so now, for the whole deployment.

    Attributes:
        name: in Prometheus' words, with its unit.
        text: what it says.
        values: by the value of `label`; the key is empty without a label.
        label: its name.
    """

    name: str
    text: str
    values: Mapping[str, float] = field(default_factory=dict)
    label: str = ""


class Monitoring:
    """Reads the metrics of a deployment. What cannot be read is left out, and its part is not up.

    No metric has a URL, a host or a user as a label: there may be any number of them.

    Args:
        runtime: of this process.
        readiness: which parts work.
    """

    def __init__(self, runtime: Runtime, readiness: Readiness) -> None:
        self._runtime, self._readiness = runtime, readiness
        self._statistics = JobStatistics(runtime.database)
        self._outbox = Outbox(runtime.database)

    def read(self) -> list[Gauge]:
        """Return all gauges that can be read now; it takes some queries and round trips."""
        found = [self._up()]
        for group in (self._of_database, self._of_store, self._of_broker, self._of_disk):
            try:
                found += group()
            except (SeenError, OSError):
                continue
        return found

    def read_counted(self) -> list[tuple[Metric, list[Total]]]:
        """Return what all processes have counted up to now; empty if the store does not answer."""
        try:
            self._runtime.metrics.publish()  # so that those who ask this process find its own counts
            return list(read_totals(self._runtime.cache.metrics.read()))
        except StoreError:
            return []

    def _up(self) -> Gauge:
        failed = self._readiness.failed()
        values = {name: float(name not in failed) for name in part_names()}
        return Gauge("seen_up", "1 if this part works, else 0.", values, "part")

    def _of_database(self) -> Iterator[Gauge]:
        counts, seconds = _timed(self._runtime.jobs.count_by_status)
        jobs = {status.value: float(counts.get(status, 0)) for status in JobStatus}
        waiting: Counter[str] = Counter()
        for code, count in self._statistics.waiting_by_error().items():
            waiting[bounded_reason(code)] += count
        oldest = self._statistics.oldest_queued()
        age = 0.0 if oldest is None else (self._runtime.now() - oldest).total_seconds()
        pending = float(self._outbox.backlog())
        yield Gauge("seen_jobs", "Jobs in SQL by state.", jobs, "state")
        yield Gauge("seen_jobs_waiting", "Waiting jobs by error code.", waiting, "reason")
        yield _one(
            "seen_queue_oldest_seconds", "Age of the oldest queued job; 0 without.", max(0.0, age)
        )
        yield _one("seen_webhook_deliveries_pending", "Deliveries that are to be made.", pending)
        yield _one("seen_database_seconds", "Time in which the database counted the jobs.", seconds)

    def _of_store(self) -> Iterator[Gauge]:
        cache = self._runtime.cache
        live, seconds = _timed(cache.download.totals)
        workers = cache.workers.running()
        beat = cache.beat.status()
        yield _one("seen_downloads_active", "Downloads that run.", live.active)
        yield _one(
            "seen_bytes_per_second", "Bytes that all downloads write.", live.bytes_per_second
        )
        yield _one("seen_workers", "Workers that send heartbeats.", len(workers))
        if beat is not None:
            yield _one("seen_beat_age_seconds", "Time since beat's last tick.", beat.age_seconds)
        yield _one("seen_store_seconds", "Time of one round trip to the store.", seconds)

    def _of_broker(self) -> Iterator[Gauge]:
        broker = self._runtime.broker
        queued = {name: float(count) for name, count in broker.backlogs().items()}
        yield Gauge("seen_queue_messages", "Messages in the queues of jobs.", queued, "queue")
        refused = len(broker.dead_letters())
        yield _one("seen_dead_letters", "Messages that no worker could read.", refused)

    def _of_disk(self) -> Iterator[Gauge]:
        free = shutil.disk_usage(self._runtime.files_dir).free
        yield _one("seen_disk_free_bytes", "Free bytes where this process sees the files.", free)


def _one(name: str, text: str, value: float) -> Gauge:
    """Return a metric without a label."""
    return Gauge(name, text, {"": float(value)})


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    """Return a result, and how long that took."""
    began = time.monotonic()
    return work(), time.monotonic() - began
