"""Counts one run of a periodic task."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

from worker.metrics.catalog import TASK_DURATION, TASK_LAST_SUCCESS, TASK_RUNS
from worker.metrics.instruments import Instruments

T = TypeVar("T")


class TaskRun:
    """One run: skipped, unless its work is done or fails; ``with`` counts it.

    Args:
        instruments: of the process.
        task: the name of the task.
    """

    def __init__(self, instruments: Instruments, task: str) -> None:
        self._instruments, self._task = instruments, task
        self._result = "skipped"

    def do(self, work: Callable[[], T]) -> T:
        """Do the work of the task, and measure it."""
        self._result = "failed"
        with self._instruments.timed(TASK_DURATION, self._task):
            done = work()
        self._result = "ok"
        return done

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Count the run; an error of its lock is a failure, too."""
        result = self._result if kind is None else "failed"
        self._instruments.count(TASK_RUNS, self._task, result)
        if result == "ok":
            self._instruments.happened(TASK_LAST_SUCCESS, self._task)
