"""Workers and people change a few jobs in SQL: only legal steps, one worker, rising fences."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

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

from cache.models import version
from database import Database, JobRepository, migrate
from database.job_rows import ProgressRow
from domain.byte_counts import ByteCounts
from domain.job import FINISHED, RUNNING, TRANSITIONS, Job, JobFilter, JobStatus
from tests.support.build import NOW, new_job
from tests.support.databases import emptied
from tests.support.histories import claims_in
from tests.support.services.operations import claim

S = JobStatus
WORKERS = ("w1", "w2", "w3")
#: Why a worker hands a job back: nothing of the store's, or one of two refusals.
TROUBLE: tuple[dict[str, Any], ...] = (
    {},
    {"reason": "The store refuses: OOM.", "may_repeat": True},
    {"reason": "The store refuses: READONLY.", "may_repeat": True},
)


class Lifecycle(RuleBasedStateMachine):
    """Workers keep the job as they claimed it, and go on using it when others have moved on."""

    database: Database

    @initialize()
    def begin(self) -> None:
        self.repo = JobRepository(emptied(self.database))
        jobs = [new_job() for _ in range(2)]
        self.repo.add(jobs)
        self.ids = [job.id for job in jobs]
        self.now = NOW
        self.held: list[Job] = []
        self.fences = dict.fromkeys(self.ids, 0)
        self.saved = dict.fromkeys(self.ids, 0)

    def tick(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now

    # ── workers ─────────────────────────────────────────────────────────────────────────────────

    @rule(data=st.data(), worker=st.sampled_from(WORKERS))
    def claim(self, data: st.DataObject, worker: str) -> None:
        job_id = data.draw(st.sampled_from(self.ids), "job")
        before = self.repo.get(job_id)
        claimed = claim(self.repo, job_id, worker=worker, now=self.tick())
        assert (claimed is not None) == (before.status is S.QUEUED)
        if claimed is not None:
            assert (claimed.fence, claimed.worker) == (before.fence + 1, worker)
            self.held.append(claimed)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        """Any worker, also one whose job is long gone, tries to bring it on."""
        place = data.draw(st.integers(0, len(self.held) - 1), "held")
        job = self.held[place]
        to = data.draw(st.sampled_from(sorted(TRANSITIONS[job.status])), "to")
        before = self.repo.get(job.id)
        changes = {"next_attempt_at": self.now} if to is S.WAITING else None
        trouble = data.draw(st.sampled_from(TROUBLE), "trouble")
        moved = self.repo.transition(
            job, to, now=self.tick(), changes=changes, **(trouble if to is S.QUEUED else {})
        )
        same = (before.status, before.fence) == (job.status, job.fence)
        assert (moved is not None) == same
        if moved is None or moved.status not in RUNNING:
            del self.held[place]
        else:
            self.held[place] = moved

    @precondition(lambda self: self.held)
    @rule(data=st.data(), sequence=st.integers(1, 5), size=st.integers(0, 1000))
    def save(self, data: st.DataObject, sequence: int, size: int) -> None:
        job = data.draw(st.sampled_from(self.held), "held")
        before = self.repo.get(job.id)
        row = ProgressRow(
            job_id=job.id,
            version=version(job.fence, sequence),
            counts=ByteCounts(size),
            speed_mbps=0.0,
            reported_at=self.now,
        )
        self.repo.save_progress([row], self.tick())
        counts = (
            before.status in RUNNING
            and before.fence == job.fence
            and row.version > self.saved[job.id]
        )
        after = self.repo.get(job.id)
        assert after.bytes_downloaded == (size if counts else before.bytes_downloaded)
        if counts:
            self.saved[job.id] = row.version

    # ── people and beat ─────────────────────────────────────────────────────────────────────────

    @rule(data=st.data(), to=st.sampled_from([S.PAUSED, S.CANCELLED, S.QUEUED]))
    def ask(self, data: st.DataObject, to: JobStatus) -> None:
        job = self.repo.get(data.draw(st.sampled_from(self.ids), "job"))
        if job.status in RUNNING and to is not S.QUEUED:
            assert self.repo.request_control([job], "cancel")
            assert self.repo.get(job.id).control == "cancel"
        elif to in TRANSITIONS[job.status]:
            assert self.repo.transition(job, to, now=self.tick()) is not None

    @rule()
    def wake(self) -> None:
        due = {job.id for job in self.repo.find(JobFilter(S.WAITING))}
        assert {job.id for job in self.repo.requeue_due(self.tick())} == due

    @rule(data=st.data())
    def reconcile(self, data: st.DataObject) -> None:
        quiet = self.repo.running_not_updated_since(self.now)
        orphans = [job for job in quiet if data.draw(st.booleans(), "orphan")]
        for job in orphans:
            moved = self.repo.transition(job, S.QUEUED, now=self.tick())
            assert moved is not None
            wish = {"cancel": S.CANCELLED, "pause": S.PAUSED}.get(job.control or "", S.QUEUED)
            assert (moved.status, moved.control) == (wish, None)

    # ── what always holds ───────────────────────────────────────────────────────────────────────

    @invariant()
    def the_trail_is_legal_and_ends_where_the_job_stands(self) -> None:
        for job_id in self.ids:
            job, trail = self.repo.get(job_id), self.repo.events(job_id)
            assert (trail[0].from_status, trail[0].to_status) == (None, S.QUEUED)
            for before, after in pairwise(trail):
                assert after.from_status is before.to_status
                assert after.to_status in TRANSITIONS[before.to_status]
                assert after.fence == before.fence + claims_in(after)
                assert after.at >= before.at
            assert (trail[-1].to_status, trail[-1].fence) == (job.status, job.fence)

    @invariant()
    def fences_never_fall(self) -> None:
        for job_id in self.ids:
            fence = self.repo.get(job_id).fence
            assert fence >= self.fences[job_id]
            self.fences[job_id] = fence

    @invariant()
    def a_running_job_has_one_owner(self) -> None:
        for job_id in self.ids:
            job = self.repo.get(job_id)
            if job.status in RUNNING:
                owners = [held for held in self.held if held.id == job.id]
                assert sum(held.fence == job.fence for held in owners) == 1

    @invariant()
    def a_jobs_fields_fit_its_state(self) -> None:
        for job_id in self.ids:
            job = self.repo.get(job_id)
            if job.status in FINISHED:
                assert job.finished_at is not None
            if job.status not in RUNNING:
                assert job.control is None
            if job.status is S.WAITING:
                assert job.next_attempt_at is not None


def _without_fsync(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA synchronous=OFF").close()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'seen.db'}")
    # Nothing here is about power cuts, and thousands of fsyncs would take long.
    event.listen(database.engine, "connect", _without_fsync)
    migrate.upgrade(database)
    yield database
    database.close()


def test_every_life_of_a_job_is_a_legal_one(database: Database) -> None:
    machine = type("Machine", (Lifecycle,), {"database": database})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
