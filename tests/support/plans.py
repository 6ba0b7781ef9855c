"""How the database executes statements: their plans, and how many rows they read."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError

from database import Database

#: Tables that grow with the number of finished jobs.
GROWING = ("jobs", "job_events", "idempotency_keys")
#: Indexes that have no finished job, so they may be read as a whole.
_UNFINISHED = (
    "ix_jobs_unpublished",
    "ix_jobs_published",
    "ix_jobs_next_attempt_at",
    "ix_jobs_waiting_for_host",
    "ix_jobs_waiting_for_user",
    "ix_jobs_waiting_for_any",
    "uq_jobs_flight_alive",
)
_PLANNED = ("SELECT", "UPDATE", "DELETE", "WITH", "INSERT")
_PLACE = r"(?:%(?:\(\w+\))?s(?:::\w[\w ]*)?|\?)"
_LIST = re.compile(rf"{_PLACE}(?:, {_PLACE})+")
_ROWS = re.compile(r"(\([^()]*…[^()]*\))(?:, \([^()]*…[^()]*\))+")
_DATABASE_CODE = str(Path(sys.modules["database"].__file__ or "").parent)


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement as a driver gets it, with the parameters of one execution."""

    text: str
    parameters: Any

    @property
    def shape(self) -> str:
        """Its text, alike for lists of any length."""
        return _ROWS.sub(r"\1", _LIST.sub("…", " ".join(self.text.split())))


@dataclass(slots=True)
class Recording:
    """What was executed: one statement of each shape, and the functions of `database` that did it."""

    statements: dict[str, Statement] = field(default_factory=dict)
    functions: set[str] = field(default_factory=set)

    def add(self, text: str, parameters: Any) -> None:
        """Note a statement, and who executes it."""
        if text.lstrip("( ").split(None, 1)[0] not in _PLANNED:
            return
        statement = Statement(text, parameters[0] if isinstance(parameters, list) else parameters)
        self.statements.setdefault(statement.shape, statement)
        frame: FrameType | None = sys._getframe()
        while frame is not None:
            if frame.f_code.co_filename.startswith(_DATABASE_CODE):
                self.functions.add(frame.f_code.co_name)
            frame = frame.f_back


@contextmanager
def recorded(database: Database) -> Iterator[Recording]:
    """Record what is executed on a database meanwhile, in any thread."""
    recording = Recording()

    def listen(_connection: Any, _cursor: Any, text: str, parameters: Any, *_more: Any) -> None:
        recording.add(text, parameters)

    event.listen(database.engine, "before_cursor_execute", listen)
    try:
        yield recording
    finally:
        event.remove(database.engine, "before_cursor_execute", listen)


# ── plans ───────────────────────────────────────────────────────────────────────────────────────


def full_scans(connection: Connection, statement: Statement) -> list[str]:
    """Return the steps of a statement's plan that read a whole table which grows, or a whole index."""
    if connection.dialect.name == "sqlite":
        return _sqlite_scans(connection, statement)
    generic = _postgres_scans(_generic_plan(connection, statement))
    scans = list(_postgres_scans(_postgres_plan(connection, statement)))
    return scans + [f"generic plan: {one}" for one in generic]


@contextmanager
def as_if_large(connection: Connection) -> Iterator[None]:
    """Let PostgreSQL plan as if its tables had a hundred times as many pages."""
    with _set(connection, "seq_page_cost", "100"):
        yield


@contextmanager
def without_table_scans(connection: Connection) -> Iterator[None]:
    """Let PostgreSQL plan with indexes alone: in a large table it may prefer the wrong one, too."""
    with _set(connection, "enable_seqscan", "off"):
        yield


@contextmanager
def _set(connection: Connection, name: str, value: str) -> Iterator[None]:
    if connection.dialect.name == "sqlite":
        yield
        return
    connection.exec_driver_sql(f"SET {name} = {value}")
    yield
    connection.exec_driver_sql(f"RESET {name}")


def _sqlite_scans(connection: Connection, statement: Statement) -> list[str]:
    plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement.text}", statement.parameters)
    steps = [str(row[3]) for row in plan]
    scan = re.compile(rf"SCAN (?:{'|'.join(GROWING)})(?:_\d+)?\b")
    is_page = "WHERE" not in statement.text and "LIMIT" in statement.text
    return [
        step
        for step in steps
        if scan.match(step) and step.rpartition(" ")[2] not in _UNFINISHED and not is_page
    ]


