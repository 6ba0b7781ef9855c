"""Injects and undoes each kind of fault."""

from __future__ import annotations

import errno
import random
import resource
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import redis

from tests.chaos.cluster import BEAT, MAINTENANCE, Cluster, worker_name
from tests.chaos.fault_injector import WorkerFaults
from tests.chaos.schedule import Fault, Kind
from tests.support.inputs.malformed_messages import MALFORMED
from tests.support.origins import behaviour as origin_behaviour
from tests.support.origins.behaviour import Plan, Request
from tests.support.stores import refusing
from tests.support.stores.server import ONCE
from worker.broker.queues import DOWNLOAD_QUEUES, MAINTENANCE_QUEUE

#: The broker's database: the store's own and one.
BROKER_DB = 1
#: Malformed messages that are pushed to each end of each queue.
FORGED = 5
#: What fails on a full disk, and on one that was remounted read-only.
FULL_DISK_REFUSES = ("pwrite", "fallocate", "fsync", "fdatasync")
READ_ONLY_DISK_REFUSES = (
    *("open", "mkdir", "pwrite", "fallocate", "ftruncate", "link", "rename", "unlink"),
)
#: A program that is still loading its modules needs so many open files to become a worker.
FILES_TO_START = 32
#: What a refusing stand-in answers all the same: a connection is made, and its user is known.
_ALWAYS_ANSWERED = ("AUTH", "HELLO", "SELECT", "CLIENT", "QUIT")
#: Who wants to write on SQLite asks again after so many seconds.
TURN = 0.2

Undo = Callable[[], None]
Do = Callable[[Cluster, Fault], Undo]


def inject(cluster: Cluster, fault: Fault) -> Undo:
    """Do it; what is returned undoes it."""
    return inject_by_kind[fault.kind](cluster, fault)


def _done() -> None:
    """There is nothing to undo."""


# ── processes ───────────────────────────────────────────────────────────────────────────────────


def _kill(cluster: Cluster, fault: Fault) -> Undo:
    name = _program(fault)
    cluster.kill(name)
    return lambda: cluster.want(name)


def _drain(cluster: Cluster, fault: Fault) -> Undo:
    name = _program(fault)
    cluster.drain(name)
    return lambda: cluster.want(name)


def _freeze(cluster: Cluster, fault: Fault) -> Undo:
    name = _program(fault)
    since = cluster.freeze(name)
    return lambda: cluster.thaw(name, since)


def _take_descriptors(cluster: Cluster, fault: Fault) -> Undo:
    """Allow a process no more open files than it has; another process after it has its own limit."""
    pid = cluster.programs[_program(fault)].process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    open_files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    limit = max(open_files, FILES_TO_START)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, before[1]))

    def give_back() -> None:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)

    return give_back


def _program(fault: Fault) -> str:
    if fault.kind is Kind.BEAT_KILLED:
        return BEAT
    if fault.kind is Kind.MAINTENANCE_KILLED:
        return MAINTENANCE
    return worker_name(_worker(fault))


def _worker(fault: Fault) -> int:
    assert fault.worker is not None
    return fault.worker


# ── store and database ──────────────────────────────────────────────────────────────────────────


def _save_store(cluster: Cluster, fault: Fault) -> Undo:
    cluster.store.save(cluster.folder / f"snapshot-{fault.number}")
    return _done


def _empty_store(cluster: Cluster, fault: Fault) -> Undo:
    cluster.store.kill()
    return cluster.store.start


def _age_store(cluster: Cluster, fault: Fault) -> Undo:
    cluster.store.kill()
    snapshot = cluster.folder / f"snapshot-{fault.amount:.0f}"
    return lambda: cluster.store.start_from(snapshot)


def _hang_store(cluster: Cluster, fault: Fault) -> Undo:
    cluster.store.pause()
    return cluster.store.resume


def _stop_database(cluster: Cluster, fault: Fault) -> Undo:
    if cluster.postgres is None:
        return _lock_sqlite(cluster)
    cluster.postgres.stop()
    return cluster.postgres.start


def _crash_database(cluster: Cluster, fault: Fault) -> Undo:
    assert cluster.postgres is not None
    cluster.postgres.crash()
    return cluster.postgres.start


