"""The cache beside other libraries: one server, the same values, in rounds of random order.

``pip install -r requirements-bench.txt`` installs the others; those that are missing are skipped.

Client and server share one CPU core. On two cores, half of each figure would be the time that the
machine takes to wake the other core, which varies from second to second.
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

from bench.cache import asyncio_libraries, blocking_libraries
from bench.cache.payloads import page
from bench.cache.runner import (
    Environment,
    Library,
    Measurement,
    Side,
    SkippedError,
    run_rounds,
    warm_up,
)
from bench.cache.scenarios import OTHERS, SCENARIOS, SIZES
from bench.report import described, machine
from tests.support.stores.server import StoreServer

#: Rounds, and the seconds of each contender in one.
FULL = (50, 0.008)
QUICK = (7, 0.008)

SIDES: dict[Side, dict[str, Library]] = {
    "blocking": blocking_libraries.LIBRARIES,
    "asyncio": asyncio_libraries.LIBRARIES,
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
        print(f"Without {missing}. To install all: {command}", file=sys.stderr)

    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    skipped: dict[str, str] = {}
    with StoreServer() as store, asyncio.Runner() as runner, ExitStack() as closing:
        payloads = {name: page(size) for name, size in SIZES.items()}
        environment = Environment(store, payloads, runner, closing)
        _fill(store)
        scenarios = _measure_all(environment, rounds, seconds, skipped)
    taken_on = {"store": store.kind} | machine("hiredis", "pydantic", *peers)
    if options.json:
        results = list(_results(scenarios))
        whole = {"bench": "cache", "machine": taken_on, "skipped": skipped, "results": results}
        print(json.dumps(whole))
    else:
        Console().print(_table(scenarios, taken_on, skipped))


def _is_installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _fill(store: StoreServer) -> None:
    """Store unrelated keys, as a real store has them; a deletion by pattern scans these, too."""
    with store.client() as client:
        client.mset({f"other:{number}": "x" * 100 for number in range(OTHERS)})


def _measure_all(
    environment: Environment, rounds: int, seconds: float, skipped: dict[str, str]
) -> list[list[Measurement]]:
    """Return the measurements by scenario and side."""
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("setting up", total=None)
        scenarios = _set_up(environment, skipped)
        total = sum(map(len, scenarios)) * (rounds + 1)
        progress.update(task, total=total, description="warming up")
        for measurement in chain(*scenarios):
            warm_up(measurement, environment, seconds)
            progress.advance(task)
        progress.update(task, description=f"{rounds} rounds")
        for _ in run_rounds(scenarios, environment, rounds):
            progress.advance(task)
    return scenarios


def _set_up(environment: Environment, skipped: dict[str, str]) -> list[list[Measurement]]:
    """Connect all libraries and note in `skipped` which cannot take part; ours comes first."""
    measurements: dict[tuple[str, Side], list[Measurement]] = {
        (scenario, side): [] for scenario in SCENARIOS for side in SIDES
    }
    for side, libraries in SIDES.items():
        for name, library in libraries.items():
            try:
                for contender in library(environment):
                    key = contender.scenario, side
                    measurements[key].append(Measurement(contender, side))
            except (ImportError, SkippedError) as error:
                skipped[f"{name}, {side}"] = str(error)
    return list(measurements.values())


# ── results ─────────────────────────────────────────────────────────────────────────────────────────


def _results(scenarios: list[list[Measurement]]) -> Iterator[dict[str, Any]]:
    """Yield one result for each measurement, compared with ours in the same scenario."""
    for scenario in scenarios:
        ours = scenario[0]
        for measurement in scenario:
            contender, ratio = measurement.contender, measurement.ratio(ours)
            aim, met = None, None
            if contender.max_seconds is not None:
                aim = f"≤ {contender.max_seconds * 1e6:,.0f} µs"
                met = measurement.median <= contender.max_seconds
            elif measurement is not ours and contender.min_ratio is not None:
                aim, met = f"≥ {contender.min_ratio:g}×", ratio >= contender.min_ratio
            yield {
                "scenario": contender.scenario,
                "side": measurement.side,
                "name": contender.name,
                "microseconds": measurement.median * 1e6,
                "quartiles": [quartile * 1e6 for quartile in measurement.quartiles],
                "ratio_to_ours": ratio,
                "aim": aim,
                "met": met,
            }


def _table(
    scenarios: list[list[Measurement]], taken_on: dict[str, Any], skipped: dict[str, str]
) -> Table:
    notes = ["to ours: how many times as long as ours; client and server on one core"]
    notes += [described(taken_on), *(f"without {name}: {why}" for name, why in skipped.items())]
    table = Table(title="cache: one call, median of the rounds", caption="\n".join(notes))
    table.add_column("")
    for column in ("µs", "to ours", "aim"):
        table.add_column(column, justify="right")
    table.add_column("met")
    group = ("", "")
    for result in _results(scenarios):
        if group != (result["scenario"], result["side"]):
            table.add_section()
            group = (result["scenario"], result["side"])
            table.add_row(f"[bold]{', '.join(group)}[/]")
        table.add_row(
            f"  {result['name']}",
            f"{result['microseconds']:,.1f}",
            f"{result['ratio_to_ours']:.2f}×",
            result["aim"] or "",
            {None: "", True: "yes", False: "[bold]no[/]"}[result["met"]],
        )
    return table
