"""Requeues jobs that wait for slots of hosts, users and all downloads: as many as slots are free."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple, cast

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Select,
    Text,
    TextClause,
    bindparam,
    func,
    literal,
    literal_column,
    select,
    union_all,
)
from sqlalchemy.dialects.postgresql import ARRAY

from database.job_messages import requeue
from database.models import WAITING_FOR_ANY, WAITING_FOR_HOST, WAITING_FOR_USER, jobs
from database.operations import RequeueForSlot
from domain.job import Priority, QueuedJob


class _Kind(NamedTuple):
    """What jobs wait for a slot of: hosts, users, or all downloads."""

    column: Column[Any] | None
    """Of the name in the line; None if all jobs are in one."""
    waiting: TextClause
    reason: str


_KINDS = {
    "host": _Kind(jobs.c.host, WAITING_FOR_HOST, "{} has a free slot"),
    # Reasons do not name users.
    "user": _Kind(jobs.c.user_id, WAITING_FOR_USER, "its user has a free slot"),
    "all": _Kind(None, WAITING_FOR_ANY, "another download may run"),
}
_RANKS = {priority.value: rank for rank, priority in enumerate(Priority)}

#: A kind, and the name of a host or user, or "".
_Line = tuple[str, str]


def requeue_for_slots(
    connection: Connection, slots: Sequence[RequeueForSlot]
) -> list[list[QueuedJob]]:
    """Queue for each slot the jobs whose turn it is; return for each slot what was queued.

    Those with the highest priority are first, and of these the oldest ones. It is one statement for any
    number of slots to select jobs, and one to queue them.
    """
    waiting = awaited(connection, slots)
    freed: dict[_Line, list[int]] = defaultdict(list)
    for position, slot in enumerate(slots):
        for line in _lines(slot):
            if line in waiting:
                freed[line].append(position)
    chosen = _first_of(connection, {line: len(some) for line, some in freed.items()})
    reasons = {
        job_id: _KINDS[kind].reason.format(name)
        for (kind, name), job_ids in chosen.items()
        for job_id in job_ids
    }
    now = max((slot.now for slot in slots), default=None)
    queued = {} if now is None else {job.id: job for job in requeue(connection, reasons, now)}
    requeued: list[list[QueuedJob]] = [[] for _ in slots]
    for line, job_ids in chosen.items():
        for position, job_id in zip(freed[line], job_ids, strict=False):
            requeued[position].append(queued[job_id])
    return requeued


def _lines(slot: RequeueForSlot) -> list[_Line]:
    lines = [("host", slot.host), ("user", slot.user_id), ("all", "")]
    return [(kind, name) for kind, name in lines if name is not None]


def _first_of(connection: Connection, numbers: Mapping[_Line, int]) -> dict[_Line, list[str]]:
    """Lock and return the ids of the first jobs of each line, so many of each."""
    chosen: dict[_Line, list[str]] = {line: [] for line in numbers}
    if not numbers:
        return chosen
    parts = [
        select(literal(position).label("position"), literal(rank).label("rank"), first.c.id)
        for position, ((kind, name), number) in enumerate(numbers.items())
        for priority, rank in _RANKS.items()
        for first in [_first_with(_KINDS[kind], name, priority, number).subquery()]
    ]
    lines = list(numbers)
    found = sorted(tuple(row) for row in connection.execute(union_all(*parts)))
    for position, _rank, job_id in found:
        line = lines[position]
        if len(chosen[line]) < numbers[line]:
            chosen[line].append(job_id)
    return chosen


def _first_with(kind: _Kind, name: str, priority: str, number: int) -> Select[tuple[str]]:
    return (
        select(jobs.c.id)
        .where(*_waiting_in(kind, name), jobs.c.priority == priority)
        .order_by(jobs.c.id)
        .limit(number)
        # Two slots that become free at once are for two jobs.
        .with_for_update(skip_locked=True)
    )


def awaited(connection: Connection, slots: Sequence[RequeueForSlot]) -> set[_Line]:
    """Return for which of these slots a job waits: its kind, and its host or user."""
    hosts = sorted({slot.host for slot in slots if slot.host is not None})
    users = sorted({slot.user_id for slot in slots if slot.user_id is not None})
    is_postgresql = connection.dialect.name == "postgresql"
    names: dict[str, Any] = {"host": hosts, "user": users}
    if not is_postgresql:
        names = {kind: json.dumps(some) for kind, some in names.items()}
    rows = connection.execute(_awaited(is_postgresql=is_postgresql), names)
    return {(kind, name) for kind, name in rows}


@cache
def _awaited(*, is_postgresql: bool) -> Any:
    """Return one statement for any number of hosts and users, since mostly no job waits."""
    return union_all(*(_awaited_of(kind, is_postgresql=is_postgresql) for kind in _KINDS))


def _waiting_in(kind: _Kind, name: Any) -> list[ColumnElement[bool] | TextClause]:
    """Return the conditions of the jobs in a line."""
    return [kind.waiting] if kind.column is None else [kind.waiting, kind.column == name]


def _awaited_of(kind: str, *, is_postgresql: bool) -> Select[Any]:
    if _KINDS[kind].column is None:
        waits = select(jobs.c.id).where(_KINDS[kind].waiting)
        return cast("Select[Any]", select(literal(kind), literal("")).where(waits.exists()))
    if is_postgresql:
        rows = func.unnest(bindparam(kind, type_=ARRAY(Text))).table_valued("value", name=kind)
        rows = rows.render_derived()
    else:
        rows = func.json_each(bindparam(kind, type_=Text)).table_valued("value", name=kind)
    name = rows.c.value
    waits = select(jobs.c.id).where(*_waiting_in(_KINDS[kind], name))
    return select(literal_column(f"'{kind}'"), name).where(waits.exists())