def _lock_sqlite(cluster: Cluster) -> Undo:
    """Hold a write transaction for long: readers continue, writers wait.

    By a thread of its own, since it takes its turn, which may be after a worker that stands still.
    """
    path = str(cluster.system.runtime.database.engine.url.database)
    is_over = threading.Event()

    def hold() -> None:
        with closing(sqlite3.connect(path, timeout=TURN, isolation_level=None)) as connection:
            while not is_over.is_set():
                with suppress(
                    sqlite3.OperationalError
                ):  # another process holds it for longer than a turn
                    connection.execute("BEGIN EXCLUSIVE")
                    is_over.wait()

    thread = threading.Thread(target=hold, name="chaos-writer", daemon=True)
    thread.start()

    def let_go() -> None:
        is_over.set()
        thread.join()

    return let_go


#: What each refusal says where it is not brought about, but answered by the stand-in.
_REFUSALS: Mapping[Kind, tuple[str, str]] = MappingProxyType(
    {
        Kind.STORE_READ_ONLY: ("READONLY", "READONLY You can't write against a read only replica."),
        Kind.STORE_CUT_OFF: (
            "MASTERDOWN",
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        ),
        Kind.STORE_FORBIDS: ("NOPERM", "NOPERM this user has no permissions to run this command"),
        Kind.STORE_FULL: ("OOM", "ERR Out of memory"),
        Kind.STORE_WITHOUT_REPLICAS: (
            "NOREPLICAS",
            "NOREPLICAS Not enough good replicas to write.",
        ),
        Kind.STORE_WITHOUT_DISK: (
            "MISCONF",
            "MISCONF Errors writing to the AOF file: No space left on device",
        ),
        Kind.STORE_BUSY: ("BUSY", "BUSY Redis is busy running a script."),
        Kind.STORE_LOCKED_OUT: ("WRONGPASS", "NOAUTH Authentication required."),
        Kind.STORE_CROWDED: ("MAXCLIENTS", "ERR max number of clients reached"),
        Kind.STORE_LOADING: ("LOADING", "LOADING Dragonfly is loading the dataset in memory"),
        Kind.STORE_CLUSTER_DOWN: ("CLUSTERDOWN", "CLUSTERDOWN The cluster is down"),
    }
)


def _refuse(cluster: Cluster, fault: Fault) -> Undo:
    """Have the store refuse; a real server loses the data of which it becomes a replica."""
    code, text = _REFUSALS[fault.kind]
    if cluster.store.is_stand_in:
        cluster.store.refuse(text, but=_ALWAYS_ANSWERED)
        return cluster.store.accept
    way = ExitStack()
    way.enter_context(refusing.WAYS[code](cluster.store))
    return way.close


# ── limits ──────────────────────────────────────────────────────────────────────────────────────


def _set_limit(cluster: Cluster, fault: Fault) -> Undo:
    count = int(fault.amount) if fault.kind is Kind.LIMIT_SET else None
    cluster.limit.set(cluster.system.runtime.flusher_cache.limits, count)
    return _done


# ── messages ────────────────────────────────────────────────────────────────────────────────────


def _forge_messages(cluster: Cluster, fault: Fault) -> Undo:
    """Push some malformed messages into each queue; another choice at each fault."""
    chance = random.Random(f"forged at {fault.number}")
    queues = [*DOWNLOAD_QUEUES, MAINTENANCE_QUEUE]
    # Without the rights, the room or the server no attacker could forge either.
    with cluster.store.client(BROKER_DB, retry=ONCE) as client, suppress(redis.RedisError):
        for queue in queues:
            client.lpush(queue, *chance.sample(list(MALFORMED.values()), FORGED))
            client.rpush(queue, *chance.sample(list(MALFORMED.values()), FORGED))
    return _done


# ── the line to the store ───────────────────────────────────────────────────────────────────────


def _cut_line(cluster: Cluster, fault: Fault) -> Undo:
    line = cluster.lines[_worker(fault)]
    line.cut()
    return line.heal


def _slow_line(cluster: Cluster, fault: Fault) -> Undo:
    line = cluster.lines[_worker(fault)]
    line.delay = fault.amount
    return line.heal


def _silence_line(cluster: Cluster, fault: Fault) -> Undo:
    line = cluster.lines[_worker(fault)]
    line.pause()
    return line.heal


def _half_open_line(cluster: Cluster, fault: Fault) -> Undo:
    line = cluster.lines[_worker(fault)]
    line.half_open()
    return line.heal


# ── the origin ──────────────────────────────────────────────────────────────────────────────────


def _take_origin_down(cluster: Cluster, fault: Fault) -> Undo:
    return _overrule(cluster, lambda _request, plan: _no_answer(plan), drop=True)


