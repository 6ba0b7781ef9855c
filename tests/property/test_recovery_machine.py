"""Workers crash, pause and go on, the store loses data, people pause and cancel: in any order.

`test_lifecycle_machine` proves what SQL does by itself, and `test_progress_machine` what the store does.
This one puts both together with locks, leases and beat's tasks, and asks what only all of them can
keep: one writer at a time, numbers that somebody told, wishes that are heeded, an end for every job.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import event

import tasks
from cache import DownloadProgress
from domain.errors import (
    DatabaseUnavailableError,
    DrainingError,
    IllegalTransitionError,
    LeaseLostError,
    PermanentError,
    SeenError,
    TransientError,
)
from domain.job import FINISHED, RUNNING, TRANSITIONS, Job, JobEvent, JobStatus
from tasks.periodic.maintenance import cleanup_stale, requeue_due
from tasks.periodic.persist import persist_progress
from tasks.periodic.reconcile import reconcile
from tests.support.build import unused_url
from tests.support.databases import emptied
from tests.support.environment import FULL
from tests.support.faults.time_travel import Snapshot, TimeTravel, time_travel
from tests.support.histories import claims_in
from tests.support.services.simulated_workers import TOTAL, SteppedAttempt, Told, Worker
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from worker.broker.client import QueuedMessage, read_message
from worker.broker.queues import DOWNLOAD_QUEUES
from worker.runner import Outcome
from worker.runtime import Runtime

S = JobStatus
#: The service's own proportions: no second of them is waited for.
DEFAULTS = {
    "SEEN_LOCK_TTL": "30",
    "SEEN_ORPHAN_AFTER": "30",
    "SEEN_PROGRESS_TTL": "30",
    "SEEN_HEARTBEAT_INTERVAL": "5",
    "SEEN_PERSIST_INTERVAL": "10",
    "SEEN_MAX_ATTEMPTS": "2",
}
WORKERS = 2
JOBS = 2
#: Processes that live renew their locks and tell of their downloads at least this often. Seconds.
HEARTBEAT = 5.0
#: Rounds of beat that put everything right; each begins when locks and graces have run out.
ROUNDS = 6
ROUND = 31.0
Task = Callable[[Runtime], object]
BEAT: list[Task] = [reconcile, requeue_due, persist_progress, cleanup_stale]
_ASKS = {
    tasks.Action.PAUSE: tasks.pause,
    tasks.Action.RESUME: tasks.resume,
    tasks.Action.CANCEL: tasks.cancel,
    tasks.Action.RETRY: tasks.retry,
}
#: How an attempt ends, but by what others want of it.
ENDS: dict[str, SeenError] = {
    "permanent": PermanentError("404", code="http_404"),
    "transient": TransientError("503", code="http_503"),
    "draining": DrainingError("The worker shuts down."),
    "lease lost": LeaseLostError("The lock could not be kept."),
}


class Traces(NamedTuple):
    """What there is of a job: in SQL, and in the store."""

    row: Job
    trail: tuple[JobEvent, ...]
    progress: DownloadProgress | None


class Recovery(RuleBasedStateMachine):
    """Two workers, two jobs, one store, one database."""

    system: System
    time: TimeTravel
    database_file: Path

    @initialize()
    def begin(self) -> None:
        self.runtime = self.system.runtime
        emptied(self.runtime.database)
        self.time.empty_store()
        # The service has run for a while: what reconcile has watched long enough, it may conclude from.
        reconcile(self.runtime)
        self.time.advance(ROUND)
        self.told = Told()
        self.workers = [Worker(self.runtime, f"w{n}", self.told) for n in range(WORKERS)]
        self.names = WORKERS
        self.ids = [self.system.submit(unused_url()).id for _ in range(JOBS)]
        self.rows = self.runtime.jobs.get_many(self.ids)
        self.newest: dict[str, int] = {}
        self.pause_wanted: set[str] = set()
        self.asked_now: set[str] = set()
        self.snapshot: Snapshot | None = None

    # Few rules, each with a choice of its own: Hypothesis leaves some rules out of an example, and one
    # without any work would show little.

    # ── people ──────────────────────────────────────────────────────────────────────────────────

    @rule(data=st.data(), what=st.sampled_from(list(tasks.Action)))
    def ask(self, data: st.DataObject, what: tasks.Action) -> None:
        running = [job_id for job_id in self.ids if self.rows[job_id].status in RUNNING]
        # Twice for a job that runs: what is asked of one is the harder to keep.
        job_id = data.draw(st.sampled_from([*self.ids, *running, *running]), "job")
        with suppress(IllegalTransitionError):
            _ASKS[what](job_id, runtime=self.runtime)
            self.asked_now.add(job_id)
            self._note_wish(job_id, what)

    def _note_wish(self, job_id: str, what: tasks.Action) -> None:
        if what is tasks.Action.PAUSE:
            self.pause_wanted.add(job_id)
        elif what is not tasks.Action.RETRY or self.rows[job_id].status in FINISHED:
            self.pause_wanted.discard(job_id)  # a job that has not ended is not retried

    # ── workers ─────────────────────────────────────────────────────────────────────────────────

    @precondition(lambda self: self._awake())
    @rule(data=st.data())
    def take(self, data: st.DataObject) -> None:
        """A message is a hint: anybody may have one for any job at any time."""
        self._take(data, data.draw(st.sampled_from(self._awake()), "worker"), self._job(data))

    def _take(
        self, data: st.DataObject, worker: Worker, job_id: str, sent_at: datetime | None = None
    ) -> None:
        attempt = worker.take(job_id, sent_at)
        if attempt is not None:
            self._work(data, worker, attempt)

    @precondition(lambda self: self._attempts())
    @rule(data=st.data())
    def work(self, data: st.DataObject) -> None:
        self._work(data, *self._attempt(data))

    def _work(self, data: st.DataObject, worker: Worker, attempt: SteppedAttempt) -> None:
        """Do some steps in a row, until it ends."""
        for _ in range(data.draw(st.integers(1, 4), "steps")):
            if attempt not in worker.attempts:
                break
            before, over = self._traces(attempt.job.id), attempt.lease.is_expired()
            what = data.draw(st.sampled_from(self._choices(attempt)), "what")
            self._do(worker, attempt, self._how(data) if what == "end" else what)
            if not any(other.replaces(attempt) for other in worker.attempts):
                self._check_old_claim(attempt, before, self._traces(attempt.job.id), over=over)
            self.the_hash_tells_what_the_newest_claim_told()

    def _traces(self, job_id: str) -> Traces:
        jobs, progress = self.runtime.jobs, self._progress().get(job_id)
        return Traces(jobs.get(job_id), tuple(jobs.events(job_id)), progress)

    def _check_old_claim(
        self, attempt: SteppedAttempt, before: Traces, after: Traces, *, over: bool
    ) -> None:
        """Nothing moves by the hand of an old claim, and no hash by one whose lock may be another's."""
        if before.row.fence > attempt.job.fence:
            assert (after.row, after.trail) == (before.row, before.trail)
            if before.progress is not None and before.progress.fence > attempt.job.fence:
                assert after.progress == before.progress
        if over:
            assert after.progress == before.progress

    def _do(self, worker: Worker, attempt: SteppedAttempt, what: str) -> None:
        match what:
            case "flush":
                worker.flush()
            case "lose a request":
                worker.flush(loses="request")
            case "lose an answer":
                worker.flush(loses="answer")
            case "complete":
                worker.end(attempt, None)
            case "heed":
                worker.end(attempt, attempt.stop.error)
            case how if how in ENDS:
                worker.end(attempt, ENDS[how])
            case how:
                worker.step(attempt, how, 100)

    def _choices(self, attempt: SteppedAttempt) -> list[str]:
        """What may come next: anything, also of a process that should have stopped long ago."""
        steps = (
            ["complete"]
            if attempt.is_verifying
            else ["write", "verify", "checkpoint", "begin anew"]
        )
        told = ["heed"] if attempt.stop.error else []
        return [*told, *steps, "flush", "flush", "lose a request", "lose an answer", "end"]

    # ── time and beat ───────────────────────────────────────────────────────────────────────────

    @rule(
        data=st.data(),
        seconds=st.sampled_from([4.0, 11.0, 22.0, 31.0]),
        ticks=st.just(BEAT) | st.lists(st.sampled_from(BEAT), max_size=3),
        delivers=st.booleans(),
    )
    def let_time_pass(
        self, data: st.DataObject, seconds: float, ticks: list[Task], delivers: bool
    ) -> None:
        """Beat may have been away for any time: what it does is done in any order, or not at all."""
        self._pass(seconds)
        for tick in ticks:
            tick(self.runtime)
        if delivers:
            self._deliver(data)

    @precondition(lambda self: self._attempts())
    @rule(data=st.data(), seconds=st.sampled_from([22.0, 31.0]))
    def stand_still_and_be_replaced(self, data: st.DataObject, seconds: float) -> None:
        """What all of this is about: a process is stopped, its jobs are handed on, and it goes on."""
        worker, _ = self._attempt(data)
        worker.stands_still = True
        self._pass(seconds)
        for tick in BEAT:
            tick(self.runtime)
        self._deliver(data)
        self.one_process_at_a_time_may_write()
        worker.stands_still = data.draw(st.booleans(), "for longer")

    def _deliver(self, data: st.DataObject) -> None:
        """Give what waits in the queues to processes that are awake."""
        for message in self._messages() if self._awake() else []:
            assert message.job_id is not None
            worker = data.draw(st.sampled_from(self._awake()), "worker")
            self._take(data, worker, message.job_id, message.sent_at)

    # ── what breaks ─────────────────────────────────────────────────────────────────────────────

    @rule(data=st.data())
    def stand_still_or_go_on(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(self.workers), "worker")
        worker.stands_still = not worker.stands_still

    @rule(data=st.data(), what=st.sampled_from(["falls", "store", "store", "database"]))
    def break_something(self, data: st.DataObject, what: str) -> None:
        match what:
            case "falls":
                self._replace(data.draw(st.sampled_from(self.workers), "worker"))
            case "store":
                self._forget(data.draw(st.sampled_from(["empty", "snapshot", "roll back"]), "how"))
            case _ if self._attempts():
                self._end_without_database(*self._attempt(data), self._how(data))
            case _:
                with self._without_database(), suppress(DatabaseUnavailableError):
                    persist_progress(self.runtime)

    def _forget(self, how: str) -> None:
        """Let the store lose what it has, or all since a snapshot; who is awake tells it at once anew.

        Not while a process stands still whose lease goes on: reconcile cannot tell it from one that is
        gone, and counts from the last sign of life that SQL has, which may be older than the lease.
        """
        if how == "snapshot":
            self.snapshot = self.time.snapshot()
        elif not any(attempt.lease.is_alive() for attempt in self._standing_still()):
            if how == "roll back" and self.snapshot is not None:
                self.time.roll_back(self.snapshot)
            else:
                self.time.empty_store()
            self.newest.clear()
            for worker in self._awake():
                worker.keep_alive()

    def _end_without_database(self, worker: Worker, attempt: SteppedAttempt, how: str) -> None:
        """A worker that shuts down waits for no database; the store has its last word."""
        with self._without_database():
            worker.runtime.drain.start()
            assert worker.end(attempt, ENDS[how]) in {Outcome.UNSAVED, Outcome.FENCED}
        self._replace(worker)

    def _replace(self, worker: Worker) -> None:
        """Let a process fall, and another one come for it."""
        worker.fall()
        self.names += 1
        place = self.workers.index(worker)
        self.workers[place] = Worker(self.runtime, f"w{self.names}", self.told)

    # ── what always holds ───────────────────────────────────────────────────────────────────────

    @invariant()
    def the_trail_is_legal(self) -> None:
        for job_id in self.ids:
            job, trail = self.runtime.jobs.get(job_id), self.runtime.jobs.events(job_id)
            for before, after in pairwise(trail):
                note = after.from_status is after.to_status
                assert after.from_status is before.to_status
                assert note or after.to_status in TRANSITIONS[before.to_status]
                assert after.fence == before.fence + claims_in(after)
            assert (trail[-1].to_status, trail[-1].fence) == (job.status, job.fence)

    @invariant()
    def one_process_at_a_time_may_write(self) -> None:
        """Whatever the store has forgotten: a lease ends on its holder's own clock."""
        for job_id in self.ids:
            writers = [
                (worker.runtime.worker, attempt.job.fence)
                for worker in self.workers
                for attempt in worker.attempts
                if attempt.job.id == job_id and attempt.lease.is_alive()
            ]
            assert len(writers) <= 1, writers

    @invariant()
    def the_hash_tells_what_the_newest_claim_told(self) -> None:
        for job_id, progress in self._progress().items():
            said = self.told.of(job_id, progress.fence, progress.sequence)
            assert progress.bytes_downloaded == said
            assert progress.bytes_downloaded <= TOTAL
            assert progress.fence >= self.newest.get(job_id, 0)
            self.newest[job_id] = progress.fence

    @invariant()
    def rows_move_as_they_may(self) -> None:
        for job_id, job in self.runtime.jobs.get_many(self.ids).items():
            before = self.rows.get(job_id)
            if before is not None:
                self._check_step(before, job)
            assert job.bytes_durable <= job.bytes_downloaded <= TOTAL
            assert (job.status in FINISHED) == (job.finished_at is not None)
            self.rows[job_id] = job
        self.asked_now.clear()

    def _check_step(self, before: Job, job: Job) -> None:
        assert job.fence >= before.fence
        if job.id in self.asked_now:
            return
        if before.status in FINISHED:
            unchanged = ("status", "fence", "bytes_downloaded", "path", "reason", "attempts")
            assert all(getattr(job, name) == getattr(before, name) for name in unchanged)
        if before.control and job.status not in RUNNING:
            # It may have ended before it heard of it; what it may not do is go on.
            wanted = {"cancel": S.CANCELLED, "pause": S.PAUSED}[before.control]
            assert job.status in {wanted, S.COMPLETED, S.FAILED}

    # ── the end: everything is put right ────────────────────────────────────────────────────────

    def teardown(self) -> None:
        if not hasattr(self, "workers"):
            return
        try:
            self._heal()
        finally:
            for worker in self.workers:
                worker.fall()

    def _heal(self) -> None:
        """Those that stand still go on when all is over; the others have fallen."""
        for worker in self._awake():
            worker.fall()
        self.workers = [worker for worker in self.workers if worker.stands_still]
        healer = Worker(self.runtime, "healer", self.told)
        try:
            for _ in range(ROUNDS):
                self._pass(ROUND)
                for what in (persist_progress, requeue_due, reconcile, cleanup_stale):
                    what(self.runtime)
                for message in self._messages():
                    assert message.job_id is not None
                    self._run_whole(healer, message.job_id)
                if self._is_all_over():
                    break
        finally:
            healer.fall()
        ended = self._everything()
        self._check_ends()
        for zombie in self.workers:
            self._try_everything(zombie)
        assert self._everything() == ended

    def _run_whole(self, worker: Worker, job_id: str) -> None:
        attempt = worker.take(job_id)
        if attempt is not None:
            worker.flush()
            assert worker.step(attempt, "verify") is None
            assert worker.end(attempt, None) is Outcome.COMPLETED

    def _check_ends(self) -> None:
        for job_id, job in self.runtime.jobs.get_many(self.ids).items():
            wanted = FINISHED
            if job_id in self.pause_wanted:
                wanted = FINISHED | {S.PAUSED}
            assert job.status in wanted, (job.status, job.reason)
        assert self._left_in_store() == []

    def _is_all_over(self) -> bool:
        rows = self.runtime.jobs.get_many(self.ids).values()
        settled = all(job.status in FINISHED | {S.PAUSED} for job in rows)
        return settled and self._left_in_store() == []

    def _left_in_store(self) -> list[bytes]:
        """Return locks that are held, and jobs that the store lists as running or as unsaved."""
        client, keys = self.runtime.cache.client, self.runtime.cache.keys
        indexes = (keys.active_downloads_key(), keys.dirty_downloads_key())
        listed = [member for index in indexes for member in client.zrange(index, 0, -1)]
        return [*client.scan_iter(match="seen:lock:*"), *listed]

    def _try_everything(self, zombie: Worker) -> None:
        """A process that stood still from before the end of all tries to go on where it was."""
        zombie.flush()
        for attempt in list(zombie.attempts):
            if zombie.step(attempt, "write", 100) is None:
                raise AssertionError("it wrote into a file that is not its own any more")
        zombie.flush()

    def _everything(self) -> tuple[object, ...]:
        client = self.runtime.cache.client
        hashes = {key: client.hgetall(key) for key in client.scan_iter(match="seen:download:job:*")}
        trails = {job_id: self.runtime.jobs.events(job_id) for job_id in self.ids}
        return hashes, trails, self.runtime.jobs.get_many(self.ids)

    # ── small things ────────────────────────────────────────────────────────────────────────────

    def _awake(self) -> list[Worker]:
        return [worker for worker in self.workers if not worker.stands_still]

    def _attempts(self) -> list[tuple[Worker, SteppedAttempt]]:
        return [(worker, attempt) for worker in self._awake() for attempt in worker.attempts]

    def _standing_still(self) -> list[SteppedAttempt]:
        stopped = (worker for worker in self.workers if worker.stands_still)
        return [attempt for worker in stopped for attempt in worker.attempts]

    def _job(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(self.ids), "job")

    def _how(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(ENDS)), "how")

    def _attempt(self, data: st.DataObject) -> tuple[Worker, SteppedAttempt]:
        return data.draw(st.sampled_from(self._attempts()), "attempt")

    def _progress(self) -> dict[str, DownloadProgress]:
        return self.runtime.cache.download.get_many(self.ids)

    def _pass(self, seconds: float) -> None:
        """Let time go by; processes that live renew their locks and tell of their downloads."""
        while seconds > 0:
            alive = [worker for worker in self._awake() if worker.attempts]
            for worker in alive:
                worker.keep_alive()
            step = min(seconds, HEARTBEAT) if alive else seconds
            self.time.advance(step)
            seconds -= step

    def _messages(self) -> list[QueuedMessage]:
        """Take every message out of the queues."""
        with self.system.store.client(db=1) as client:
            raw = [client.rpop(queue, 1000) for queue in DOWNLOAD_QUEUES]
        return [read_message(message) for some in raw for message in some or ()]

    @contextmanager
    def _without_database(self) -> Iterator[None]:
        """Let nobody write to it."""
        with closing(sqlite3.connect(self.database_file, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")


def _impatient(connection: Any, _record: Any) -> None:
    """Nothing here is about power cuts, and who finds the database locked need not wait for it."""
    connection.execute("PRAGMA synchronous=OFF").close()
    connection.execute("PRAGMA busy_timeout=10").close()


@pytest.fixture
def system(tmp_path: Path, store: StoreServer) -> Iterator[System]:
    with System(tmp_path, store, settings=DEFAULTS) as system:
        system.runtime.database.close()
        event.listen(system.runtime.database.engine, "connect", _impatient)
        yield system


@pytest.mark.timeout(900)  # what it finds it makes shorter first, which may take minutes
def test_whatever_breaks_one_worker_writes_counts_are_true_and_every_job_ends(
    system: System, store: StoreServer, tmp_path: Path
) -> None:
    with time_travel(system.runtime, store) as time:
        attributes = {"system": system, "time": time, "database_file": tmp_path / "seen.db"}
        run_state_machine_as_test(
            type("Machine", (Recovery,), attributes),
            settings=settings(
                max_examples=2000 if FULL else 60,
                stateful_step_count=60 if FULL else 30,
                deadline=None,
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
            ),
        )
