"""A store that refuses commands: the processes survive, log it once, and recover."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from domain.job import JobStatus
from tests.support.origins.origin import Origin
from tests.support.servers.process import Process
from tests.support.services.system import System
from tests.support.stores.refusing import SAID, WAYS, Way, saying
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

S = JobStatus

#: Ways in which a connected worker gets no refusal: a full store delivers messages, and a busy
#: one keeps silent to those that wait already.
UNHEARD = frozenset({"OOM", "BUSY"})
#: What the server says where that is not the name of the way.
WORDS = {"WRONGPASS": "invalid username-password", "MAXCLIENTS": "max number of clients"}
WORDS |= {"LOADING": "loading the dataset", "SHUTDOWN": "Can not execute during"}
WORKERS = ("downloads0", "maintenance1")


class Processes:
    """A download worker, a maintenance worker and beat."""

    def __init__(self, system: System, pool: str = "") -> None:
        self.system = system
        self.running: list[Process] = [
            system.start_worker(pool=pool),
            system.start_worker("maintenance", concurrency=2),
            system.start_beat(),
        ]
        self._read = dict.fromkeys(WORKERS, 0)

    def assert_alive(self) -> None:
        assert [process.poll() for process in self.running] == [None] * 3, self.system.logs()

    def wait_until_served(self) -> None:
        """Both workers read their queues and their mailboxes."""
        wait_until(self._all_answer, deadline=60, what="both workers answer")

    def _all_answer(self) -> bool:
        with self.system.app.connection() as connection:
            try:
                inspect = self.system.app.control.inspect(timeout=0.5, connection=connection)
                return len(inspect.ping() or {}) == len(WORKERS)
            except connection.connection_errors:
                return False

    def news(self, name: str) -> str:
        """What a worker has logged since `forget`."""
        return self.system.log(name)[self._read[name] :]

    def has_logged(self, name: str, words: str) -> bool:
        """Say whether a worker's consumer has logged these words of the server since `forget`."""
        lines = self.news(name).splitlines()
        consumers = ("worker.celery_ext.consumer_backoff", "celery.worker.consumer")
        return any(words in line and any(one in line for one in consumers) for line in lines)

    def forget(self) -> None:
        self._read = {name: len(self.system.log(name)) for name in WORKERS}


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    with (
        StoreServer() as store,
        System(tmp_path_factory.mktemp("service"), store) as system,
    ):
        yield Processes(system)


@pytest.fixture(scope="module")
def at_stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    with (
        StoreServer(stand_in=True) as store,
        System(tmp_path_factory.mktemp("stand-in"), store) as system,
    ):
        yield Processes(system)


@pytest.mark.parametrize("way", WAYS)
def test_processes_wait_for_a_refusing_store_and_go_on(
    processes: Processes, origin: Origin, way: str
) -> None:
    check_that_they_wait(processes, origin, way, WAYS[way])


@pytest.mark.parametrize("way", SAID)
def test_processes_wait_for_a_store_that_refuses_every_command(
    at_stand_in: Processes, origin: Origin, way: str
) -> None:
    check_that_they_wait(at_stand_in, origin, way, partial(saying, way=way))


def test_processes_of_a_forking_pool_wait_for_a_refusing_store(
    tmp_path: Path, origin: Origin
) -> None:
    with StoreServer() as store, System(tmp_path, store) as system:
        check_that_they_wait(Processes(system, "prefork"), origin, "READONLY", WAYS["READONLY"])


def check_that_they_wait(processes: Processes, origin: Origin, way: str, refusing: Way) -> None:
    system = processes.system
    processes.wait_until_served()
    processes.forget()

    with refusing(system.store):
        for name in () if way in UNHEARD else WORKERS:
            wait_until(partial(processes.has_logged, name, WORDS.get(way, way)), deadline=30)
        processes.assert_alive()
    file = origin.serve(f"/{way}.bin", size=50_000)
    job = system.submit(file.url)

    assert system.wait_for(job, S.COMPLETED, deadline=60).sha256 == file.sha256
    processes.wait_until_served()
    processes.assert_alive()
    for name in WORKERS:
        news = processes.news(name)
        assert "Traceback" not in news, news
        assert news.count("This worker takes no messages") <= 2, (
            news
        )  # first UNBLOCKED, then READONLY
