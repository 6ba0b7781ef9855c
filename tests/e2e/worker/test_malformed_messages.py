"""Unreadable messages end no worker: they become dead letters and are not delivered again."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from domain.job import JobStatus
from tests.support.environment import FULL
from tests.support.inputs.control_forgeries import FORGED_COMMANDS
from tests.support.inputs.malformed_messages import BOMBS, LEFT_OUT, MALFORMED, genuine, raw
from tests.support.inputs.mutations import mutated
from tests.support.origins.origin import Origin
from tests.support.servers.process import Process
from tests.support.services.draining import ended
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.broker.control_messages import BROADCASTS
from worker.broker.dead_letters import KEY, MAX_BYTES, MAX_ENTRIES
from worker.broker.queues import DOWNLOAD_QUEUES, MAINTENANCE_QUEUE

QUEUE = "downloads.normal"
#: Damaged messages of one run; with the environment variable SEEN_TEST_FULL=1 many more.
MUTATIONS = 100_000 if FULL else 3_000
#: Bytes that the worker's peak memory may grow by, far less than what a bomb becomes.
ROOM = 60 * 2**20


class Service:
    """One download worker with a temporary folder of its own, and what is put into its broker."""

    def __init__(self, system: System, pool: str = "") -> None:
        self.system, self.pool = system, pool
        self.temporary = system.folder / "tmp"
        self.temporary.mkdir()
        system.environment["TMPDIR"] = str(self.temporary)
        self.client: Any = system.store.client(db=1)
        self.worker = self.start()

    def start(self) -> Process:
        self.worker = self.system.start_worker(pool=self.pool, concurrency=2)
        return self.worker

    def push(self, *messages: bytes, queue: str = QUEUE) -> None:
        with self.client.pipeline(transaction=False) as pipe:
            for message in messages:
                pipe.lpush(queue, message)
            pipe.execute()

    def dead(self) -> list[dict[str, Any]]:
        return [json.loads(entry) for entry in self.client.lrange(KEY, 0, -1)]

    def goes_on(self, origin: Origin) -> None:
        """See that the same worker downloads what is submitted now."""
        file = origin.serve("/next.bin", size=1000)
        self.system.wait_for(self.system.submit(file.url), JobStatus.COMPLETED)
        assert self.worker.poll() is None


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One worker for every row of the tables: it has to live through all of them."""
    with StoreServer() as store, System(tmp_path_factory.mktemp("shared"), store) as system:
        yield Service(system)


@pytest.fixture
def service(shared: Service) -> Service:
    """The shared one without dead letters."""
    shared.client.delete(KEY)
    return shared


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_message_becomes_a_dead_letter_and_the_worker_goes_on(
    service: Service, origin: Origin, name: str
) -> None:
    message = MALFORMED[name]
    service.push(message)
    wait_until(service.dead, what="it is a dead letter")
    (letter,) = service.dead()
    assert (letter["queue"], letter["size"]) == (QUEUE, len(message))
    assert len(letter["message"]) <= 6 * MAX_BYTES
    assert letter["message"].isprintable()
    assert letter["reason"].isprintable()
    assert not any(service.client.llen(queue) for queue in DOWNLOAD_QUEUES)
    service.goes_on(origin)


@pytest.mark.parametrize("name", LEFT_OUT)
def test_field_that_celery_would_act_on_is_left_out(
    service: Service, origin: Origin, name: str
) -> None:
    message = json.loads(LEFT_OUT[name])
    message["body"] = genuine()["body"]
    service.push(raw(message))
    wait_until(lambda: not service.client.llen(QUEUE), what="it is taken")
    service.goes_on(origin)
    assert service.dead() == []
    # Nothing was sent anywhere: no reply, no result, no other task.
    assert not any(service.client.llen(queue) for queue in DOWNLOAD_QUEUES)
    assert service.system.store.client(db=2).dbsize() == 0


@pytest.mark.parametrize("name", BOMBS)
def test_compressed_message_is_not_unpacked(service: Service, origin: Origin, name: str) -> None:
    before = peak_memory(service.worker)
    service.push(BOMBS[name]())
    wait_until(service.dead, what="it is a dead letter")
    service.goes_on(origin)
    assert peak_memory(service.worker) < before + ROOM


def peak_memory(worker: Process) -> int:
    """The most bytes of memory that the program behind this process has had."""
    pids = [worker.pid, *children(worker.pid)]
    texts = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    return max(
        int(found[1]) * 1024 for text in texts if (found := re.search(r"VmHWM:\s+(\d+)", text))
    )


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]


@pytest.mark.parametrize("name", FORGED_COMMANDS)
def test_forged_control_command_is_refused_and_the_worker_answers(
    service: Service, name: str
) -> None:
    service.client.publish("/1.celery.pidbox", FORGED_COMMANDS[name])
    wait_until(service.dead, what="it is a dead letter")
    assert {letter["queue"] for letter in service.dead()} == {"celery.pidbox"}
    assert service.system.app.control.inspect(timeout=5, limit=1).ping()
    assert service.worker.poll() is None


