"""Shows results: a table for people, JSON for programs."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from os import cpu_count
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value, and as text the value to aim for, if any."""

    what: str
    value: float
    unit: str
    aim: str | None = None


def machine(*packages: str) -> dict[str, Any]:
    """Return a description of the machine, with the versions of these packages."""
    return {
        "cores": cpu_count(),
        "python": platform.python_version(),
        "redis-py": version("redis"),
        **{name: version(name) for name in packages},
    }


def show(title: str, figures: list[Figure], *, as_json: bool) -> None:
    """Print the figures with the machine they were taken on."""
    taken_on = machine("celery")
    if as_json:
        print(
            json.dumps(
                {"bench": title, "machine": taken_on, "figures": [asdict(f) for f in figures]}
            )
        )
        return
    table = Table(title=title, caption=described(taken_on))
    table.add_column("what")
    table.add_column("value", justify="right")
    table.add_column("unit")
    table.add_column("aim")
    for figure in figures:
        table.add_row(figure.what, _shown(figure.value), figure.unit, figure.aim or "")
    Console().print(table)


def described(taken_on: dict[str, Any]) -> str:
    """Return a machine as one line."""
    return ", ".join(f"{name} {value}" for name, value in taken_on.items())


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def percentile(values: list[float], share: float) -> float:
    """Return the value below which `share` (0 to 1) of them lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
