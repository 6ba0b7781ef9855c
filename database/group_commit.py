"""Group commit: on SQLite, the transactions of concurrent threads share one commit.

SQLite commits one transaction at a time, and each commit waits for the disk. Of several threads that
write at once, the one that gets the writer lock runs the work of all threads that wait for it, in one
transaction with one fsync.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

T = TypeVar("T")

Work = Callable[[Connection], T]


class _Item:
    """One thread's work, and its result."""

    __slots__ = ("done", "error", "result", "work")

    def __init__(self, work: Work[Any]) -> None:
        self.work = work
        self.done = False
        self.result: Any = None
        self.error: Exception | None = None


class GroupCommit:
    """Runs work in transactions of one engine, under `writer_lock`.

    Work may be run twice: if one of a group fails, each is run again in a transaction of its own. So it
    must do nothing but use its connection.
    """

    def __init__(self, engine: Engine, writer_lock: threading.Lock) -> None:
        self._engine = engine
        self._writer_lock = writer_lock
        self._mutex = threading.Lock()
        self._waiting: list[_Item] = []

    def run(self, work: Work[T]) -> T:
        """Return what `work` returns once it is committed, or raise what it or the commit raised."""
        item = _Item(work)
        with self._mutex:
            self._waiting.append(item)
        with self._writer_lock:
            try:
                while not item.done:
                    self._commit_all()
            except BaseException:
                self._withdraw(item)
                raise
        if item.error is not None:
            raise item.error
        result: T = item.result
        return result

    def _commit_all(self) -> None:
        with self._mutex:
            items, self._waiting = self._waiting, []
        try:
            if len(items) == 1 or not self._commit_together(items):
                for item in items:
                    self._commit_alone(item)
        except BaseException:
            # This thread is interrupted; the work of the others is still to be done.
            with self._mutex:
                self._waiting[:0] = [item for item in items if not item.done]
            raise

    def _withdraw(self, item: _Item) -> None:
        with self._mutex:
            if item in self._waiting:
                self._waiting.remove(item)

    def _commit_together(self, items: list[_Item]) -> bool:
        """Commit all in one transaction; False, and nothing committed, when any of them fails.

        If another process has locked the database for too long, that is the error of all.
        """
        try:
            with self._engine.begin() as connection:
                results = [item.work(connection) for item in items]
        except OperationalError as error:
            if not _is_locked(error):
                return False
            for item in items:  # each alone would wait as long again
                item.error, item.done = error, True
            return True
        except Exception:
            return False
        for item, result in zip(items, results, strict=True):
            item.result, item.done = result, True
        return True

    def _commit_alone(self, item: _Item) -> None:
        try:
            with self._engine.begin() as connection:
                item.result = item.work(connection)
        except Exception as error:  # its thread raises it
            item.error = error
        item.done = True


def _is_locked(error: OperationalError) -> bool:
    code = getattr(error.orig, "sqlite_errorcode", None) or 0
    return code & 0xFF == sqlite3.SQLITE_BUSY
