"""From an error of a driver to its verdict, and to what a person reads."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, TimeoutError

from database.conditions import postgres, sqlite
from database.conditions.verdict import MAY_BE_OF_ONE_ROW, Verdict

#: How SQLite says that a table or column is missing.
_LACKS_TABLES = ("no such table", "no such column", "has no column")


def verdict_of(error: BaseException) -> Verdict:
    """Return the verdict on an error of SQLAlchemy, or of the operating system."""
    found = _entry(error)
    if _lacks_tables(error):
        return Verdict.OUTDATED
    is_lost = isinstance(error, DBAPIError) and error.connection_invalidated
    if found is not None and not (is_lost and found.verdict is Verdict.RAISE):
        return found.verdict
    # The driver raises OSError when it lacks a descriptor or memory for a connection.
    is_outage = isinstance(error, OperationalError | InterfaceError | TimeoutError | OSError)
    return Verdict.WAIT if is_lost or is_outage else Verdict.RAISE


def is_conflict(error: BaseException | None) -> bool:
    """Return whether an error says that a transaction was rolled back for another one."""
    return error is not None and verdict_of(error) is Verdict.CONFLICT


def is_timeout(error: BaseException | None) -> bool:
    """Return whether an error of PostgreSQL says that a statement waited or ran for too long."""
    return error is not None and verdict_of(error) is Verdict.TIMEOUT


def may_be_of_one_row(error: BaseException | None) -> bool:
    """Return whether the same transaction without one of its rows could succeed at once."""
    return error is not None and verdict_of(error) in MAY_BE_OF_ONE_ROW


def explain(error: BaseException) -> str:
    """Return what a driver says as a sentence, and what to do."""
    cause = getattr(error, "orig", None) or error
    lines = [line.strip() for line in str(cause).splitlines()]
    # libpq's second line is a question.
    text = " ".join(line for line in lines if line and not line.startswith("Is the server"))
    if verdict_of(error) is Verdict.OUTDATED:
        return f"The database lacks tables of this version ({text}). Run: seen db upgrade"
    found = _entry(error)
    remedy = "" if found is None else found.remedy
    return f"The database does not answer: {text.rstrip('.')}. {remedy}".rstrip()


def _entry(error: BaseException) -> postgres.State | sqlite.Code | None:
    cause = getattr(error, "orig", None)
    sqlstate, number = getattr(cause, "sqlstate", None), getattr(cause, "sqlite_errorcode", None)
    if sqlstate:
        return postgres.state(sqlstate)
    return None if number is None else sqlite.code(number)


def _lacks_tables(error: BaseException) -> bool:
    """Return whether the database was never migrated, or not to this version."""
    cause = getattr(error, "orig", None)
    found = _entry(error)
    if found is not None and found.verdict is Verdict.OUTDATED:
        return True
    return cause is not None and any(one in str(cause) for one in _LACKS_TABLES)
