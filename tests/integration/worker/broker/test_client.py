"""Publishing at a broker that does not answer: how long it takes, and which connections it uses."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from domain.errors import StoreUnavailableError
from domain.job import JobStatus, Priority
from tests.support.origins.origin import Origin
from tests.support.services.system import ROOT, System
from tests.support.stores.server import StoreServer

URL = "http://127.0.0.1:9/a.bin"
#: Half of what a worker's own sockets wait for, and far more than SEEN_CACHE_TIMEOUT is here. Seconds.
TIMEOUT = 15


@pytest.mark.parametrize("connected", [True, False], ids=["connected", "not yet connected"])
def test_a_store_that_stands_still_keeps_no_caller_waiting(
    tmp_path: Path, private_store: StoreServer, origin: Origin, *, connected: bool
) -> None:
    with System(tmp_path, private_store) as system:
        system.start_all()
        if connected:
            system.submit(URL)
            system.backlog()
        private_store.pause()
        try:
            began = time.monotonic()
            job = system.submit(origin.serve("/a.bin", size=1000).url)
            with pytest.raises(StoreUnavailableError):
                system.runtime.broker.head(Priority.NORMAL)
            with pytest.raises(StoreUnavailableError):
                system.backlog()
            assert time.monotonic() - began < TIMEOUT
            assert (job.published_at, job.status) == (None, JobStatus.QUEUED)
        finally:
            private_store.resume()
        system.wait_for(job, JobStatus.COMPLETED, deadline=60)


def test_a_broker_that_dies_between_two_jobs_keeps_none_from_being_accepted(
    tmp_path: Path, private_store: StoreServer
) -> None:
    with System(tmp_path, private_store) as system:
        assert system.submit(f"{URL}?1").published_at is not None
        private_store.kill()
        assert system.submit(f"{URL}?2").published_at is None
        private_store.start()
        assert system.submit(f"{URL}?3").published_at is not None


def test_a_process_that_publishes_now_and_then_keeps_one_connection(
    system: System, store: StoreServer
) -> None:
    for number in range(5):
        system.submit(f"{URL}?{number}")
        system.runtime.broker.head(Priority.NORMAL)
        system.backlog()
    addresses = broker_clients(store)
    system.submit(f"{URL}?last")
    system.backlog()
    assert broker_clients(store) == addresses


def test_binding_that_is_none_keeps_no_job_from_being_published(
    system: System, store: StoreServer
) -> None:
    with store.client(db=1) as client:
        client.sadd("_kombu.binding.downloads.normal", b"x", b"\xff", b"a\x06\x16b")
        client.sadd("_kombu.binding.celery.pidbox", b"x", b"\xff\x06\x16\x06\x16\xff")
        assert system.submit(URL).published_at is not None
        assert client.llen("downloads.normal") == 1
        system.runtime.broker.sweep()
    assert system.app.control.broadcast("ping", reply=True, timeout=0.1) == []


@pytest.mark.parametrize("key", ["downloads.normal", "_kombu.binding.celery.pidbox"])
def test_key_of_another_type_is_passed_over_and_stays(
    system: System, store: StoreServer, key: str
) -> None:
    with store.client(db=1) as client:
        client.set(key, "x")
    job = system.submit(URL)
    assert (job.published_at is None) is (key == "downloads.normal")
    assert system.runtime.broker.backlogs()["normal"] == (key != "downloads.normal")
    assert system.runtime.broker.requeued() == set()
    system.runtime.broker.sweep()
    named = system.runtime.broker.wrong_types()
    assert named == {key: "string"}
    with store.client(db=1) as client:
        assert client.get(key) == b"x"


def test_a_forked_child_has_connections_of_its_own(system: System) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.processes.forked_broker"],
        env=system.environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def broker_clients(store: StoreServer) -> set[str]:
    """The addresses of those connected to the broker's database."""
    return {client["addr"] for client in store.client().client_list() if client["db"] == "1"}
