"""What a terminal shows while jobs run: a pure function of the jobs, its size and the time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from cli.output.progress.row import Columns, row
from cli.output.progress.totals import NOTHING, Totals, total_lines
from cli.output.styled import Line, Style, fit, line
from cli.output.text_width import width
from domain.job import RUNNING, JobStatus
from tasks.api.job_view import JobView

#: The order of the rows; jobs of one rank stay in the order in which they were given.
_RANKS = {
    **dict.fromkeys(RUNNING, 0),
    JobStatus.WAITING: 1,
    JobStatus.QUEUED: 2,
    JobStatus.PAUSED: 3,
}


def frame(
    views: Sequence[JobView],
    columns: int,
    rows: int,
    now: datetime,
    *,
    to_come: int = 0,
    ended: Totals = NOTHING,
    status: str = "",
    symbols: bool = True,
) -> list[Line]:
    """Return the lines below which the cursor never is: fewer than `rows`, each below `columns` cells.

    Running jobs come first; those for which there is no room are counted. Finished jobs have no row, and
    count in the sums.

    Args:
        views: all jobs.
        columns: the width of the terminal.
        rows: its height.
        now: in UTC.
        to_come: how many files have no job yet.
        ended: the sums of finished jobs that are not in `views`.
        status: a last line about the command itself, such as ``pausing …``.
        symbols: use more than ASCII.
    """
    # The last column stays empty: writing there moves some terminals' cursors to the next line.
    cells = columns - 1
    unfinished = [view for view in views if view.status in _RANKS]
    totals = ended + Totals.of(views, to_come)
    texts = total_lines(totals, cells) if unfinished and totals.number > 1 else []
    below = [line(text) for text in texts] + ([line(status)] if status else [])
    room = max(0, rows - 1 - len(below))
    shown = sorted(unfinished, key=lambda view: _RANKS[view.status])
    if len(shown) > room:
        shown, hidden = shown[: max(0, room - 1)], shown[max(0, room - 1) :]
        below.insert(0, line(_hidden_text(hidden, symbols=symbols), Style.FAINT))
    layout = Columns.fitting(cells, max((width(view.label) for view in shown), default=0))
    lines = [row(view, layout, now, symbols=symbols) for view in shown] + below
    return [fit(one, cells) for one in lines][-max(1, rows - 1) :]


def _hidden_text(hidden: Sequence[JobView], *, symbols: bool) -> str:
    counts = Counter(view.status.value for view in hidden)
    details = ", ".join(f"{number:,} {state}" for state, number in counts.items())
    return f"{'…' if symbols else '...'} and {len(hidden):,} more: {details}"
