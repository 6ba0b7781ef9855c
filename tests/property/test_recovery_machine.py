"""Workers crash, are suspended and resume, the store loses data, people pause and cancel: in any order.

`test_lifecycle_machine` proves what SQL does by itself, and `test_progress_machine` what the store does.
This machine combines both with locks, leases and beat's tasks, and checks what only all of them together
guarantee: one writer at a time, true byte counts, control requests that are honored, and that every job
ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test
from sqlalchemy import event

import tasks
from domain.errors import (
    DatabaseUnavailableError,
    DrainingError,
    IllegalTransitionError,
    LeaseLostError,
    PermanentError,
    SeenError,
    TransientError,
)
from domain.job import FINISHED, RUNNING
from tasks.periodic.persist import persist_progress
from tests.support.environment import FULL
from tests.support.faults.time_travel import time_travel
from tests.support.recovery.invariants import Invariants
from tests.support.recovery.service import BEAT, Task
from tests.support.recovery.workers import SteppedAttempt, Worker
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from worker.outcome import Outcome

#: The service's own proportions: no second of them is waited for.
DEFAULTS = {
    "SEEN_LOCK_TTL": "30",
    "SEEN_ORPHAN_AFTER": "30",
    "SEEN_PROGRESS_TTL": "30",
    "SEEN_HEARTBEAT_INTERVAL": "5",
    "SEEN_PERSIST_INTERVAL": "10",
    "SEEN_MAX_ATTEMPTS": "2",
}
CONTROL = {
    tasks.Action.PAUSE: tasks.pause,
    tasks.Action.RESUME: tasks.resume,
    tasks.Action.CANCEL: tasks.cancel,
    tasks.Action.RETRY: tasks.retry,
}
#: How an attempt ends, besides by a control request.
ERRORS: dict[str, SeenError] = {
    "permanent": PermanentError("404", code="http_404"),
    "transient": TransientError("503", code="http_503"),
    "draining": DrainingError("The worker shuts down."),
    "lease lost": LeaseLostError("The lock could not be kept."),
}


class Recovery(Invariants):
    """The rules: what people, workers, beat and faults do.

    There are few rules, each with choices of its own: Hypothesis leaves some rules out of an example,
    and an example without any work would show little.
    """

    # ── people ──────────────────────────────────────────────────────────────────────────────────

    @rule(data=st.data(), action=st.sampled_from(list(tasks.Action)))
    def control(self, data: st.DataObject, action: tasks.Action) -> None:
        running = [job_id for job_id in self.ids if self.rows[job_id].status in RUNNING]
        # Running jobs are drawn more often: their control requests are the harder ones to honor.
        job_id = data.draw(st.sampled_from([*self.ids, *running, *running]), "job")
        with suppress(IllegalTransitionError):
            CONTROL[action](job_id, runtime=self.runtime)
            self.just_controlled.add(job_id)
            self._note_request(job_id, action)

    def _note_request(self, job_id: str, action: tasks.Action) -> None:
        if action is tasks.Action.PAUSE:
            self.pause_requested.add(job_id)
        elif action is not tasks.Action.RETRY or self.rows[job_id].status in FINISHED:
            self.pause_requested.discard(job_id)  # an unfinished job is not retried

    # ── workers ─────────────────────────────────────────────────────────────────────────────────

    @precondition(lambda self: self._active())
    @rule(data=st.data())
    def consume(self, data: st.DataObject) -> None:
        """A message is only a hint: any worker may get one for any job at any time."""
        self._consume(data, self._draw_active(data), self._draw_job(data))

    def _consume(
        self, data: st.DataObject, worker: Worker, job_id: str, sent_at: datetime | None = None
    ) -> None:
        attempt = worker.consume(job_id, sent_at)
        if attempt is not None:
            self._work(data, worker, attempt)

    @precondition(lambda self: self._active())
    @rule(data=st.data())
    def consume_together(self, data: st.DataObject) -> None:
        """A message may name several jobs, and another worker may have one with some of them."""
        for _ in range(data.draw(st.integers(1, 2), "messages")):
            self._draw_active(data).consume_together(self.ids)

    @precondition(lambda self: self._groups())
    @rule(data=st.data())
    def end_together(self, data: st.DataObject) -> None:
        """Each end of a group is compared with its own fence, and changes its own job only."""
        worker, attempts = data.draw(st.sampled_from(self._groups()), "group")
        errors = {one: self._draw_end(data, one) for one in attempts}
        before = {one: (self._traces(one.job.id), one.lease.is_expired()) for one in attempts}
        worker.end_together(errors)
        for attempt, (traces, expired) in before.items():
            after = self._traces(attempt.job.id)
            self._check_old_claim(attempt, traces, after, expired=expired)

    def _groups(self) -> list[tuple[Worker, list[SteppedAttempt]]]:
        """Return workers that run several jobs, each with one attempt of every job."""
        found = [
            (worker, list({one.job.id: one for one in worker.attempts}.values()))
            for worker in self._active()
        ]
        return [(worker, attempts) for worker, attempts in found if len(attempts) > 1]

    def _draw_end(self, data: st.DataObject, attempt: SteppedAttempt) -> SeenError | None:
        ends: list[SeenError | None] = [ERRORS[name] for name in sorted(ERRORS)]
        ends += [None] if attempt.is_verifying else []
        ends += [attempt.stop.error] if attempt.stop.error else []
        return data.draw(st.sampled_from(ends), "end")

    @precondition(lambda self: self._attempts())
    @rule(data=st.data())
    def work(self, data: st.DataObject) -> None:
        self._work(data, *self._draw_attempt(data))

    def _work(self, data: st.DataObject, worker: Worker, attempt: SteppedAttempt) -> None:
        """Do some steps in a row, or fewer when the attempt ends."""
        for _ in range(data.draw(st.integers(1, 4), "steps")):
            if attempt not in worker.attempts:
                break
            before, expired = self._traces(attempt.job.id), attempt.lease.is_expired()
            step = data.draw(st.sampled_from(self._choices(attempt)), "step")
            self._do(worker, attempt, self._draw_error(data) if step == "end" else step)
            if not any(other.replaces(attempt) for other in worker.attempts):
                after = self._traces(attempt.job.id)
                self._check_old_claim(attempt, before, after, expired=expired)
            self.progress_is_what_the_newest_claim_reported()

    def _do(self, worker: Worker, attempt: SteppedAttempt, step: str) -> None:
        match step:
            case "flush":
                worker.flush()
            case "lose a request":
                worker.flush(loses="request")
            case "lose a reply":
                worker.flush(loses="reply")
            case "complete":
                worker.end(attempt, None)
            case "honor":
                worker.end(attempt, attempt.stop.error)
            case error if error in ERRORS:
                worker.end(attempt, ERRORS[error])
            case step:
                worker.step(attempt, step, 100)

    def _choices(self, attempt: SteppedAttempt) -> list[str]:
        """Return the possible next steps; a process that should have stopped may do any of them, too."""
        steps = (
            ["complete"] if attempt.is_verifying else ["write", "verify", "checkpoint", "restart"]
        )
        honor = ["honor"] if attempt.stop.error else []
        return [*honor, *steps, "flush", "flush", "lose a request", "lose a reply", "end"]

    def _draw_error(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(ERRORS)), "error")

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
        """Beat may have been down for any time: its tasks run in any order, or not at all."""
        self._pass(seconds)
        for tick in ticks:
            tick(self.runtime)
        if delivers:
            self._deliver(data)

    @precondition(lambda self: self._attempts())
    @rule(data=st.data(), seconds=st.sampled_from([22.0, 31.0]))
    def suspend_and_replace(self, data: st.DataObject, seconds: float) -> None:
        """The main case: a process is suspended, its jobs run elsewhere, and it resumes."""
        worker, _ = self._draw_attempt(data)
        worker.is_suspended = True
        self._pass(seconds)
        for tick in BEAT:
            tick(self.runtime)
        self._deliver(data)
        self.one_process_at_a_time_may_write()
        worker.is_suspended = data.draw(st.booleans(), "stays suspended")

    def _deliver(self, data: st.DataObject) -> None:
        """Deliver what waits in the queues to active workers."""
        for message in self._messages() if self._active() else []:
            assert message.job_ids
            if len(message.job_ids) > 1 and data.draw(st.booleans(), "together"):
                self._draw_active(data).consume_together(message.job_ids, message.sent_at)
                continue
            for job_id in message.job_ids:
                self._consume(data, self._draw_active(data), job_id, message.sent_at)

    # ── faults ──────────────────────────────────────────────────────────────────────────────────

    @rule(data=st.data())
    def suspend_or_resume(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(self.workers), "worker")
        worker.is_suspended = not worker.is_suspended

    @rule(data=st.data(), fault=st.sampled_from(["crash", "store", "store", "database"]))
    def break_something(self, data: st.DataObject, fault: str) -> None:
        match fault:
            case "crash":
                self._replace(data.draw(st.sampled_from(self.workers), "worker"))
            case "store":
                how = data.draw(st.sampled_from(["empty", "snapshot", "roll back"]), "how")
                self._lose_data(how)
            case _ if self._attempts():
                self._end_without_database(*self._draw_attempt(data), self._draw_error(data))
            case _:
                with self._without_database(), suppress(DatabaseUnavailableError):
                    persist_progress(self.runtime)

    def _lose_data(self, how: str) -> None:
        """Empty the store, or roll it back to a snapshot; active workers report again at once.

        Not while a suspended process holds a lease: for reconcile it looks like a dead one, and the last
        heartbeat that SQL knows of may be older than the lease.
        """
        if how == "snapshot":
            self.snapshot = self.time.snapshot()
        elif not any(attempt.lease.is_alive() for attempt in self._suspended_attempts()):
            if how == "roll back" and self.snapshot is not None:
                self.time.roll_back(self.snapshot)
            else:
                self.time.empty_store()
            self.newest.clear()
            for worker in self._active():
                worker.keep_alive()

    def _end_without_database(self, worker: Worker, attempt: SteppedAttempt, error: str) -> None:
        """A draining worker does not wait for the database; the store has its last progress."""
        with self._without_database():
            worker.runtime.drain.start()
            assert worker.end(attempt, ERRORS[error]) in {Outcome.UNSAVED, Outcome.FENCED}
        self._replace(worker)

    # ── the end ─────────────────────────────────────────────────────────────────────────────────

    def teardown(self) -> None:
        if not hasattr(self, "workers"):
            return
        try:
            self._repair_and_check()
        finally:
            for worker in self.workers:
                worker.crash()

    def _repair_and_check(self) -> None:
        """Crash active workers, repair, and resume the suspended ones: they change nothing any more."""
        for worker in self._active():
            worker.crash()
        self.workers = [worker for worker in self.workers if worker.is_suspended]
        self._repair()
        repaired = self._everything()
        self._check_ends()
        for suspended in self.workers:
            self._continue_old_attempts(suspended)
        assert self._everything() == repaired

    def _continue_old_attempts(self, worker: Worker) -> None:
        worker.flush()
        for attempt in list(worker.attempts):
            if worker.step(attempt, "write", 100) is None:
                raise AssertionError("it wrote to a part file of a job that it has lost")
        worker.flush()


def _fail_fast(connection: Any, _record: Any) -> None:
    """Do not fsync, since no power cut is simulated, and do not wait for a locked database."""
    connection.execute("PRAGMA synchronous=OFF").close()
    connection.execute("PRAGMA busy_timeout=10").close()


@pytest.fixture
def system(tmp_path: Path, store: StoreServer) -> Iterator[System]:
    with System(tmp_path, store, settings=DEFAULTS) as system:
        system.runtime.database.close()
        event.listen(system.runtime.database.engine, "connect", _fail_fast)
        yield system


@pytest.mark.timeout(900)  # a failing example is shrunk first, which may take minutes
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
