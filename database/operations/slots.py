"""Requeues jobs that wait for slots of hosts and users, as many as there are free slots."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    Connection,
    Select,
    Text,
    bindparam,
    func,
    literal_column,
    select,
    union_all,
)
from sqlalchemy.dialects.postgresql import ARRAY

from database.job_messages import HOST_BUSY, USER_BUSY, requeue_for_host, requeue_for_user
from database.models import WAITING, jobs
from database.operations import RequeueForSlot
from domain.job import QueuedJob

_REQUEUE = {HOST_BUSY: requeue_for_host, USER_BUSY: requeue_for_user}
_COLUMNS = {HOST_BUSY: jobs.c.host, USER_BUSY: jobs.c.user_id}


def requeue_for_slots(
    connection: Connection, slots: Sequence[RequeueForSlot]
) -> list[list[QueuedJob]]:
    """Queue for each slot the jobs that have waited longest; return for each what was queued."""
    waiting = awaited(connection, slots)
    requeued: list[list[QueuedJob]] = [[] for _ in slots]
    for code, requeue in _REQUEUE.items():
        positions = defaultdict(list)
        for position, slot in enumerate(slots):
            name = slot.host if code == HOST_BUSY else slot.user_id
            if name is not None and (code, name) in waiting:
                positions[name].append(position)
        for name, some in positions.items():
            now = max(slots[position].now for position in some)
            queued = requeue(connection, name, len(some), now)
            for position, job in zip(some, queued, strict=False):
                requeued[position].append(job)
    return requeued


def awaited(connection: Connection, slots: Sequence[RequeueForSlot]) -> set[tuple[str, str]]:
    """Return for which of these slots a job waits: its error code, and its host or user."""
    hosts = sorted({slot.host for slot in slots})
    users = sorted({slot.user_id for slot in slots if slot.user_id is not None})
    is_postgresql = connection.dialect.name == "postgresql"
    names: dict[str, Any] = {HOST_BUSY: hosts, USER_BUSY: users}
    if not is_postgresql:
        names = {code: json.dumps(some) for code, some in names.items()}
    rows = connection.execute(_awaited(is_postgresql=is_postgresql), names)
    return {(code, name) for code, name in rows}


@cache
def _awaited(*, is_postgresql: bool) -> Any:
    """Return one statement for any number of hosts and users, since mostly no job waits."""
    return union_all(*(_awaited_of(code, is_postgresql=is_postgresql) for code in _COLUMNS))


def _awaited_of(code: str, *, is_postgresql: bool) -> Select[Any]:
    if is_postgresql:
        rows = func.unnest(bindparam(code, type_=ARRAY(Text))).table_valued("value", name=code)
        rows = rows.render_derived()
    else:
        rows = func.json_each(bindparam(code, type_=Text)).table_valued("value", name=code)
    name = rows.c.value
    waits = select(jobs.c.id).where(WAITING, _COLUMNS[code] == name, jobs.c.error_code == code)
    return select(literal_column(f"'{code}'"), name).where(waits.exists())
