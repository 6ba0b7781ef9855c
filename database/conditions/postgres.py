"""What PostgreSQL's states (SQLSTATE) mean: the longest entry that a state begins with counts."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from database.conditions.verdict import Verdict

_LOG = "See the server's log."
_LOGIN = "Check SEEN_DATABASE_URL, and the rights of its user."
_SLOW = "See what holds its locks: pg_stat_activity and pg_blocking_pids()."
_READ_ONLY = (
    "It only reads, as a standby does. Name the server that writes in SEEN_DATABASE_URL, or several "
    "with target_session_attrs=read-write."
)


class State(NamedTuple):
    """An entry: the verdict, and what a person does about it."""

    verdict: Verdict
    remedy: str = ""


#: A state that is not here is judged by the class of the driver's error.
STATES: Mapping[str, State] = MappingProxyType(
    {
        "08": State(Verdict.WAIT),  # the connection is lost, or cannot be made
        "08P01": State(Verdict.WAIT, _LOG),  # protocol_violation: a proxy between
        "0A": State(Verdict.RAISE),  # feature_not_supported
        "22": State(Verdict.RAISE),  # data
        "23": State(Verdict.RAISE),  # constraints
        "25": State(Verdict.RAISE),  # wrong use of transactions
        "25006": State(Verdict.RECONNECT, _READ_ONLY),  # read_only_sql_transaction
        "25P03": State(
            Verdict.WAIT
        ),  # idle_in_transaction_session_timeout: the connection is closed
        "25P04": State(Verdict.WAIT, _SLOW),  # transaction_timeout
        "27": State(Verdict.RAISE),  # a trigger that changes what is being changed
        "28": State(Verdict.WAIT, _LOGIN),  # the login is refused
        "3D": State(Verdict.WAIT, _LOGIN),  # no such database
        "3F": State(Verdict.OUTDATED),  # no such schema
        "40": State(Verdict.WAIT),  # rolled back
        "40001": State(Verdict.CONFLICT),  # serialization_failure
        "40P01": State(Verdict.CONFLICT),  # deadlock_detected
        "42": State(Verdict.RAISE),  # a statement that is wrong
        "42501": State(Verdict.WAIT, _LOGIN),  # insufficient_privilege
        "42703": State(Verdict.OUTDATED),  # no such column
        "42P01": State(Verdict.OUTDATED),  # no such table
        "53": State(Verdict.WAIT, _LOG),  # insufficient_resources
        "53100": State(Verdict.WAIT, "Free space on its disk."),
        "53200": State(Verdict.WAIT, "Its machine lacks memory; see the server's log."),
        "53300": State(Verdict.WAIT, "Raise max_connections, or run fewer processes."),
        "54": State(Verdict.ONE_ROW),  # program_limit_exceeded: a value too long for an index
        "55": State(Verdict.WAIT, _LOG),  # an object is not in the state that is needed, or in use
        "55P03": State(Verdict.TIMEOUT, _SLOW),  # lock_not_available, as by lock_timeout
        "57": State(Verdict.WAIT),  # shut down, crashed, starting: 57P01, 57P02, 57P03
        "57014": State(Verdict.TIMEOUT, _SLOW),  # query_canceled, as by statement_timeout
        "57P04": State(Verdict.WAIT, _LOGIN),  # database_dropped
        "58": State(Verdict.WAIT, f"See its disk. {_LOG}"),  # its files
        "72": State(Verdict.WAIT),  # snapshot_too_old
        "F0": State(Verdict.WAIT, _LOG),  # its configuration
        "XX": State(Verdict.ONE_PLACE, _LOG),  # an error in the server
        "XX001": State(Verdict.ONE_PLACE, "A page is damaged: restore it from a backup."),
        "XX002": State(Verdict.ONE_PLACE, "An index is damaged: REINDEX it."),
    }
)


def state(sqlstate: str) -> State | None:
    """Return the entry of a state; None for one that has none."""
    return next((STATES[sqlstate[:n]] for n in range(5, 1, -1) if sqlstate[:n] in STATES), None)
