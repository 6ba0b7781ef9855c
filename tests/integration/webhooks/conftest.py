"""What tests of deliveries share: a receiver, a service without processes, and its clock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from database.operations import Claim
from database.webhooks import Delivery, Outbox
from domain.job import Job, JobStatus
from tasks.webhooks.dispatcher import Dispatcher, DispatcherParts
from tests.support.build import NOW, new_job
from tests.support.servers.webhook_receiver import WebhookReceiver
from tests.support.services.system import System
from tests.support.stores.server import StoreServer

SECRET_KEY = "0123456789abcdef0123456789abcdef"


@dataclass
class Clock:
    """A wall clock that tests move."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        """Return the time."""
        return self.now

    def advance(self, time: timedelta | float) -> None:
        """Move it, by seconds or a timedelta."""
        self.now += time if isinstance(time, timedelta) else timedelta(seconds=time)


class Service:
    """Jobs that end, and dispatchers, on one system and clock."""

    def __init__(self, system: System) -> None:
        self.clock = Clock()
        self.runtime = replace(system.runtime, now=self.clock)
        self.outbox = Outbox(self.runtime.database)
        parts = DispatcherParts.of(self.runtime)
        self.parts = replace(parts, options=replace(parts.options, timeout=5.0))

    def ended(
        self, webhook: str | None, state: JobStatus = JobStatus.FAILED, **fields: object
    ) -> Job:
        """Return a job that has ended now."""
        job = self.runtime.jobs.add([new_job(webhook=webhook, **fields)])[0]
        return self.end(job, state)

    def end(self, job: Job, state: JobStatus) -> Job:
        """Let a queued job end."""
        if state is not JobStatus.CANCELLED:
            (job,) = self.runtime.jobs.perform([Claim(job.id, "w", self.clock.now)])
        if state is JobStatus.COMPLETED:
            job = self.move(job, JobStatus.VERIFYING)
        return self.move(job, state)

    def move(self, job: Job, state: JobStatus) -> Job:
        """Change the state of a job."""
        moved = self.runtime.jobs.transition(job, state, now=self.clock.now)
        assert moved is not None
        return moved

    def deliver(self, **changes: object) -> int:
        """Make all due deliveries; return the number of attempts."""
        return Dispatcher(replace(self.parts, **changes)).run()  # type: ignore[arg-type]

    def deliveries(self, job: Job | None = None) -> list[Delivery]:
        """Return deliveries, the oldest first."""
        return self.outbox.find(job_id=None if job is None else job.id, limit=500)[::-1]


@pytest.fixture
def service(tmp_path: Path, store: StoreServer) -> Iterator[Service]:
    """One on SQLite, whose receivers may be on this machine."""
    with System(tmp_path, store, settings={"SEEN_SECRET_KEY": SECRET_KEY}) as system:
        yield Service(system)


@pytest.fixture
def any_service(tmp_path: Path, store: StoreServer, migrated_url: str) -> Iterator[Service]:
    """One on each kind of database."""
    settings = {"SEEN_SECRET_KEY": SECRET_KEY}
    with System(tmp_path, store, database_url=migrated_url, settings=settings) as system:
        yield Service(system)


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    """A receiver of the test's own."""
    with WebhookReceiver() as receiver:
        yield receiver
