"""The jobs of one `seen get`: a bounded number at a time, earlier ones as this command wants them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

import tasks
from cli.following import batch as batch_module
from cli.following.batch import Batch
from domain.job import JobStatus, Priority
from domain.limits import job_scope
from domain.request import DownloadRequest
from tests.support.services import operations
from tests.support.services.system import System

URL = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def _runtime_of_this_system(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_module, "open_runtime", lambda: system.runtime)


def _submit(*names: str, at_once: int | None = None, **fields: Any) -> Batch:
    requests = [DownloadRequest(url=f"{URL}/{name}", **fields) for name in names]
    batch = Batch.of(requests, typed=len(requests), at_once=at_once, stack=None, show_urls=False)
    batch.submit(None, lambda: None)
    return batch


def _labels(batch: Batch) -> list[str]:
    return [view.label for view in batch.read()]


def _end(batch: Batch, system: System, name: str) -> None:
    (job_id,) = [view.job.id for view in batch.read() if view.label == name]
    tasks.cancel(job_id, runtime=system.runtime)


def test_as_many_jobs_as_wanted_are_unfinished_at_a_time(system: System) -> None:
    batch = _submit(*"abcde", at_once=2)
    for _ in range(3):
        assert _labels(batch) == ["a", "b"]
    assert batch.unsubmitted == 3
    _end(batch, system, "b")
    assert _labels(batch) == ["a", "b", "c"]
    _end(batch, system, "a")
    _end(batch, system, "c")
    assert _labels(batch) == ["c", "d", "e"], "those that ended were returned before"
    assert batch.unsubmitted == 0
    assert list(batch.stored.values()) == [0] * 5


def test_all_jobs_are_submitted_at_once_without_a_number(system: System) -> None:
    batch = _submit(*"abc")
    assert (batch.unsubmitted, len(system.runtime.jobs.find())) == (0, 3)


def test_without_a_number_groups_are_submitted_ahead_of_the_workers(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_module, "_AHEAD", 6)
    monkeypatch.setattr(batch_module, "_GROUP", 2)
    batch = _submit(*map(str, range(12)))
    assert (len(batch.read()), batch.unsubmitted) == (6, 6)
    _end(batch, system, "0")
    assert len(batch.read()) == 6, "with the one that has ended"
    assert (len(batch.read()), batch.unsubmitted) == (5, 6), "a whole group or none"
    _end(batch, system, "1")
    assert (len(batch.read()), batch.unsubmitted) == (7, 4)
    assert batch.totals.counts == {JobStatus.CANCELLED: 2, JobStatus.QUEUED: 6}
    assert batch.totals.number == 12
    for number in range(2, 12):
        _end(batch, system, str(number))
    assert [view.status for view in batch.read()] == [JobStatus.CANCELLED] * 1
    assert batch.totals.counts == {JobStatus.CANCELLED: 12}
    assert len(list(batch.all())) == 12


def test_many_earlier_jobs_are_counted(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_module, "_NAMED", 1)
    names = [str(number) for number in range(6)]
    jobs = [system.submit(f"{URL}/{name}") for name in names]
    tasks.control_many(tasks.Action.PAUSE, [job.id for job in jobs[:3]], runtime=system.runtime)
    batch = _submit(*names)
    assert batch.take_notes() == [
        "0: continuing an earlier download",
        "3: already being downloaded; waiting for it",
        "2 more: continuing an earlier download",
        "2 more: already being downloaded; waiting for it",
    ]
    assert {view.status for view in batch.read()} == {JobStatus.QUEUED}
    batch.pause()
    assert (batch.left, [view.status for view in batch.read()]) == (3, [JobStatus.PAUSED] * 3)


def test_no_job_follows_after_the_others_are_paused(system: System) -> None:
    batch = _submit(*"abc", at_once=1)
    batch.pause()
    assert [view.status for view in batch.read()] == [JobStatus.PAUSED]
    assert batch.unsubmitted == 2
    assert len(system.runtime.jobs.find()) == 1


def test_an_earlier_job_gets_the_rate_and_the_higher_priority(system: System) -> None:
    low, high = (
        system.submit(f"{URL}/{name}", priority=priority, max_rate=5_000)
        for name, priority in (("low", Priority.LOW), ("high", Priority.HIGH))
    )
    batch = _submit("low", "high", "new", max_rate=10_000, priority=Priority.NORMAL)
    assert system.job(low).priority is Priority.NORMAL
    assert system.job(high).priority is Priority.HIGH
    rates = system.runtime.cache.limits.rates()
    assert rates == {job_scope(low.id): 10_000, job_scope(high.id): 10_000}
    assert batch.take_notes() == [
        f"{name}: already being downloaded; waiting for it" for name in ("low", "high")
    ]
    assert batch.take_notes() == []


def test_an_earlier_job_keeps_its_rate_where_none_is_given(system: System) -> None:
    job = system.submit(f"{URL}/a", max_rate=5_000)
    _submit("a")
    assert system.runtime.cache.limits.rates() == {}
    assert system.job(job).max_rate == 5_000


def test_bytes_stored_before_count_only_of_jobs_that_do_not_run(system: System) -> None:
    jobs = {name: system.submit(f"{URL}/{name}") for name in ("paused", "running")}
    tasks.pause(jobs["paused"].id, runtime=system.runtime)
    now = datetime.now(UTC)
    assert operations.claim(system.runtime.jobs, jobs["running"].id, worker="w", now=now)
    batch = _submit("new", "paused", "running")
    new = next(iter(batch.stored))
    assert batch.stored == {new: 0, jobs["paused"].id: 0}
