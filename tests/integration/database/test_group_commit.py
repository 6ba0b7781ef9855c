"""Group commit: threads that wait for SQLite's one writer share a commit, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, create_engine, event, text

from database.group_commit import GroupCommit
from tests.support.wait import wait_until


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (x INTEGER PRIMARY KEY)"))
    yield engine
    engine.dispose()


def insert(number: int) -> Callable[[Connection], int]:
    def work(connection: Connection) -> int:
        connection.execute(text("INSERT INTO t VALUES (:x)"), {"x": number})
        return number * 10

    return work


def rows(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT x FROM t ORDER BY x")).scalars())


class Crowd:
    """Threads that all wait for the writer's place before the first of them gets it."""

    def __init__(self, engine: Engine, works: list[Callable[[Connection], int]]) -> None:
        self.outcomes: dict[int, object] = {}
        self._writer_lock = threading.Lock()
        self._group = GroupCommit(engine, self._writer_lock)
        self._works = works

    def run(self) -> dict[int, object]:
        """Let them go, and return what each of them got or raised."""
        threads = [
            threading.Thread(target=self._one, args=(number,), name=f"thread-{number}")
            for number in range(len(self._works))
        ]
        with self._writer_lock:
            for number, thread in enumerate(threads):
                thread.start()
                wait_until(lambda seen=number: len(self._group._waiting) > seen)  # type: ignore[misc]
        for thread in threads:
            thread.join(30)
        return self.outcomes

    def _one(self, number: int) -> None:
        try:
            self.outcomes[number] = self._group.run(self._works[number])
        except BaseException as error:
            self.outcomes[number] = type(error)


def test_each_gets_its_own_result_and_all_share_a_commit(engine: Engine) -> None:
    commits: list[object] = []
    event.listen(engine, "commit", commits.append)
    outcomes = Crowd(engine, [insert(number) for number in range(10)]).run()
    assert outcomes == {number: number * 10 for number in range(10)}
    assert len(commits) == 1
    assert rows(engine) == list(range(10))


def test_a_failing_write_does_not_undo_others_in_its_commit(engine: Engine) -> None:
    def fail(connection: Connection) -> int:
        insert(99)(connection)
        raise LookupError("mine alone")

    outcomes = Crowd(engine, [insert(1), fail, insert(2)]).run()
    assert outcomes == {0: 10, 1: LookupError, 2: 20}
    assert rows(engine) == [1, 2]


def test_an_interrupted_thread_does_not_undo_other_writes(engine: Engine) -> None:
    def interrupted(connection: Connection) -> int:
        if threading.current_thread().name == "thread-0":
            raise KeyboardInterrupt
        return insert(0)(connection)

    outcomes = Crowd(engine, [interrupted, insert(1), insert(2)]).run()
    assert (outcomes[1], outcomes[2]) == (10, 20)
    # By whom its own work is done, if at all, hangs on who came first.
    assert outcomes[0] in {KeyboardInterrupt, 0}
    assert [row for row in rows(engine) if row] == [1, 2]


def test_one_alone_gets_its_error(engine: Engine) -> None:
    group = GroupCommit(engine, threading.Lock())
    assert group.run(insert(1)) == 10
    with pytest.raises(Exception, match="UNIQUE"):
        group.run(insert(1))
    assert group.run(insert(2)) == 20
