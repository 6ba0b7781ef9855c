"""How each kind of fault is done, and undone."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from types import MappingProxyType

from tests.chaos.cluster import BEAT, MAINTENANCE, Cluster, worker_name
from tests.chaos.schedule import Fault, Kind
from tests.chaos.trouble import Trouble
from tests.support import origin_behaviour
from tests.support.origin_behaviour import Plan, Request

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
    """Let somebody else write for long: readers go on, writers wait.

    By a thread of its own, since it takes its turn, which may be after a worker that stands still.
    """
    path = str(cluster.system.runtime.database.engine.url.database)
    is_over = threading.Event()

    def hold() -> None:
        with closing(sqlite3.connect(path, timeout=TURN, isolation_level=None)) as connection:
            while not is_over.is_set():
                with suppress(sqlite3.OperationalError):  # somebody has it for longer than a turn
                    connection.execute("BEGIN EXCLUSIVE")
                    is_over.wait()

    thread = threading.Thread(target=hold, name="chaos-writer", daemon=True)
    thread.start()

    def let_go() -> None:
        is_over.set()
        thread.join()

    return let_go


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
    return _trouble(cluster, fault, disk_full=True)


def _step_clock(cluster: Cluster, fault: Fault) -> Undo:
    return _trouble(cluster, fault, clock_ahead=fault.amount)


def _trouble(cluster: Cluster, fault: Fault, **changes: float) -> Undo:
    """Change one thing that is wrong with a worker, and put back that one."""
    number = _worker(fault)

    def change(to: Mapping[str, float]) -> None:
        now = Trouble.read(cluster.trouble_file(number))
        cluster.trouble(number, replace(now, **to))  # type: ignore[arg-type]

    well = {name: getattr(Trouble(), name) for name in changes}
    change(changes)
    return lambda: change(well)


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
        Kind.CLOCK_STEPPED: _step_clock,
    }
)
