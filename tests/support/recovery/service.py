"""Two workers, two jobs, one store and one database, which a state machine drives step by step."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize

import tasks
from cache import DownloadProgress
from domain.job import FINISHED, JobStatus
from domain.request import DownloadRequest
from tasks.periodic.maintenance import cleanup_stale, requeue_due
from tasks.periodic.persist import persist_progress
from tasks.periodic.reconcile import reconcile
from tests.support.build import unused_url
from tests.support.databases import emptied
from tests.support.faults.time_travel import Snapshot, TimeTravel
from tests.support.recovery.workers import Reported, SteppedAttempt, Worker
from tests.support.services.system import System
from worker.broker.client import QueuedMessage, read_message
from worker.broker.queues import DOWNLOAD_QUEUES, queue_of
from worker.outcome import Outcome
from worker.runtime import Runtime

WORKERS = 2
JOBS = 2
#: Seconds within which a running process renews its locks and reports its downloads.
HEARTBEAT = 5.0
#: Rounds of beat that repair everything; each begins when locks and grace periods have run out.
ROUNDS = 6
#: Seconds of one round.
ROUND = 31.0
Task = Callable[[Runtime], object]
BEAT: list[Task] = [reconcile, requeue_due, persist_progress, cleanup_stale]


class SimulatedService(RuleBasedStateMachine):
    """The state of the service, and the steps that the rules are made of.

    Attributes:
        system: the store, the database and a client of both.
        time: the clock of the store and of SQL.
        database_file: the SQLite file.
    """

    system: System
    time: TimeTravel
    database_file: Path

    @initialize(in_one_message=st.booleans())
    def start(self, in_one_message: bool) -> None:
        self.runtime = self.system.runtime
        emptied(self.runtime.database)
        self.time.empty_store()
        # The service has run for a while: reconcile has watched the store for long enough to act.
        reconcile(self.runtime)
        self.time.advance(ROUND)
        self.reported = Reported()
        self.workers = [Worker(self.runtime, f"w{n}", self.reported) for n in range(WORKERS)]
        self.names = WORKERS
        self.ids = self._submit(in_one_message=in_one_message)
        self.rows = self.runtime.jobs.get_many(self.ids)
        self.newest: dict[str, int] = {}
        self.pause_requested: set[str] = set()
        self.just_controlled: set[str] = set()
        self.snapshot: Snapshot | None = None

    def _submit(self, *, in_one_message: bool) -> list[str]:
        requests = [DownloadRequest(url=unused_url()) for _ in range(JOBS)]
        jobs = tasks.submit_many(requests, runtime=self.runtime)
        ids = [job.id for job in jobs]
        if in_one_message:
            queue = queue_of(jobs[0].priority)
            with self.system.store.client(db=1) as client:
                client.delete(queue)
            self.runtime.broker.put_back(ids, queue, jobs[0].published_at)
        return ids

    # ── workers and attempts ────────────────────────────────────────────────────────────────────

    def _active(self) -> list[Worker]:
        return [worker for worker in self.workers if not worker.is_suspended]

    def _attempts(self) -> list[tuple[Worker, SteppedAttempt]]:
        return [(worker, attempt) for worker in self._active() for attempt in worker.attempts]

    def _suspended_attempts(self) -> list[SteppedAttempt]:
        suspended = (worker for worker in self.workers if worker.is_suspended)
        return [attempt for worker in suspended for attempt in worker.attempts]

    def _draw_active(self, data: st.DataObject) -> Worker:
        return data.draw(st.sampled_from(self._active()), "worker")

    def _draw_job(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(self.ids), "job")

    def _draw_attempt(self, data: st.DataObject) -> tuple[Worker, SteppedAttempt]:
        return data.draw(st.sampled_from(self._attempts()), "attempt")

    def _replace(self, worker: Worker) -> None:
        """Crash a process and start another one in its place."""
        worker.crash()
        self.names += 1
        index = self.workers.index(worker)
        self.workers[index] = Worker(self.runtime, f"w{self.names}", self.reported)

    # ── time, messages and the database ─────────────────────────────────────────────────────────

    def _pass(self, seconds: float) -> None:
        """Advance the clock; active processes renew their locks and report their downloads."""
        while seconds > 0:
            busy = [worker for worker in self._active() if worker.attempts]
            for worker in busy:
                worker.keep_alive()
            step = min(seconds, HEARTBEAT) if busy else seconds
            self.time.advance(step)
            seconds -= step

    def _messages(self) -> list[QueuedMessage]:
        """Consume every message in the queues."""
        with self.system.store.client(db=1) as client:
            raw = [client.rpop(queue, 1000) for queue in DOWNLOAD_QUEUES]
        return [read_message(message) for some in raw for message in some or ()]

    @contextmanager
    def _without_database(self) -> Iterator[None]:
        """Lock the database for writing."""
        with closing(sqlite3.connect(self.database_file, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")

    # ── what is stored ──────────────────────────────────────────────────────────────────────────

    def _progress(self) -> dict[str, DownloadProgress]:
        return self.runtime.cache.download.get_many(self.ids)

    def _left_in_store(self) -> list[bytes]:
        """Return locks that are held, and jobs that the store lists as running or as not persisted."""
        client, keys = self.runtime.cache.client, self.runtime.cache.keys
        indexes = (keys.active_downloads_key(), keys.dirty_downloads_key())
        listed = [member for index in indexes for member in client.zrange(index, 0, -1)]
        return [*client.scan_iter(match="seen:lock:*"), *listed]

    def _everything(self) -> tuple[object, ...]:
        """Return all that SQL and the store have of the jobs."""
        client = self.runtime.cache.client
        hashes = {key: client.hgetall(key) for key in client.scan_iter(match="seen:download:job:*")}
        histories = {job_id: self.runtime.jobs.events(job_id) for job_id in self.ids}
        return hashes, histories, self.runtime.jobs.get_many(self.ids)

    # ── repair ──────────────────────────────────────────────────────────────────────────────────

    def _repair(self) -> None:
        """Run beat's tasks and a new worker until all jobs have ended and the store is clean."""
        repairer = Worker(self.runtime, "repairer", self.reported)
        try:
            for _ in range(ROUNDS):
                self._pass(ROUND)
                for task in (persist_progress, requeue_due, reconcile, cleanup_stale):
                    task(self.runtime)
                for message in self._messages():
                    assert message.job_ids
                    for job_id in message.job_ids:
                        self._run_whole(repairer, job_id)
                if self._is_repaired():
                    break
        finally:
            repairer.crash()

    def _run_whole(self, worker: Worker, job_id: str) -> None:
        attempt = worker.consume(job_id)
        if attempt is not None:
            worker.flush()
            assert worker.step(attempt, "verify") is None
            assert worker.end(attempt, None) is Outcome.COMPLETED

    def _is_repaired(self) -> bool:
        rows = self.runtime.jobs.get_many(self.ids).values()
        have_ended = all(job.status in FINISHED | {JobStatus.PAUSED} for job in rows)
        return have_ended and self._left_in_store() == []
