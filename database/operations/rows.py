"""Reads and writes the rows of many jobs with one statement each.

SQLAlchemy converts each value of each row by itself, which takes several times as long as the statement.
Here a statement is compiled once for any number of rows, and a time is converted once for all rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache, lru_cache
from operator import attrgetter
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    Dialect,
    Select,
    Text,
    any_,
    bindparam,
    cast,
    column,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from database.job_rows import FIELDS, EventRow, to_job, with_columns
from database.models import TextTuple, UTCDateTime, job_events, jobs
from domain.job import Job, JobStatus, Priority

#: What follows the new values in a row for `update_jobs`: the job as it was read.
_KEYS = {"b_id": jobs.c.id, "b_status": jobs.c.status, "b_fence": jobs.c.fence}

#: The columns that may change while a worker has a claim, and what identifies the claim.
_CLAIMED_NAMES = (
    "id",
    "fence",
    "status",
    "control",
    "worker",
    "attempts",
    "priority",
    "next_attempt_at",
    "published_at",
    "updated_at",
    "bytes_downloaded",
    "bytes_total",
    "bytes_durable",
    "speed_mbps",
)
_claimed_values = attrgetter(*_CLAIMED_NAMES)


def lock_jobs(
    connection: Connection, claimed: Mapping[str, Job], others: Collection[str]
) -> dict[str, Job]:
    """Read jobs by id, and keep others from changing them until the transaction ends.

    Rows are locked in order of their ids, as everywhere, against deadlocks. On SQLite the transaction is
    the only one that writes.

    Args:
        connection: of the transaction.
        claimed: jobs as read under a claim, by id. Only what may have changed since is read; a job
            with a newer claim is left out.
        others: ids of further jobs.
    """
    found = {}
    if claimed:
        ids = sorted({*claimed, *others})
        for row in _by_id(connection.dialect, _CLAIMED_NAMES, lock=True).read(connection, ids):
            job = claimed.get(row[0])
            if job is not None and job.fence == row[1]:
                found[job.id] = _as_read(job, row)
    if others:
        ids = sorted(others)
        every = _by_id(connection.dialect, FIELDS, lock=not claimed)
        found |= {row[0]: to_job(row) for row in every.read(connection, ids)}
    return found


def _as_read(job: Job, row: tuple[Any, ...]) -> Job:
    if row == _claimed_values(job):
        return job
    values = dict(zip(_CLAIMED_NAMES, row, strict=True))
    values |= {"status": JobStatus(values["status"]), "priority": Priority(values["priority"])}
    return with_columns(job, values)[0]


class _JobsById:
    """The SELECT of columns of jobs by any number of ids, which are one parameter."""

    def __init__(self, names: tuple[str, ...], dialect: Dialect, *, lock: bool) -> None:
        columns = [jobs.c[name] for name in names]
        self._is_postgresql = dialect.name == "postgresql"
        self._text = _text(_select(columns, self._is_postgresql, lock=lock), dialect)
        self._converters = _converters(columns, _read_converters(dialect))

    def read(self, connection: Connection, ids: list[str]) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of those that exist."""
        parameters: Any = {"b_ids": ids} if self._is_postgresql else (json.dumps(ids),)
        for row in connection.exec_driver_sql(self._text, parameters).all():
            yield _converted(row, self._converters)


@cache
def _by_id(dialect: Dialect, names: tuple[str, ...], *, lock: bool) -> _JobsById:
    return _JobsById(names, dialect, lock=lock)


def _select(columns: Sequence[Column[Any]], is_postgresql: bool, *, lock: bool) -> Select[Any]:
    if is_postgresql:
        is_wanted = jobs.c.id == any_(bindparam("b_ids", type_=ARRAY(Text)))
    else:
        ids = func.json_each(bindparam("b_ids", type_=Text)).table_valued("value")
        is_wanted = jobs.c.id.in_(select(ids.c.value))
    statement = select(*columns).where(is_wanted)
    if not (lock and is_postgresql):
        return statement
    # As an UPDATE locks: rows of `idempotency_keys` may be inserted meanwhile.
    return statement.order_by(jobs.c.id).with_for_update(key_share=True)


def update_jobs(
    connection: Connection, names: tuple[str, ...], rows: Sequence[tuple[Any, ...]]
) -> None:
    """Set columns of locked jobs, if their states and fences are as read.

    Args:
        connection: of the transaction that has locked them.
        names: of the columns.
        rows: for each job its new values, then its id, its status and its fence as read.
    """
    written = _update(connection.dialect, names).execute(connection, rows)
    if written != len(rows):
        raise RuntimeError(f"{len(rows) - written} of {len(rows)} locked jobs are not as read")


def insert_events(connection: Connection, rows: Sequence[EventRow]) -> None:
    """Add events to the histories, in this order."""
    if rows:
        _event_insert(connection.dialect).execute(connection, rows)


