"""What has changed since the last poll, from SQL's events and the index of active downloads."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import insert

import tasks
from database.models import job_events
from database.watching.event_log import EventLog, EventNumber
from domain.errors import DatabaseUnavailableError
from domain.job import JobStatus
from tasks.api import changes
from tasks.api.changes import ChangeFeed
from tests.support.origins.origin import Origin
from tests.support.services.running import run_download, running
from tests.support.services.system import System
from tests.support.wait import wait_until

URL = "http://127.0.0.1:9"


class BrokenLog(EventLog):
    """Fails as without a database, while that is set."""

    fails = False

    def since(self, number: int, *, limit: int) -> list[EventNumber]:
        if self.fails:
            raise DatabaseUnavailableError("The database does not answer.")
        return super().since(number, limit=limit)


def feed_of(system: System, kind: type[EventLog] = EventLog) -> ChangeFeed:
    runtime = system.runtime
    return ChangeFeed(runtime.jobs, kind(runtime.database), runtime.cache.download)


@pytest.fixture
def feed(any_system: System) -> ChangeFeed:
    any_system.submit(f"{URL}/before")
    feed = feed_of(any_system)
    feed.start()
    return feed


def states(found: changes.Changes) -> dict[str, str]:
    return {view.job.id: view.status.value for view in found.views}


def test_each_change_of_state_is_found_once(any_system: System, feed: ChangeFeed) -> None:
    assert feed.poll() == changes.Changes()
    first, second = (any_system.submit(f"{URL}/{n}").id for n in range(2))
    assert states(feed.poll()) == {first: "queued", second: "queued"}
    tasks.pause(first, runtime=any_system.runtime)
    assert states(feed.poll()) == {first: "paused"}
    assert feed.poll() == changes.Changes()


def test_first_job_of_all_is_found(any_system: System) -> None:
    feed = feed_of(any_system)
    feed.start()
    job = any_system.submit(f"{URL}/a").id
    assert states(feed.poll()) == {job: "queued"}


def test_progress_of_a_running_job_is_found(system: System, origin: Origin) -> None:
    feed = feed_of(system)
    feed.start()
    file = origin.serve("/a.bin", size=400_000, hang_after=200_000, faults=1)
    job = system.submit(file.url)
    with running(system, job):

        def shows_bytes() -> bool:
            views = [view for view in feed.poll().views if view.job.id == job.id]
            return any(view.progress.bytes_downloaded == 200_000 for view in views)

        wait_until(shows_bytes)
        tasks.cancel(job.id, runtime=system.runtime)
    wait_until(lambda: states(feed.poll()).get(job.id) == "cancelled")


def test_end_of_a_job_is_found_without_the_store(system: System, origin: Origin) -> None:
    """The events in SQL show it; progress is found again when the store is back."""
    job = system.submit(origin.serve("/a.bin", size=10).url)
    feed = feed_of(system)
    feed.start()
    run_download(system.runtime, job.id)
    system.store.stop()
    assert states(feed.poll()) == {job.id: "completed"}


def test_running_job_that_was_removed_is_named(system: System, origin: Origin) -> None:
    file = origin.serve("/a.bin", size=400_000, hang_after=200_000, faults=1)
    job = system.submit(file.url)
    system.submit(f"{URL}/newest")
    feed = feed_of(system)
    feed.start()
    with running(system, job):
        wait_until(lambda: states(feed.poll()).get(job.id) == "downloading")
        tasks.cancel(job.id, runtime=system.runtime)
    tasks.remove(job.id, runtime=system.runtime)
    assert feed.poll().removed == [job.id]


def test_deleted_event_leads_to_a_new_reading(any_system: System, feed: ChangeFeed) -> None:
    """Given that the newest job is removed: SQLite gives the numbers of its events to others."""
    other = any_system.submit(f"{URL}/other").id
    tasks.cancel(other, runtime=any_system.runtime)
    feed.start()
    tasks.remove(other, runtime=any_system.runtime)
    job = any_system.submit(f"{URL}/new").id
    found = feed.poll()
    assert job in states(found) or not found.is_complete
    tasks.pause(job, runtime=any_system.runtime)
    assert states(feed.poll()) == {job: "paused"}


def test_more_changes_than_one_poll_reads_lead_to_a_new_reading(
    any_system: System, feed: ChangeFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "_LIMIT", 3)
    for n in range(4):
        any_system.submit(f"{URL}/{n}")
    assert not feed.poll().is_complete
    job = any_system.submit(f"{URL}/last").id
    assert states(feed.poll()) == {job: "queued"}


def test_changes_during_an_outage_are_found_after_it(any_system: System) -> None:
    any_system.submit(f"{URL}/before")
    log = BrokenLog(any_system.runtime.database)
    feed = ChangeFeed(any_system.runtime.jobs, log, any_system.runtime.cache.download)
    feed.start()
    job = any_system.submit(f"{URL}/a").id
    log.fails = True
    with pytest.raises(DatabaseUnavailableError):
        feed.poll()
    log.fails = False
    assert states(feed.poll()) == {job: "queued"}


def test_transaction_that_commits_late_is_found(any_system: System, feed: ChangeFeed) -> None:
    """On PostgreSQL a greater number may be committed first."""
    if any_system.runtime.database.is_sqlite:
        pytest.skip("SQLite has one writer at a time")
    late, early = (any_system.submit(f"{URL}/{n}").id for n in range(2))
    feed.start()
    event = {
        "at": datetime.now(UTC),
        "from_status": "queued",
        "to_status": JobStatus.QUEUED.value,
        "fence": 0,
        "attempt": 0,
    }
    with any_system.runtime.database.engine.begin() as connection:
        connection.execute(insert(job_events).values(job_id=late, **event))
        tasks.pause(early, runtime=any_system.runtime)
        assert states(feed.poll()) == {early: "paused"}
    assert states(feed.poll()) == {late: "queued"}
