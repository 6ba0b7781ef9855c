"""What SQLite's result codes mean, by primary code: an extended code has it in its last eight bits."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from database.conditions.verdict import Verdict


class Code(NamedTuple):
    """An entry: the verdict, and what a person does about it."""

    verdict: Verdict
    remedy: str = ""


_RIGHT = "This user needs the right to write the file and its folder."
_UNREADABLE = "It cannot be read: restore it from a backup, or move it away for a new one."

CODES: Mapping[int, Code] = MappingProxyType(
    {
        # Also of a missing table, and of what follows when SQLite has rolled back by itself.
        sqlite3.SQLITE_ERROR: Code(Verdict.WAIT),
        sqlite3.SQLITE_INTERNAL: Code(Verdict.WAIT),
        sqlite3.SQLITE_PERM: Code(Verdict.WAIT, _RIGHT),
        sqlite3.SQLITE_ABORT: Code(Verdict.WAIT),
        sqlite3.SQLITE_BUSY: Code(Verdict.WAIT, "Another process has locked it for too long."),
        sqlite3.SQLITE_LOCKED: Code(Verdict.WAIT),
        # Python raises MemoryError, which is the process's condition, not the database's.
        sqlite3.SQLITE_NOMEM: Code(Verdict.RAISE),
        sqlite3.SQLITE_READONLY: Code(Verdict.WAIT, _RIGHT),
        sqlite3.SQLITE_INTERRUPT: Code(Verdict.WAIT),
        sqlite3.SQLITE_IOERR: Code(Verdict.WAIT, "See the disk, and the log of the system."),
        sqlite3.SQLITE_CORRUPT: Code(Verdict.WAIT, _UNREADABLE),
        sqlite3.SQLITE_NOTFOUND: Code(Verdict.WAIT),
        sqlite3.SQLITE_FULL: Code(Verdict.WAIT, "Free space on its disk."),
        sqlite3.SQLITE_CANTOPEN: Code(
            Verdict.WAIT, "It must be a file, in a folder that this user may write."
        ),
        sqlite3.SQLITE_PROTOCOL: Code(
            Verdict.WAIT, "Its locks do not work: it must be on a local disk."
        ),
        sqlite3.SQLITE_SCHEMA: Code(Verdict.WAIT),
        sqlite3.SQLITE_TOOBIG: Code(Verdict.RAISE),
        sqlite3.SQLITE_CONSTRAINT: Code(Verdict.RAISE),
        sqlite3.SQLITE_MISMATCH: Code(Verdict.RAISE),
        sqlite3.SQLITE_MISUSE: Code(Verdict.RAISE),
        sqlite3.SQLITE_NOLFS: Code(Verdict.WAIT, "Its file system has no large files."),
        sqlite3.SQLITE_AUTH: Code(Verdict.RAISE),
        sqlite3.SQLITE_FORMAT: Code(Verdict.WAIT, _UNREADABLE),
        sqlite3.SQLITE_RANGE: Code(Verdict.RAISE),
        sqlite3.SQLITE_NOTADB: Code(Verdict.WAIT, _UNREADABLE),
    }
)


def code(number: int) -> Code | None:
    """Return the entry of a primary or extended code; None for one that has none."""
    return CODES.get(number & 0xFF)
