"""One job as one row of a terminal."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cli.output import formatting
from cli.output.job_text import (
    amount,
    is_receiving,
    percent,
    seconds_stalled,
    short_percent,
    states,
    time_left,
)
from cli.output.styled import Line, Part, Style
from cli.output.text_width import clip, pad, width
from domain.job import JobStatus
from tasks.api.job_view import JobView

#: From this width on, columns are two cells apart and the time left is named.
_WIDE = 100
#: Cells of a column; the longest texts are ``100.0 %`` or ``100 %``, ``999.9 of 999.9 MB``,
#: ``999.9 MB/s`` and ``59 min 59 s``.
_PERCENT, _SHORT_PERCENT, _AMOUNT, _SPEED, _LEFT = 7, 5, 17, 10, 11
_LEFT_WORD = " left"
_SHORTEST_BAR, _LONGEST_BAR = 10, 60
#: The state of a job gets at least so many cells; the name gives way.
_SHORTEST_STATE = 10
#: The moving part of a bar whose total is unknown: its share of the bar, and its steps a second.
_MOVING_SHARE, _STEPS = 5, 4


@dataclass(frozen=True, slots=True)
class Columns:
    """The cells of each column of a row; a column of 0 cells is left out."""

    total: int
    name: int
    bar: int = 0
    percent: int = _SHORT_PERCENT
    amount: int = 0
    speed: int = 0
    left: int = 0
    gap: int = 1

    @classmethod
    def fitting(cls, cells: int, longest_name: int) -> Columns:
        """Return the columns for a terminal: a narrow one keeps percent, speed and time left."""
        if cells < 56:
            speed = _SPEED if cells >= 22 else 0
            left = _LEFT if cells >= 36 else 0
            numbers = sum(1 + one for one in (_SHORT_PERCENT, speed, left) if one)
            return cls(cells, max(0, cells - numbers), speed=speed, left=left)
        is_wide = cells >= _WIDE - 1
        gap = 2 if is_wide else 1
        amount = _AMOUNT if cells >= 72 else 0
        left = _LEFT + len(_LEFT_WORD) if is_wide else _LEFT
        flexible = cells - sum(gap + one for one in (_PERCENT, amount, _SPEED, left) if one) - gap
        # In steps of 8 cells, so that the columns seldom move.
        name = min(flexible - _SHORTEST_BAR, max(16, -(-longest_name // 8) * 8))
        bar = min(_LONGEST_BAR, flexible - name)
        return cls(cells, name, bar, _PERCENT, amount, _SPEED, left, gap)


def row(view: JobView, columns: Columns, now: datetime, *, symbols: bool = True) -> Line:
    """Return a job's row: name, bar, percent, amount, speed and time left; or its state."""
    cells = _Cells(columns)
    if is_receiving(view):
        cells.add(view.label, columns.name)
        cells.add_bar(*_bar(view, columns.bar, now, symbols=symbols))
        cells.add_right(_percent(view, columns), columns.percent)
        cells.add_right(_amount(view), columns.amount)
        cells.add_right(formatting.rate(view.progress.speed), columns.speed)
        left = time_left(view)
        cells.add(left and left + _LEFT_WORD * (columns.left > _LEFT), columns.left)
        return cells.line
    has_share = view.progress.bytes_downloaded > 0
    before = columns.gap + (columns.bar + columns.gap if columns.bar else 0) + columns.percent
    if columns.name + (before if has_share else 0) + 1 + _SHORTEST_STATE > columns.total:
        has_share = False
    cells.add(view.label, min(columns.name, max(0, columns.total - 1 - _SHORTEST_STATE)))
    if has_share:
        cells.add_bar(*_bar(view, columns.bar, now, symbols=symbols))
        cells.add_right(_percent(view, columns), columns.percent)
    room = columns.total - cells.position
    texts = states(view, now)
    cells.add(next((one for one in texts if width(one) <= room), texts[-1]), room, _style(view))
    return cells.line


class _Cells:
    """A line that grows column by column."""

    def __init__(self, columns: Columns) -> None:
        self._gap = columns.gap
        self._parts: list[Part] = []
        self.position = 0

    @property
    def line(self) -> Line:
        return tuple(self._parts)

    def add(self, text: str, cells: int, style: Style = Style.PLAIN) -> None:
        """Add a column that begins with `text`."""
        if not cells:
            return
        shown = pad(text, cells) if not self._parts else clip(text, cells)
        self._parts.append(Part(shown, style, self.position))
        self.position += cells + self._gap

    def add_right(self, text: str, cells: int) -> None:
        """Add a column that ends with `text`."""
        self.add(" " * (cells - width(text)) + text, cells)

    def add_bar(self, *parts: Part) -> None:
        """Add a bar of several parts."""
        cells = sum(len(part.text) for part in parts)
        if not cells:
            return
        first, *others = parts
        self._parts += [Part(first.text, first.style, self.position), *others]
        self.position += cells + self._gap


def _percent(view: JobView, columns: Columns) -> str:
    return percent(view) or "? %" if columns.percent == _PERCENT else short_percent(view)


def _amount(view: JobView) -> str:
    known = view.progress.bytes_total is not None
    return amount(view) if known else formatting.size(view.progress.bytes_downloaded)


def _bar(view: JobView, cells: int, now: datetime, *, symbols: bool) -> tuple[Part, ...]:
    """Return the parts of a bar.

    The done part is heavy and in the colour of text, the missing one thin and faint: so it has less
    contrast on a dark and on a light background.
    """
    done, missing = ("━", "─") if symbols else ("#", ".")
    style = _style(view)
    share = view.progress.progress_percent
    if share is None:
        before, length = _moving_part(cells, now)
    else:
        before, length = 0, int(cells * share / 100)
    return (
        Part(missing * before, Style.FAINT),
        Part(done * length, style),
        Part(missing * (cells - before - length), Style.FAINT),
    )


def _moving_part(cells: int, now: datetime) -> tuple[int, int]:
    """Return the start and the length of a part that moves to and fro."""
    length = min(cells, max(1, cells // _MOVING_SHARE))
    way = cells - length
    if way <= 0:
        return 0, length
    step = int(now.timestamp() * _STEPS) % (2 * way)
    return min(step, 2 * way - step), length


def _style(view: JobView) -> Style:
    is_idle = view.status in {JobStatus.WAITING, JobStatus.PAUSED}
    if is_idle or view.has_silent_disk or seconds_stalled(view):
        return Style.PENDING
    return Style.PLAIN
