"""What follows from an error of a driver."""

from __future__ import annotations

from enum import Enum


class Verdict(Enum):
    """Of all but RAISE, callers get DatabaseUnavailableError in the end, and wait: nothing is lost."""

    WAIT = "the database cannot serve now"
    RECONNECT = "this server cannot serve; another one may: connections are made again"
    CONFLICT = "rolled back for another transaction: done again at once, then each row alone"
    TIMEOUT = "waited too long, as for a locked row: each row alone, with little time"
    ONE_PLACE = "damage that may concern one row: each row alone"
    OUTDATED = "tables or columns are missing: the database has to be migrated"
    ONE_ROW = "one value is refused: each row alone, and that one's error is raised"
    RAISE = "the statement or its values are wrong: raised as it is"


#: Without one of its rows a transaction could succeed at once.
MAY_BE_OF_ONE_ROW = frozenset(
    {Verdict.CONFLICT, Verdict.TIMEOUT, Verdict.ONE_PLACE, Verdict.ONE_ROW}
)
#: Raised as they are.
RAISED = frozenset({Verdict.RAISE, Verdict.ONE_ROW})
