"""The results of a part: rows for people, figures for programs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table

from bench.transfers.contender import Contender

MIB = 2**20


@dataclass(frozen=True, slots=True)
class ResultTable:
    """One table.

    Attributes:
        title, columns, rows, notes: as they are shown.
        figures: the same unrounded, one dictionary a row.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)
    figures: list[dict[str, Any]] = field(default_factory=list)

    def table(self) -> Table:
        """Return it as Rich shows it."""
        table = Table(title=self.title, caption="\n".join(self.notes), caption_justify="left")
        for number, column in enumerate(self.columns):
            table.add_column(column, justify="right" if number else "left", no_wrap=bool(number))
        for row in self.rows:
            table.add_row(*row)
        return table

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {"title": self.title, "notes": self.notes, "results": self.figures}


@dataclass(frozen=True, slots=True)
class Aim:
    """A bound that a value should keep: at least or at most so much."""

    least: float | None = None
    most: float | None = None

    def check(self, value: float) -> tuple[str, bool]:
        """Return the bound as text, and whether `value` keeps it."""
        if self.least is not None:
            return f"≥ {self.least:g}", value >= self.least
        assert self.most is not None
        return f"≤ {self.most:g}", value <= self.most


def shown(aim: Aim | None, value: float) -> str:
    """Return the cell beside a value: its aim, and whether it is met."""
    if aim is None:
        return ""
    text, met = aim.check(value)
    return f"{text} {'yes' if met else '[bold]no[/]'}"


def comparison_table(
    title: str,
    contenders: list[Contender],
    *,
    ratio: tuple[str, Callable[[Contender], float]],
    aims: dict[str, Aim],
    notes: list[str],
) -> ResultTable:
    """Return the table of a comparison.

    Args:
        ratio: the column that compares, and how.
        aims: of that ratio, by the contender's group.
    """
    name, compared = ratio
    columns = ["", "s", "min–max", "MB/s", name, "aim", "CPU/GiB", "MB"]
    rows, figures = [], []
    for contender in contenders:
        values = contender.figures()
        value, aim = compared(contender), aims.get(contender.group)
        values[name] = value
        if aim is not None:
            values["aim"], values["met"] = aim.check(value)
        figures.append(values)
        rows.append(
            [
                contender.group,
                f"{contender.seconds:.2f}",
                f"{values['fastest']:.2f}–{values['slowest']:.2f}",
                f"{contender.megabytes_per_second:,.0f}",
                f"{value:.2f}×",
                shown(aim, value),
                f"{contender.cpu_per_gib:.2f}",
                f"{contender.peak / 1e6:,.0f}",
            ]
        )
    return ResultTable(title, columns, rows, notes, figures)
