"""The cache beside its peers: one server, the same pages, everybody in turn.

The peers come with ``pip install -r requirements-bench.txt``. Those that are not there are left out.

All of it runs on one core, the server too. On two, half of every figure is how long the machine takes to
wake the other one, which differs from second to second and says nothing about anybody here.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench import aio, blocking
from bench.contest import Contestant, Course, Lane, LeftOutError, Side, race, warm_up
from bench.pages import page
from bench.report import described, machine
from bench.rows import OTHERS, ROWS, SIZES
from tests.support.stores.server import StoreServer

#: Rounds, and the seconds of a contestant in each.
FULL = (50, 0.008)
QUICK = (7, 0.008)

SIDES: dict[Side, dict[str, Contestant]] = {
    "blocking": blocking.CONTESTANTS,
    "asyncio": aio.CONTESTANTS,
}
PEERS = (
    "aiocache",
    "cashews",
    "django",
    "django-redis",
    "dogpile.cache",
    "limits",
    "python-redis-lock",
)


def main(arguments: list[str]) -> None:
    """Run it: ``--quick``, ``--json``."""
    parser = argparse.ArgumentParser(prog="python -m bench cache")
    parser.add_argument("--quick", action="store_true", help="about 15 s instead of 75")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    rounds, seconds = QUICK if options.quick else FULL
    peers = [name for name in PEERS if _is_installed(name)]
    if len(peers) < len(PEERS):
        missing = ", ".join(name for name in PEERS if name not in peers)
        command = f"{sys.executable} -m pip install -r requirements-bench.txt"
        print(f"Without {missing}. To have all peers: {command}", file=sys.stderr)

    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    left_out: dict[str, str] = {}
    with StoreServer() as store, asyncio.Runner() as runner, ExitStack() as closing:
        course = Course(store, {name: page(SIZES[name]) for name in SIZES}, runner, closing)
        _fill(store)
        rows = _measured(course, rounds, seconds, left_out)
    taken_on = {"store": store.kind} | machine("hiredis", "pydantic", *peers)
    if options.json:
        results = list(_results(rows))
        whole = {"bench": "cache", "machine": taken_on, "left_out": left_out, "results": results}
        print(json.dumps(whole))
    else:
        Console().print(_table(rows, taken_on, left_out))


def _is_installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _fill(store: StoreServer) -> None:
    """A store has other keys, too, at which a deletion by pattern looks."""
    with store.client() as client:
        client.mset({f"other:{number}": "x" * 100 for number in range(OTHERS)})


def _measured(
    course: Course, rounds: int, seconds: float, left_out: dict[str, str]
) -> list[list[Lane]]:
    """Let them race, and show on stderr how far they are; return the lanes of each row and side."""
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("setting up", total=None)
        rows = _rows(course, left_out)
        progress.update(task, total=sum(map(len, rows)) * (rounds + 1), description="warming up")
        for lane in chain(*rows):
            warm_up(lane, course, seconds)
            progress.advance(task)
        progress.update(task, description=f"{rounds} rounds")
        for _ in race(rows, course, rounds):
            progress.advance(task)
    return rows


def _rows(course: Course, left_out: dict[str, str]) -> list[list[Lane]]:
    """Set all contestants up, and note who cannot take part; ours comes first in each row."""
    lanes: dict[tuple[str, Side], list[Lane]] = {(row, side): [] for row in ROWS for side in SIDES}
    for side, contestants in SIDES.items():
        for name, contestant in contestants.items():
            try:
                for entry in contestant(course):
                    lanes[entry.row, side].append(Lane(entry, side))
            except (ImportError, LeftOutError) as error:
                left_out[f"{name}, {side}"] = str(error)
    return list(lanes.values())


# ── results ─────────────────────────────────────────────────────────────────────────────────────────


def _results(rows: list[list[Lane]]) -> Iterator[dict[str, Any]]:
    """Return one result for each lane, compared with ours in the same row."""
    for row in rows:
        ours = row[0]
        for lane in row:
            entry, ratio = lane.entry, lane.times(ours)
            aim, met = None, None
            if entry.at_most is not None:
                aim, met = f"≤ {entry.at_most * 1e6:,.0f} µs", lane.median <= entry.at_most
            elif lane is not ours and entry.at_least is not None:
                aim, met = f"≥ {entry.at_least:g}×", ratio >= entry.at_least
            yield {
                "row": entry.row,
                "side": lane.side,
                "who": entry.who,
                "microseconds": lane.median * 1e6,
                "quartiles": [quartile * 1e6 for quartile in lane.quartiles],
                "times_ours": ratio,
                "aim": aim,
                "met": met,
            }


def _table(rows: list[list[Lane]], taken_on: dict[str, Any], left_out: dict[str, str]) -> Table:
    notes = ["to ours: how many times as long as ours; client and server on one core"]
    notes += [described(taken_on), *(f"without {name}: {why}" for name, why in left_out.items())]
    table = Table(title="cache: one call, median of the rounds", caption="\n".join(notes))
    table.add_column("")
    table.add_column("µs", justify="right")
    table.add_column("to ours", justify="right")
    table.add_column("aim", justify="right")
    table.add_column("met")
    place = ("", "")
    for result in _results(rows):
        if place != (result["row"], result["side"]):
            table.add_section()
            place = (result["row"], result["side"])
            table.add_row(f"[bold]{', '.join(place)}[/]")
        table.add_row(
            f"  {result['who']}",
            f"{result['microseconds']:,.1f}",
            f"{result['times_ours']:.2f}×",
            result["aim"] or "",
            {None: "", True: "yes", False: "[bold]no[/]"}[result["met"]],
        )
    return table
