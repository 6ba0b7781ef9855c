"""The sweep of the broker's database removes what killed processes left, and nothing in use."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from domain.job import Priority
from tests.support.processes.brief_bindings import QUEUE_EXPIRES
from tests.support.servers.process import Process, end_process, spawn
from tests.support.services.system import ROOT, System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.broker import cleanup as broker_sweep
from worker.broker.cleanup import UNUSED_AFTER, BrokerSweep, Swept

SEP = "\x06\x16"
REPLIES, MAILBOXES, EVENTS = "reply.celery.pidbox", "celery.pidbox", "celeryev"
#: As long, measured by what kombu does every second there, as an hour is by what it does in its hour.
BRIEF = round(5 * QUEUE_EXPIRES)


class Processes:
    """Celery processes whose bindings live for seconds, not for hours."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._started: list[Process] = []

    def start(self, name: str, *arguments: str, brief: bool = True) -> Process:
        """Start `celery` with these arguments; what it prints is in the log of that name."""
        program = (
            ["tests.support.processes.brief_bindings"] if brief else ["celery", "-A", "worker.app"]
        )
        process = spawn(
            [sys.executable, "-m", *program, *arguments],
            log=self._system.folder / f"{name}.log",
            env=self._system.environment,
            cwd=ROOT,
        )
        self._started.append(process)
        return process

    def worker(self, name: str, *, brief: bool = True) -> Process:
        """A worker that answers to ``name@here``."""
        options = ["-Q", "maintenance", "-c", "1", "-l", "INFO", "-n", f"{name}@here"]
        process = self.start(
            name, "worker", *options, "--without-gossip", "--without-mingle", brief=brief
        )
        # "ready." comes before it has subscribed to requests.
        asking = self._system.app.control.inspect([f"{name}@here"], timeout=1)
        wait_until(asking.ping, deadline=60, what=f"{name} answers")
        return process

    def watcher(self, name: str, *, brief: bool = True) -> Process:
        """An event receiver that prints what it receives, and waits until it does."""
        client = connect(self._system.store)
        before = bound(client, EVENTS)
        process = self.start(name, "events", "--dump", brief=brief)
        wait_until(
            lambda: bound(client, EVENTS) - before,
            deadline=30,
            what=f"{name} listens",
        )
        return process

    def caller(self, name: str, worker: str, *, brief: bool = True) -> Process:
        """A process that has sent a worker a request, and waits for the reply."""
        options = ["inspect", "ping", "--timeout", "100", "-d", f"{worker}@here"]
        with connect(self._system.store).pubsub() as requests:
            requests.psubscribe(f"/1.{MAILBOXES}*")
            wait_until(lambda: requests.get_message() is not None, what="subscribed")
            process = self.start(name, *options, brief=brief)
            wait_until(
                lambda: asks_for_ping(requests.get_message(ignore_subscribe_messages=True)),
                deadline=30,
                what=f"{name} has sent its request",
            )
        return process

    def close(self) -> None:
        for process in self._started:
            end_process(process, how=signal.SIGKILL)


@pytest.fixture
def processes(system: System) -> Iterator[Processes]:
    started = Processes(system)
    yield started
    started.close()


def connect(store: StoreServer) -> Any:
    """A client of the broker's database."""
    return store.client(db=1)


def asks_for_ping(published: Any) -> bool:
    """Whether this is a request of `inspect ping`; others ask for other things."""
    if published is None:
        return False
    body = base64.b64decode(json.loads(published["data"])["body"])
    return bool(json.loads(body)["method"] == "ping")


def bound(client: Any, exchange: str) -> set[str]:
    """The queues that are bound to an exchange, with a mark or without."""
    members = client.smembers(f"_kombu.binding.{exchange}")
    return {member.decode().split(SEP)[2] for member in members}


def unread(client: Any) -> list[bytes]:
    """The queues with answers in them."""
    return list(client.scan_iter(f"*-*.{REPLIES}"))


def tables(client: Any) -> dict[bytes, set[bytes]]:
    """Everything that is bound."""
    return {key: client.smembers(key) for key in client.scan_iter(_type="set")}


def bind(client: Any, exchange: str, queue: str) -> None:
    """Add a binding that no process renews."""
    client.sadd(f"_kombu.binding.{exchange}", SEP.join(("", "", queue)))


def left_behind(exchange: str = REPLIES) -> str:
    """The name of a queue whose process is gone."""
    return f"{uuid4()}.{exchange}"


@contextmanager
def sweeping(system: System, seconds: int) -> Iterator[Callable[[], Swept]]:
    """Sweeps that take an entry for unused after so many seconds."""
    sweep = BrokerSweep(system.app, unused_after=seconds)
    with system.app.connection_for_write() as connection:
        yield lambda: sweep.run(connection.default_channel)


