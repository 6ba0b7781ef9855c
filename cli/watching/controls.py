"""What the keys of `seen watch` have chosen; it touches neither a terminal nor a job."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from cli.output.progress.row_choice import RowChoice
from domain.job import Action, JobStatus
from tasks.api.job_view import JobView

#: Characters of a filter.
_LONGEST_FILTER = 100
_HINT = "↑ ↓ mark  p pause or resume  c cancel  s sort: {order}  / filter{contains}  q leave"
_UNMARKED = "↑ and ↓ mark a job first."


@dataclass(frozen=True, slots=True)
class JobRequest:
    """An action on one job."""

    action: Action
    job_id: str


class Controls:
    """Keys and what they do.

    Attributes:
        choice: the rows that are shown, and the marked one.
        has_left: the command is to end.
    """

    def __init__(self) -> None:
        self.choice = RowChoice()
        self.has_left = False
        self._message = ""
        self._to_cancel: JobView | None = None
        self._filter: str | None = None

    def press(self, key: str, views: Sequence[JobView]) -> JobRequest | None:
        """Take a key; return what is to be done with a job.

        Args:
            key: as `Keyboard` names it.
            views: all jobs that are watched.
        """
        self._message = ""
        if self._filter is not None:
            self._edit(key)
            return None
        if self._to_cancel is not None:
            return self._confirm(key)
        action = _KEYS.get(key)
        return None if action is None else action(self, self.choice.rows(views))

    @property
    def status(self) -> str:
        """The last line of the display: a question, the filter that is typed, or the keys."""
        if self._filter is not None:
            return f"filter: {self._filter}▏ (Enter keeps it, Escape removes it)"
        if self._to_cancel is not None:
            return f"Cancel {self._to_cancel.label}? Its downloaded bytes are deleted. (y, n)"
        if self._message:
            return self._message
        contains = f": {self.choice.contains}" if self.choice.contains else ""
        return _HINT.format(order=self.choice.order.value, contains=contains)

    def _edit(self, key: str) -> None:
        """Change the filter; the rows follow each key."""
        typed = self._filter or ""
        match key:
            case "enter":
                self._filter = None
                return
            case "escape":
                self._filter, typed = None, ""
            case "backspace":
                self._filter = typed = typed[:-1]
            case _ if len(key) == 1:
                self._filter = typed = (typed + key)[:_LONGEST_FILTER]
        self.choice = replace(self.choice, contains=typed)

    def _confirm(self, key: str) -> JobRequest | None:
        view, self._to_cancel = self._to_cancel, None
        if view is None or key not in {"y", "Y"}:
            self._message = "It is not cancelled."
            return None
        return JobRequest(Action.CANCEL, view.job.id)

    def _move(self, rows: Sequence[JobView], step: int) -> None:
        """Mark the row so many rows below the marked one."""
        ids = [row.job.id for row in rows]
        if not ids:
            return
        if self.choice.marked in ids:
            place = min(max(0, ids.index(self.choice.marked) + step), len(ids) - 1)
        else:
            place = 0 if step > 0 else -1
        self.choice = replace(self.choice, marked=ids[place])

    def _marked(self, rows: Sequence[JobView]) -> JobView | None:
        marked = next((row for row in rows if row.job.id == self.choice.marked), None)
        if marked is None:
            self._message = _UNMARKED
        return marked

    def _down(self, rows: Sequence[JobView]) -> None:
        self._move(rows, 1)

    def _up(self, rows: Sequence[JobView]) -> None:
        self._move(rows, -1)

    def _pause_or_resume(self, rows: Sequence[JobView]) -> JobRequest | None:
        view = self._marked(rows)
        if view is None:
            return None
        is_paused = view.job.status is JobStatus.PAUSED or view.job.control == "pause"
        return JobRequest(Action.RESUME if is_paused else Action.PAUSE, view.job.id)

    def _cancel(self, rows: Sequence[JobView]) -> None:
        self._to_cancel = self._marked(rows)

    def _sort(self, _rows: Sequence[JobView]) -> None:
        self.choice = replace(self.choice, order=self.choice.order.following)

    def _start_filter(self, _rows: Sequence[JobView]) -> None:
        self._filter = self.choice.contains

    def _unmark(self, _rows: Sequence[JobView]) -> None:
        self.choice = replace(self.choice, marked=None, contains="")

    def _leave(self, _rows: Sequence[JobView]) -> None:
        self.has_left = True


_KEYS: Mapping[str, Callable[[Controls, Sequence[JobView]], JobRequest | None]] = MappingProxyType(
    {
        "down": Controls._down,
        "j": Controls._down,
        "up": Controls._up,
        "k": Controls._up,
        "p": Controls._pause_or_resume,
        "c": Controls._cancel,
        "s": Controls._sort,
        "/": Controls._start_filter,
        "escape": Controls._unmark,
        "q": Controls._leave,
    }
)
