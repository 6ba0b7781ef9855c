"""Another program's data at the keys of the service: the service continues and names the keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from domain.ids import new_job_id
from domain.job import JobStatus
from tests.support.origins.origin import Origin
from tests.support.servers.preloaded import run_module
from tests.support.servers.process import Process
from tests.support.services.system import ROOT, System
from tests.support.stores.foreign_keys import GARBAGE, PROGRESS, WRONG_TYPES, put_progress
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until


class Service:
    """A whole service that has to live through every row of the tables."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.client: Any = system.store.client()
        maintenance, beat = system.start_maintenance()
        self.processes: list[Process] = [maintenance, beat, system.start_worker(concurrency=2)]

    def goes_on(self, origin: Origin) -> None:
        """See that a job is downloaded, each periodic task runs, and no process has ended."""
        job = self.system.submit(origin.serve("/next.bin", size=70_000).url)
        done = self.system.wait_for(job, JobStatus.COMPLETED, deadline=60)
        assert (done.bytes_downloaded, done.bytes_total, done.attempts) == (70_000, 70_000, 1)
        ran = self.system.logs().count("Cache: ")
        for task in (
            "download.persist_progress",
            "download.reconcile",
            "download.cleanup_stale",
            "cache.log_stats",
        ):
            self.system.app.send_task(task, ignore_result=True)
        wait_until(lambda: self.system.logs().count("Cache: ") > ran, what="the tasks have run")
        assert [process.poll() for process in self.processes] == [None] * 3
        assert "Traceback" not in self.system.logs()
        assert "raised unexpected" not in self.system.logs()

    def command(self, *arguments: str) -> str:
        """Run a command that must not fail by a traceback; return all it printed."""
        done = run_module(
            "cli", arguments, environment=self.system.environment, folder=ROOT, timeout=60
        )
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with StoreServer() as store, System(tmp_path_factory.mktemp("foreign"), store) as system:
        yield Service(system)


@pytest.fixture
def service(shared: Service) -> Iterator[Service]:
    """The shared one; what a test puts into the store is gone after it."""
    shared.client.flushdb()
    yield shared
    shared.client.flushdb()


@pytest.mark.parametrize("key", WRONG_TYPES)
def test_service_goes_on_beside_a_key_of_another_type_and_doctor_names_it(
    service: Service, origin: Origin, key: str
) -> None:
    service.client.delete(key)
    WRONG_TYPES[key](service.client)
    service.goes_on(origin)
    findings = json.loads(service.command("doctor", "--json"))
    (keys,) = [one for one in findings if one["check"] == "store keys"]
    assert (keys["level"], key in keys["message"]) == ("problem", True)
    service.command("limit")


@pytest.mark.parametrize("name", GARBAGE)
def test_service_goes_on_beside_a_key_with_garbage_in_it(
    service: Service, origin: Origin, name: str
) -> None:
    GARBAGE[name](service.client)
    service.goes_on(origin)
    for command in (["doctor"], ["limit"]):
        service.command(*command)


def test_service_goes_on_beside_unreadable_progress_of_other_jobs(
    service: Service, origin: Origin
) -> None:
    for fields in PROGRESS.values():
        put_progress(service.client, new_job_id(), fields)
    string = new_job_id()
    service.client.set(f"seen:download:job:{string}", "no hash")
    service.client.zadd("seen:download:active", {string: 1})
    service.client.zadd("seen:download:dirty", {string: 1})
    service.goes_on(origin)


def test_job_waits_while_the_slots_of_its_host_are_a_string_and_says_so(
    service: Service, origin: Origin
) -> None:
    service.client.set("seen:slots:connections:127.0.0.1", "no hash")
    job = service.system.submit(origin.serve("/slots.bin", size=1000).url)
    waiting = service.system.wait_for(job, JobStatus.WAITING, deadline=60)
    assert "seen:slots:connections:127.0.0.1" in str(waiting.reason)
    assert waiting.attempts == 0
    service.client.delete("seen:slots:connections:127.0.0.1")
    service.system.wait_for(job, JobStatus.COMPLETED, deadline=60)


def test_job_whose_lock_is_no_string_waits_and_is_logged_once(
    service: Service, origin: Origin
) -> None:
    service.client.set("seen:slots:connections:127.0.0.1", "no hash")  # so that it waits
    job = service.system.submit(origin.serve("/lock.bin", size=1000).url)
    service.system.wait_for(job, JobStatus.WAITING, deadline=60)
    service.client.hset(f"seen:lock:download:{job.id}", "no", "token")
    service.client.delete("seen:slots:connections:127.0.0.1")
    line = f"Job {job.id} is not started: The store refused"
    wait_until(lambda: line in service.system.logs(), deadline=60, what="its key is named")
    service.goes_on(origin)
    assert service.system.logs().count(line) == 1
    service.client.delete(f"seen:lock:download:{job.id}")
    service.system.wait_for(job, JobStatus.COMPLETED, deadline=60)