def ping(system: System, *workers: str) -> dict[str, object]:
    """The replies of these workers to `celery inspect ping`."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "celery", "-A", "worker.app", "inspect", "ping", "--json"),
            *("--timeout", "20", "-d", ",".join(f"{name}@here" for name in workers)),
        ],
        env=system.environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    answers: dict[str, object] = json.loads(done.stdout)
    return answers


def wait_until_events_arrive(system: System) -> None:
    """Wait until the watcher receives an event that is sent after now."""
    before = len(system.log("watching"))
    wait_until(lambda: "heartbeat" in system.log("watching")[before:], what="a heartbeat arrives")


# ── real processes ──────────────────────────────────────────────────────────────────────────────


def test_what_killed_processes_leave_goes_and_what_lives_stays(
    system: System, store: StoreServer, processes: Processes
) -> None:
    client = connect(store)
    living = kill_all_but_one_worker_and_watcher(client, processes)
    with sweeping(system, BRIEF) as sweep:
        total = [0, 0]

        def only_the_living_are_left() -> bool:
            swept = sweep()
            total[0] += swept.queues
            total[1] += swept.bindings
            for exchange, queue in living.items():
                assert queue in bound(client, exchange)
            dead = bound(client, REPLIES) or unread(client)
            return not dead and all({queue} == bound(client, e) for e, queue in living.items())

        wait_until(only_the_living_are_left, deadline=10 * BRIEF, interval=0.2)
        assert total == [2, 4]  # two late replies; two callers, a worker, an event receiver

        # As long again: running processes renew the bindings that the sweep marks.
        end = client.time()[0] + 2 * BRIEF
        wait_until(
            lambda: only_the_living_are_left() and client.time()[0] > end,
            deadline=10 * BRIEF,
            interval=0.2,
        )
        assert total == [2, 4]
    assert set(ping(system, "living")) == {"living@here"}
    wait_until_events_arrive(system)


def kill_all_but_one_worker_and_watcher(client: Any, processes: Processes) -> dict[str, str]:
    """Kill two callers, a worker and an event receiver; return the queues in use, by their exchange."""
    living_worker = processes.worker("living")
    processes.watcher("watching")
    (watching,) = bound(client, EVENTS)
    killed = [processes.worker("dead"), processes.watcher("blind")]
    living_worker.send_signal(signal.SIGSTOP)
    killed += [processes.caller(f"caller{n}", "living") for n in range(2)]
    for process in killed:
        end_process(process, how=signal.SIGKILL)
    living_worker.send_signal(signal.SIGCONT)
    wait_until(lambda: len(unread(client)) == 2, what="two replies without a reader")
    # kombu itself never removes them.
    assert all(client.ttl(key) == -1 for key in unread(client))
    assert len(bound(client, MAILBOXES)) == len(bound(client, EVENTS)) == 2
    return {MAILBOXES: "living@here.celery.pidbox", EVENTS: watching}


def test_a_caller_that_waits_longer_than_a_mark_lives_gets_its_answer(
    system: System, store: StoreServer, processes: Processes
) -> None:
    client = connect(store)
    worker = processes.worker("slow")
    worker.send_signal(signal.SIGSTOP)
    caller = processes.caller("caller", "slow")
    (queue,) = bound(client, REPLIES)
    end = client.time()[0] + 2 * BRIEF
    with sweeping(system, BRIEF) as sweep:

        def swept_for_long() -> bool:
            sweep()
            assert queue in bound(client, REPLIES)
            return bool(client.time()[0] > end)

        wait_until(swept_for_long, deadline=10 * BRIEF, interval=0.2)
    worker.send_signal(signal.SIGCONT)
    assert caller.wait(timeout=60) == 0
    assert "slow@here: OK" in system.log("caller")


def test_many_sweeps_change_nothing_for_those_who_live(
    system: System, store: StoreServer, processes: Processes
) -> None:
    """With kombu's own times, and ours: nothing may go within an hour, nor stop working."""
    client = connect(store)
    worker = processes.worker("worker", brief=False)
    processes.watcher("watching", brief=False)
    worker.send_signal(signal.SIGSTOP)
    caller = processes.caller("caller", "worker", brief=False)
    job = system.submit("http://127.0.0.1:9/a")
    system.app.send_task("cache.log_stats", ignore_result=True)
    keys = set(client.keys())
    queues = {exchange: bound(client, exchange) for exchange in (REPLIES, MAILBOXES, EVENTS)}
    assert all(len(found) == 1 for found in queues.values())

    for _ in range(50):
        assert system.runtime.broker.sweep() == Swept(0, 0)

    assert {exchange: bound(client, exchange) for exchange in queues} == queues
    assert set(client.keys()) == keys
    assert all(client.ttl(key) == -1 for key in keys)
    head = system.runtime.broker.head(Priority.NORMAL)
    assert head is not None
    assert head.job_ids == (job.id,)
    worker.send_signal(signal.SIGCONT)
    assert caller.wait(timeout=60) == 0
    assert "worker@here: OK" in system.log("caller")
    assert set(ping(system, "worker")) == {"worker@here"}
    wait_until_events_arrive(system)


