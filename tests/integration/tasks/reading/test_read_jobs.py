"""Reading jobs with the public API: one, a page, a history, with live progress."""

from __future__ import annotations

import pytest

import tasks
from domain.errors import UnknownJobError
from domain.ids import new_job_id
from domain.job import JobFilter, JobStatus
from tests.support.origins.origin import Origin
from tests.support.services.running import running
from tests.support.services.system import System
from tests.support.wait import wait_until

URL = "http://127.0.0.1:9"


def test_show_returns_one_job(any_system: System) -> None:
    job = any_system.submit(f"{URL}/a.bin", user_id="ada")
    view = tasks.show(job.id, runtime=any_system.runtime)
    assert (view.job.id, view.status, view.label) == (job.id, JobStatus.QUEUED, "a.bin")
    assert tasks.job_as_json(view)["user_id"] == "ada"
    with pytest.raises(UnknownJobError):
        tasks.show(new_job_id(), runtime=any_system.runtime)


def test_list_jobs_returns_pages_of_filtered_jobs(any_system: System) -> None:
    mine = [any_system.submit(f"{URL}/{n}", user_id="ada").id for n in range(3)]
    any_system.submit(f"{URL}/other", user_id="bob")
    where = JobFilter(user_id="ada")
    first = tasks.list_jobs(where, limit=2, runtime=any_system.runtime)
    rest = tasks.list_jobs(where, before_id=first[-1].job.id, runtime=any_system.runtime)
    assert [view.job.id for view in (*first, *rest)] == sorted(mine, reverse=True)
    assert len(tasks.list_jobs(runtime=any_system.runtime)) == 4


def test_history_returns_the_events_of_a_job(any_system: System) -> None:
    job = any_system.submit(f"{URL}/a.bin")
    tasks.pause(job.id, runtime=any_system.runtime)
    events = tasks.history(job.id, runtime=any_system.runtime)
    assert [event.to_status for event in events] == [JobStatus.QUEUED, JobStatus.PAUSED]
    assert tasks.event_as_json(events[0])["from_status"] is None
    assert tasks.history(new_job_id(), runtime=any_system.runtime) == []


def test_running_job_is_shown_with_progress_from_the_store(system: System, origin: Origin) -> None:
    file = origin.serve("/a.bin", size=400_000, hang_after=200_000, faults=1)
    job = system.submit(file.url)
    with running(system, job):
        wait_until(
            lambda: tasks.show(job.id, runtime=system.runtime).progress.bytes_downloaded == 200_000
        )
        (view,) = tasks.list_jobs(runtime=system.runtime)
        assert view.status is JobStatus.DOWNLOADING
        assert system.job(job).bytes_downloaded < 200_000
        tasks.cancel(job.id, runtime=system.runtime)