class _ManyRows:
    """A statement for any number of rows.

    The driver of SQLite runs it for each row. PostgreSQL gets all rows as one parameter, in JSON, since
    its driver takes several times as long for the messages of each row.
    """

    def __init__(self, text: str, columns: dict[str, Column[Any]], dialect: Dialect) -> None:
        self._text = text
        self._names = tuple(columns)
        self._is_postgresql = dialect.name == "postgresql"
        self._converters = _converters(list(columns.values()), _write_converters(dialect))

    def execute(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> int:
        """Run it; return how many rows it wrote."""
        converted = [_converted(row, self._converters) for row in rows]
        if not self._is_postgresql:
            return connection.exec_driver_sql(self._text, converted).rowcount
        if any(isinstance(value, str) and "\0" in value for row in converted for value in row):
            raise ValueError("PostgreSQL stores no text with a NUL character")
        records = [dict(zip(self._names, row, strict=True)) for row in converted]
        payload = {"b_rows": json.dumps(records, ensure_ascii=False)}
        return connection.exec_driver_sql(self._text, payload).rowcount


@cache
def _update(dialect: Dialect, names: tuple[str, ...]) -> _ManyRows:
    columns = {**{name: jobs.c[name] for name in names}, **_KEYS}
    given = _given(dialect, columns)
    is_as_read = [one == given[key] for key, one in _KEYS.items()]
    # In order of the names, since the driver's values have none.
    new_values = [(jobs.c[name], given[name]) for name in names]
    statement = update(jobs).where(*is_as_read).ordered_values(*new_values)
    return _ManyRows(_text(statement, dialect), columns, dialect)


@cache
def _event_insert(dialect: Dialect) -> _ManyRows:
    columns = {name: job_events.c[name] for name in EventRow._fields}
    given = _given(dialect, columns)
    if dialect.name == "postgresql":
        rows = select(*given.values())
        statement = insert(job_events).from_select(list(columns), rows)
    else:
        statement = insert(job_events).values(given)
    return _ManyRows(_text(statement, dialect), columns, dialect)


def _given(dialect: Dialect, columns: dict[str, Column[Any]]) -> dict[str, Any]:
    """Return by name what stands for the values of a row."""
    if dialect.name != "postgresql":
        return {name: bindparam(name, type_=one.type) for name, one in columns.items()}
    records = cast(bindparam("b_rows", type_=Text), JSON)
    typed = [column(name, one.type) for name, one in columns.items()]
    given = func.json_to_recordset(records).table_valued(*typed, name="given")
    return dict(given.render_derived(with_types=True).c)


def _text(statement: Any, dialect: Dialect) -> str:
    return str(statement.compile(dialect=dialect))


# ── the drivers' values ─────────────────────────────────────────────────────────────────────────

_Converter = Callable[[Any], Any]


def _read_converters(dialect: Dialect) -> dict[type, _Converter]:
    if dialect.name == "postgresql":
        return {UTCDateTime: _in_utc, TextTuple: _texts}
    return {UTCDateTime: _sqlite_time_as_read, TextTuple: _texts, Boolean: bool}


def _write_converters(dialect: Dialect) -> dict[type, _Converter]:
    time_text = _postgresql_time if dialect.name == "postgresql" else _sqlite_time
    return {UTCDateTime: time_text, TextTuple: _array_text}


def _converters(
    columns: Sequence[Column[Any]], by_type: Mapping[type, _Converter]
) -> list[tuple[int, _Converter]]:
    """Return how to convert the values of a row that need it, by position."""
    return [
        (position, by_type[type(one.type)])
        for position, one in enumerate(columns)
        if type(one.type) in by_type
    ]


def _converted(row: Sequence[Any], converters: Sequence[tuple[int, _Converter]]) -> tuple[Any, ...]:
    values = list(row)
    for position, convert in converters:
        values[position] = convert(values[position])
    return tuple(values)


@lru_cache(maxsize=256)
def _sqlite_time_as_read(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).replace(tzinfo=UTC)


@lru_cache(maxsize=256)
def _sqlite_time(time: datetime | None) -> str | None:
    utc = _in_utc(time)
    return None if utc is None else utc.replace(tzinfo=None).isoformat(" ", "microseconds")


@lru_cache(maxsize=256)
def _postgresql_time(time: datetime | None) -> str | None:
    utc = _in_utc(time)
    return None if utc is None else utc.isoformat()


def _in_utc(time: datetime | None) -> datetime | None:
    if time is None:
        return None
    if time.tzinfo is None:
        raise ValueError(f"{time!r} has no time zone")
    return time.astimezone(UTC)


def _array_text(values: Sequence[str] | None) -> str | None:
    return json.dumps(list(values), ensure_ascii=False) if values else None


def _texts(text: str | None) -> tuple[str, ...]:
    return tuple(json.loads(text)) if text else ()