def test_a_maintenance_worker_sweeps(system: System, store: StoreServer) -> None:
    client, queue = connect(store), left_behind()
    client.rpush(queue, "an answer")
    system.start_worker("maintenance")
    system.app.send_task("broker.sweep", ignore_result=True)
    wait_until(lambda: 0 < client.ttl(queue) <= UNUSED_AFTER)
    wait_until(lambda: "Swept the broker: Swept(queues=1" in system.logs())


# ── what is meant, and what is not ──────────────────────────────────────────────────────────────


def test_only_queues_of_replies_and_events_are_given_an_end(
    system: System, store: StoreServer
) -> None:
    client = connect(store)
    meant = [left_behind(), left_behind() + f"{SEP}3", f"{EVENTS}.{uuid4()}"]
    others = [
        *("downloads", "maintenance", "downloads.high", str(uuid4()), REPLIES, f"x.{REPLIES}"),
        *(left_behind() + "x", left_behind("reply.other.pidbox"), f"{EVENTS}.x"),
    ]
    for queue in (*meant, *others):
        client.rpush(queue, "message")
    assert system.runtime.broker.sweep().queues == len(meant)
    assert system.runtime.broker.sweep().queues == 0
    assert all(0 < client.ttl(queue) <= UNUSED_AFTER for queue in meant)
    assert all(client.ttl(queue) == -1 for queue in others)


def test_an_end_goes_with_the_messages_that_a_reader_takes(
    system: System, store: StoreServer
) -> None:
    client, queue = connect(store), left_behind()
    client.rpush(queue, "late")
    system.runtime.broker.sweep()
    assert client.blpop([queue], timeout=1) is not None
    client.rpush(queue, "new")
    assert client.ttl(queue) == -1


def test_an_entry_that_its_consumer_renews_stays(system: System, store: StoreServer) -> None:
    client = connect(store)
    living, dead = left_behind(), left_behind()
    for queue in (living, dead):
        bind(client, REPLIES, queue)
    with sweeping(system, 1) as sweep:
        assert sweep().bindings == 0
        bind(client, REPLIES, living)
        removed = wait_until(lambda: sweep().bindings)
    assert removed == 1
    assert bound(client, REPLIES) == {living}


def test_a_reply_takes_its_way_by_a_marked_entry(system: System, store: StoreServer) -> None:
    """Given the window in which a caller waits and has not written its entry again."""
    client, queue = connect(store), left_behind()
    key = queue.partition(".")[0]
    client.sadd(f"_kombu.binding.{REPLIES}", SEP.join((key, "", queue)))
    system.runtime.broker.sweep()
    with system.app.connection_for_write() as connection:
        producer = connection.Producer()
        producer.publish({"ok": "pong"}, exchange=REPLIES, routing_key=key, declare=[])
    assert client.llen(queue) == 1


def test_bindings_that_are_never_renewed_stay(system: System, store: StoreServer) -> None:
    client = connect(store)
    lasting, patterned = "lasting", SEP.join(("#", r"^.*?$", "topic"))
    for table in ("binding", "binding_permanent"):
        client.sadd(f"_kombu.{table}.{EVENTS}", SEP.join(("", "", lasting)))
    client.sadd(f"_kombu.binding.{EVENTS}", patterned)
    client.sadd("_kombu.binding.downloads", SEP.join(("downloads", "", "downloads")))
    before = tables(client)
    with sweeping(system, 0) as sweep:
        for _ in range(3):
            assert sweep() == Swept(0, 0)
    assert tables(client) == before


def test_a_sweep_does_so_much_and_the_next_one_goes_on(
    system: System, store: StoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_sweep, "_STEP", 50)
    monkeypatch.setattr(broker_sweep, "_STEPS", 2)
    client, count = connect(store), 1000
    queues = [left_behind() for _ in range(count)]
    for queue in queues:
        client.rpush(queue, "message")
        bind(client, REPLIES, queue)
    with sweeping(system, 0) as sweep:
        first = sweep()
        assert 0 < first.queues < count
        totals = [first]

        def all_are_gone() -> bool:
            totals.append(sweep())
            return not client.keys()

        wait_until(all_are_gone, deadline=20, interval=0)
    assert sum(swept.queues for swept in totals) == count
    assert sum(swept.bindings for swept in totals) == count
    assert max(swept.bindings for swept in totals) <= 100


def test_a_broker_that_lives_elsewhere_is_the_one_that_is_swept(
    tmp_path: Path, store: StoreServer
) -> None:
    queue = left_behind()
    for database in (1, 5):
        store.client(db=database).rpush(queue, "message")
    with System(tmp_path, store, settings={"SEEN_BROKER_URL": store.url(5)}) as system:
        assert system.runtime.broker.sweep().queues == 1
    assert store.client(db=5).ttl(queue) > 0
    assert connect(store).ttl(queue) == -1