def _postgres_plan(connection: Connection, statement: Statement) -> dict[str, Any]:
    explain = f"EXPLAIN (FORMAT JSON) {statement.text}"
    plan: dict[str, Any] = connection.exec_driver_sql(explain, statement.parameters).scalar_one()[0]
    return plan["Plan"]  # type: ignore[no-any-return]


def _generic_plan(connection: Connection, statement: Statement) -> dict[str, Any]:
    """Return the plan for any parameters: psycopg prepares a statement that is executed five times."""
    numbers: dict[str, int] = {}

    def numbered(match: re.Match[str]) -> str:
        name = match[1] or f"%s at {match.start()}"
        return f"${numbers.setdefault(name, len(numbers) + 1)}"

    text = re.sub(r"%(?:\((\w+)\))?s", numbered, statement.text).replace("%%", "%")
    raw: Any = connection.connection.driver_connection
    with raw.cursor() as cursor:
        # Without parameters, so that `$1` reaches the server.
        (plan,) = cursor.execute(f"EXPLAIN (FORMAT JSON, GENERIC_PLAN) {text}").fetchone()
    return plan[0]["Plan"]  # type: ignore[no-any-return]


def _nodes(plan: dict[str, Any], *, limited: bool = False) -> Iterator[tuple[dict[str, Any], bool]]:
    """Yield the nodes of a plan, and whether a LIMIT is above them."""
    limited = limited or plan["Node Type"] == "Limit"
    yield plan, limited
    for child in plan.get("Plans", []):
        yield from _nodes(child, limited=limited)


def _postgres_scans(plan: dict[str, Any]) -> Iterator[str]:
    for node, limited in _nodes(plan):
        kind, table = node["Node Type"], node.get("Relation Name")
        is_whole = "Index Cond" not in node and node.get("Index Name") not in _UNFINISHED
        of_index = kind in {"Index Scan", "Index Only Scan"} and is_whole
        reads_on = "Filter" in node or not limited
        if table in GROWING and (kind == "Seq Scan" or (of_index and reads_on)):
            yield f"{kind} of {node.get('Index Name', table)}, filter: {node.get('Filter')}"


# ── work ────────────────────────────────────────────────────────────────────────────────────────


def rows_read(connection: Connection, statement: Statement) -> int:
    """Execute a statement, undo it, and return how many rows of growing tables it has read.

    SQLite does not count them: there it is estimated from the steps of its virtual machine beyond those
    that the returned rows take.
    """
    if statement.text.startswith("INSERT") and "SELECT" not in statement.text:
        return 0
    point = connection.begin_nested()
    try:
        if connection.dialect.name == "sqlite":
            return _sqlite_rows(connection, statement)
        explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement.text}"
        found = connection.exec_driver_sql(explain, statement.parameters).scalar_one()
        return sum(_rows(node) for node, _ in _nodes(found[0]["Plan"]))
    except DBAPIError:
        return 0  # a unique index: the row exists by now
    finally:
        point.rollback()


def _rows(node: dict[str, Any]) -> int:
    if node.get("Relation Name") not in GROWING or "Scan" not in node["Node Type"]:
        return 0
    removed = ("Rows Removed by Filter", "Rows Removed by Index Recheck")
    read = node["Actual Rows"] + sum(node.get(name, 0) for name in removed)
    return int(read * node["Actual Loops"])


#: For SQLite, reading one row in vain takes 5 to 10 steps; returning one with all its columns, about 90.
_STEPS_A_ROW, _STEPS_A_RETURNED_ROW = 8, 90


def _sqlite_rows(connection: Connection, statement: Statement) -> int:
    raw: Any = connection.connection.driver_connection
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 50
        return 0

    raw.set_progress_handler(count, 50)
    try:
        result = connection.exec_driver_sql(statement.text, statement.parameters)
        returned = len(result.all()) if result.returns_rows else 0
    finally:
        raw.set_progress_handler(None, 0)
    return max(0, steps - returned * _STEPS_A_RETURNED_ROW) // _STEPS_A_ROW
