"""Inserting many rows with one statement, at little more than the database's own cost for each.

SQLAlchemy prepares row by row, which takes as long as SQLite needs to insert them. Here values are
prepared column by column, and a value that all rows share once. On SQLite the driver runs the statement
for each row; PostgreSQL gets a column as one array, and a shared value as one parameter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Dialect, String, Table

from database.job_rows import BATCH

#: The values of each column, by its name; all of one length, that of the rows.
Columns = Mapping[str, Sequence[Any]]


def insert_columns(
    connection: Connection, table: Table, columns: Columns, on_conflict: str = ""
) -> int:
    """Insert rows, given by column; return how many were inserted.

    Args:
        connection: in a transaction.
        table: where to insert them.
        columns: columns that are left out get their defaults.
        on_conflict: an ON CONFLICT clause.

    Raises:
        ValueError: a time has no time zone.
    """
    count = len(next(iter(columns.values())))
    insert = _insert_into_sqlite if connection.dialect.name == "sqlite" else _insert_into_postgresql
    return sum(
        insert(
            connection,
            table,
            {name: values[start : start + BATCH] for name, values in columns.items()},
            on_conflict,
        )
        for start in range(0, count, BATCH)
    )


def _insert_into_sqlite(
    connection: Connection, table: Table, columns: Columns, on_conflict: str
) -> int:
    prepared = [
        _prepared(table, name, values, connection.dialect) for name, values in columns.items()
    ]
    marks = ", ".join("?" * len(columns))
    statement = f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({marks}) {on_conflict}"  # noqa: S608
    rows = list(zip(*prepared, strict=True))
    return connection.exec_driver_sql(statement, rows).rowcount


def _insert_into_postgresql(
    connection: Connection, table: Table, columns: Columns, on_conflict: str
) -> int:
    dialect = connection.dialect
    selected: list[str] = []
    shared: list[Any] = []
    arrays: dict[str, tuple[str, list[Any]]] = {}
    for name, values in columns.items():
        prepared, kind = _prepared(table, name, values, dialect), _kind(table, name, dialect)
        if arrays and _are_alike(prepared):
            selected.append(f"%s::{kind}")
            shared.append(prepared[0])
        else:
            selected.append(f"new.{name}")
            arrays[name] = (f"%s::{kind}[]", prepared)
    unnested = ", ".join(cast for cast, _ in arrays.values())
    statement = (
        f"INSERT INTO {table.name} ({', '.join(columns)}) SELECT {', '.join(selected)} "  # noqa: S608
        f"FROM unnest({unnested}) AS new ({', '.join(arrays)}) {on_conflict}"
    )
    parameters = (*shared, *(values for _, values in arrays.values()))
    return connection.exec_driver_sql(statement, parameters).rowcount


def _are_alike(values: Sequence[Any]) -> bool:
    return values.count(values[0]) == len(values)


def _prepared(table: Table, name: str, values: Sequence[Any], dialect: Dialect) -> list[Any]:
    """Return values as the driver takes them."""
    process = _processor(table, name, dialect)
    if process is None:
        return list(values)
    if _are_alike(values):
        return [process(values[0])] * len(values)
    return list(map(process, values))


@cache
def _processor(table: Table, name: str, dialect: Dialect) -> Any:
    return table.c[name].type.dialect_impl(dialect).bind_processor(dialect)


@cache
def _kind(table: Table, name: str, dialect: Dialect) -> str:
    """Return the type of a column; of text without its length, to which a cast would shorten it."""
    kind = table.c[name].type.dialect_impl(dialect)
    impl = getattr(kind, "impl_instance", kind)
    return "text" if isinstance(impl, String) else impl.compile(dialect)
