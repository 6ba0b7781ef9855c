"""What a terminal shows while jobs run: a pure function of the jobs, its size and the time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from cli.output.progress.row import Columns, row
from cli.output.progress.row_choice import AS_GIVEN, RowChoice
from cli.output.progress.totals import NOTHING, Totals, total_lines
from cli.output.styled import Line, Part, Style, fit, line
from cli.output.text_width import width
from domain.job import FINISHED
from tasks.api.job_view import JobView

#: Cells before a row where one may be marked.
_MARK = 2


def frame(
    views: Sequence[JobView],
    columns: int,
    rows: int,
    now: datetime,
    *,
    to_come: int = 0,
    ended: Totals = NOTHING,
    status: str = "",
    choice: RowChoice = AS_GIVEN,
    symbols: bool = True,
) -> list[Line]:
    """Return the lines below which the cursor never is: fewer than `rows`, each below `columns` cells.

    Jobs for which there is no room are counted; the marked one has room. Finished jobs have no row, and
    count in the sums.

    Args:
        views: all jobs.
        columns: the width of the terminal.
        rows: its height.
        now: in UTC.
        to_come: how many files have no job yet.
        ended: the sums of finished jobs that are not in `views`.
        status: a last line about the command itself, such as ``pausing …``.
        choice: the rows that are shown, and their order.
        symbols: use more than ASCII.
    """
    cells = columns - 1  # writing to the last one moves some terminals' cursors to the next line
    totals = ended + Totals.of(views, to_come)
    shown = choice.rows(views)
    has_sums = totals.number > 1 and not all(view.status in FINISHED for view in views)
    texts = total_lines(totals, cells) if has_sums else []
    below = [line(text) for text in texts] + ([line(status)] if status else [])
    room = max(0, rows - 1 - len(below))
    if len(shown) > room:
        shown, hidden = _around(choice.marked, shown, max(0, room - 1))
        below.insert(0, line(_hidden_text(hidden, symbols=symbols), Style.FAINT))
    above = _rows(shown, cells, now, choice.marked, symbols=symbols)
    return [fit(one, cells) for one in above + below][-max(1, rows - 1) :]


def _rows(
    views: Sequence[JobView], cells: int, now: datetime, marked: str | None, *, symbols: bool
) -> list[Line]:
    room = cells if marked is None else cells - _MARK
    layout = Columns.fitting(room, max((width(view.label) for view in views), default=0))
    rows = [row(view, layout, now, symbols=symbols) for view in views]
    if marked is None:
        return rows
    sign = "▸" if symbols else ">"
    marks = [sign if view.job.id == marked else "" for view in views]
    return [_moved(one, mark) for one, mark in zip(rows, marks, strict=True)]


def _around(
    marked: str | None, rows: Sequence[JobView], room: int
) -> tuple[list[JobView], list[JobView]]:
    """Return as many rows as there is room for, with the marked one, and the others."""
    at = next((place for place, view in enumerate(rows) if view.job.id == marked), 0)
    start = max(0, at - room + 1)
    shown = list(rows[start : start + room])
    return shown, [*rows[:start], *rows[start + room :]]


def _moved(row: Line, mark: str) -> Line:
    """Return a row that begins after a mark."""
    moved = [
        part if part.column is None else replace(part, column=part.column + _MARK) for part in row
    ]
    return (Part(mark, column=0), *moved)


def _hidden_text(hidden: Sequence[JobView], *, symbols: bool) -> str:
    counts = Counter(view.status.value for view in hidden)
    details = ", ".join(f"{number:,} {state}" for state, number in counts.items())
    return f"{'…' if symbols else '...'} and {len(hidden):,} more: {details}"