def test_fuzzed_messages_end_no_worker(service: Service, origin: Origin) -> None:
    for start in range(0, MUTATIONS, 1_000):
        service.push(*mutated(seed=start, count=1_000))
    wait_until(lambda: not service.client.llen(QUEUE), deadline=600, what="all are taken")
    service.goes_on(origin)
    assert service.client.llen(KEY) == MAX_ENTRIES


def test_dead_letter_is_logged_once_on_one_visible_line(service: Service) -> None:
    service.push(b"forged\n2026-01-01 00:00:00,000 INFO worker: all is well \x1b[2J\xe2\x80\xae")
    wait_until(service.dead, what="it is a dead letter")
    lines = [line for line in service.system.logs().splitlines() if "forged" in line]
    assert len(lines) == 1
    assert lines[0].isprintable()
    assert r"\n2026-01-01 00:00:00,000 INFO worker: all is well \x1b[2J\u202e" in lines[0]


# ── workers of other kinds, and their end ───────────────────────────────────────────────────────


@pytest.mark.parametrize("pool", ["", "prefork"])
def test_nothing_malformed_is_restored_when_the_worker_ends(
    tmp_path: Path, private_store: StoreServer, origin: Origin, pool: str
) -> None:
    with System(tmp_path, private_store) as system:
        service = Service(system, pool)
        service.push(*MALFORMED.values())
        wait_until(lambda: len(service.dead()) == len(MALFORMED), what="all are dead letters")
        service.goes_on(origin)

        service.worker.send_signal(signal.SIGTERM)
        assert ended(service.worker, deadline=30) == 0
        assert not any(service.client.llen(queue) for queue in DOWNLOAD_QUEUES)
        assert not service.client.exists("unacked", "unacked_index")
        assert list(service.temporary.iterdir()) == []

        service.start()
        service.goes_on(origin)
        assert len(service.dead()) == len(MALFORMED)


def test_maintenance_worker_goes_on_after_malformed_messages(
    tmp_path: Path, private_store: StoreServer
) -> None:
    wrong_arguments = raw(genuine("cache.log_stats", "x"))
    with System(tmp_path, private_store) as system:
        worker = system.start_worker("maintenance")
        client: Any = private_store.client(db=1)
        messages = [*MALFORMED.values(), raw(genuine()), wrong_arguments]
        client.lpush(MAINTENANCE_QUEUE, *messages)
        wait_until(lambda: client.llen(KEY) == len(messages), what="all are dead letters")
        system.app.send_task("cache.log_stats", ignore_result=True)
        wait_until(lambda: "Cache: " in system.logs(), what="a task runs")
        assert worker.poll() is None


# ── keys of another type ────────────────────────────────────────────────────────────────────────


def test_worker_starts_where_queues_and_tables_of_bindings_hold_something_else(
    store: StoreServer, origin: Origin, tmp_path: Path
) -> None:
    client = store.client(db=1)
    exchanges = (*DOWNLOAD_QUEUES, MAINTENANCE_QUEUE, *BROADCASTS)
    for exchange in exchanges:
        client.set(f"_kombu.binding.{exchange}", "no set")
        client.set(f"_kombu.binding_permanent.{exchange}", "no set")
    client.set("_kombu.binding_deadlines", "no sorted set")
    for queue in ("downloads.requeued", "downloads.high"):
        client.set(queue, "no list")
    for key in ("unacked", "unacked_index"):
        client.set(key, "neither")
    with System(tmp_path, store) as system:
        worker = system.start_all(concurrency=1)
        system.wait_for(system.submit(origin.serve("/a.bin", size=1000).url), JobStatus.COMPLETED)
        system.app.send_task("broker.sweep", ignore_result=True)
        system.app.send_task("cache.log_stats", ignore_result=True)
        wait_until(lambda: "Cache: " in system.logs(), deadline=60, what="both tasks have run")
        assert worker.poll() is None
        assert "Traceback" not in system.logs()
        found = system.runtime.broker.wrong_types()
        keys = [f"_kombu.binding.{exchange}" for exchange in exchanges]
        assert found.keys() == {"downloads.requeued", "downloads.high", *keys}


def test_queue_key_of_another_type_is_left_out_and_the_other_queues_go_on(
    service: Service, origin: Origin
) -> None:
    for queue in ("downloads.requeued", "downloads.high"):
        service.client.set(queue, "no list")
    try:
        wait_until(
            lambda: "The key downloads.high of the broker holds a string" in service.system.logs(),
            deadline=60,
        )
        for _ in range(3):
            service.goes_on(origin)
        waiting = service.system.submit(origin.serve("/high.bin", size=1000).url, priority="high")
        assert waiting.published_at is None, "a message that cannot be sent is sent later"
        assert service.system.runtime.broker.backlogs()["high"] == 0
        assert service.system.runtime.broker.wrong_types().keys() == {
            "downloads.requeued",
            "downloads.high",
        }
    finally:
        service.client.delete("downloads.requeued", "downloads.high")
    later = service.system.submit(origin.serve("/later.bin", size=1000).url, priority="high")
    service.system.wait_for(later, JobStatus.COMPLETED, deadline=60)