def _flap_origin(cluster: Cluster, fault: Fault) -> Undo:
    began = time.monotonic()

    def respond(_request: Request, plan: Plan) -> Plan:
        is_down = int((time.monotonic() - began) / fault.amount) % 2 == 0
        return _no_answer(plan) if is_down else plan

    return _overrule(cluster, respond, drop=True)


def _answer_503(cluster: Cluster, fault: Fault) -> Undo:
    return _overrule(cluster, lambda _request, _plan: origin_behaviour.plan_error(503))


def _reset_answers(cluster: Cluster, fault: Fault) -> Undo:
    def respond(_request: Request, plan: Plan) -> Plan:
        if plan.fault is None and plan.length > fault.amount:
            plan.fault = origin_behaviour.Fault("reset", int(fault.amount))
        return plan

    return _overrule(cluster, respond)


def _overrule(
    cluster: Cluster, respond: Callable[[Request, Plan], Plan], *, drop: bool = False
) -> Undo:
    cluster.origin.overrule(respond)
    if drop:
        cluster.origin.drop_connections()
    return lambda: cluster.origin.overrule(None)


def _no_answer(plan: Plan) -> Plan:
    """The connection is closed without a word. The log has it as status 0."""
    return replace(plan, status=0, raw=())


# ── disk and clock ──────────────────────────────────────────────────────────────────────────────


def _fill_disk(cluster: Cluster, fault: Fault) -> Undo:
    return _refuse_calls(cluster, fault, errno.ENOSPC, FULL_DISK_REFUSES)


def _remount_read_only(cluster: Cluster, fault: Fault) -> Undo:
    return _refuse_calls(cluster, fault, errno.EROFS, READ_ONLY_DISK_REFUSES)


def _refuse_calls(cluster: Cluster, fault: Fault, number: int, calls: Sequence[str]) -> Undo:
    disk = cluster.disks[_worker(fault)]
    disk.refuse(*(f"{call} {number} {cluster.system.downloads}" for call in calls))
    return disk.recover


def _step_clock(cluster: Cluster, fault: Fault) -> Undo:
    ahead = WorkerFaults(clock_ahead=fault.amount)
    cluster.inject(_worker(fault), ahead)
    return lambda: cluster.inject(_worker(fault), WorkerFaults())


inject_by_kind: Mapping[Kind, Do] = MappingProxyType(
    {
        Kind.WORKER_KILLED: _kill,
        Kind.WORKER_FROZEN: _freeze,
        Kind.WORKER_FROZEN_LONG: _freeze,
        Kind.WORKER_DRAINED: _drain,
        Kind.BEAT_KILLED: _kill,
        Kind.MAINTENANCE_KILLED: _kill,
        Kind.STORE_SAVED: _save_store,
        Kind.STORE_EMPTIED: _empty_store,
        Kind.STORE_OLD: _age_store,
        Kind.STORE_HANGS: _hang_store,
        Kind.STORE_READ_ONLY: _refuse,
        Kind.STORE_CUT_OFF: _refuse,
        Kind.STORE_FORBIDS: _refuse,
        Kind.STORE_FULL: _refuse,
        Kind.STORE_WITHOUT_REPLICAS: _refuse,
        Kind.STORE_WITHOUT_DISK: _refuse,
        Kind.STORE_BUSY: _refuse,
        Kind.STORE_LOCKED_OUT: _refuse,
        Kind.STORE_CROWDED: _refuse,
        Kind.STORE_LOADING: _refuse,
        Kind.STORE_CLUSTER_DOWN: _refuse,
        Kind.DATABASE_AWAY: _stop_database,
        Kind.DATABASE_CRASHED: _crash_database,
        Kind.LINE_CUT: _cut_line,
        Kind.LINE_SLOW: _slow_line,
        Kind.LINE_SILENT: _silence_line,
        Kind.LINE_HALF_OPEN: _half_open_line,
        Kind.ORIGIN_DOWN: _take_origin_down,
        Kind.ORIGIN_FLAPS: _flap_origin,
        Kind.ORIGIN_503: _answer_503,
        Kind.ORIGIN_RESETS: _reset_answers,
        Kind.DISK_FULL: _fill_disk,
        Kind.DISK_READ_ONLY: _remount_read_only,
        Kind.CLOCK_STEPPED: _step_clock,
        Kind.WORKER_WITHOUT_DESCRIPTORS: _take_descriptors,
        Kind.LIMIT_SET: _set_limit,
        Kind.LIMIT_REMOVED: _set_limit,
        Kind.MESSAGES_FORGED: _forge_messages,
    }
)
