"""Operations on SQL with few and with many finished jobs, on SQLite and PostgreSQL.

The unfinished jobs are the same: what takes longer with many finished ones grows with them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.recoveries.defaults import defaults
from bench.report import described, machine
from bench.scale.jobs import Numbers, fill, settle
from bench.scale.operations import Operations, purging
from tests.support.plans import full_scans, recorded
from tests.support.servers.postgres import PostgresServer
from tests.support.services.system import System
from tests.support.stores.server import StoreServer

KINDS = ("sqlite", "postgresql")
FEW = 10_000
_NONE = Numbers(ended=0, queued=0, waiting=0, paused=0, running=0)
#: In the bench nothing is downloaded, and no job may count as an orphan.
_SETTINGS = {**defaults(), "SEEN_ORPHAN_AFTER": "86400", "SEEN_LOCK_TTL": "86400"}


@dataclass(frozen=True, slots=True)
class Result:
    """Milliseconds by operation with few and with many finished jobs, and what else was found."""

    kind: str
    few: dict[str, float]
    many: dict[str, float]
    filled_in: float
    purged_in: float
    purged: int
    scans: list[str]


def main(arguments: list[str]) -> None:
    """Measure on the named databases, or both; see ``--help``."""
    options = _parser().parse_args(arguments)
    numbers = _numbers(options.jobs)
    results = [_run(kind, numbers, options.purge) for kind in options.databases or KINDS]
    if options.json:
        taken_on = machine("sqlalchemy")
        print(json.dumps({"machine": taken_on, "results": [_as_json(one) for one in results]}))
        return
    for result in results:
        _show(result, numbers)


def _numbers(jobs: int) -> Numbers:
    """Return the numbers of all kinds: 90 % have ended, 1 in 1,000 runs."""
    part = jobs // 1000
    ended, waiting = part * 900, part * 2
    return Numbers(ended, jobs - ended - waiting - 2 * part, waiting, paused=part, running=part)


def _run(kind: str, numbers: Numbers, purge: int) -> Result:
    with _system(kind) as system:
        database, now = system.runtime.database, system.runtime.now()
        few = min(FEW, numbers.ended)
        started = time.perf_counter()
        fill(database, _changed(numbers, few), now=now)
        settle(database)
        operations = Operations(system.runtime, itertools.count(1))
        with_few = operations.measured()
        fill(
            database, _changed(_NONE, numbers.ended - few), now=now, first=few + numbers.unfinished
        )
        settle(database)
        filled_in = time.perf_counter() - started
        with recorded(database) as recording:
            with_many = operations.measured()
        with database.engine.connect() as connection:
            scans = [
                f"{scan} in {shape}"
                for shape, statement in recording.statements.items()
                for scan in full_scans(connection, statement)
            ]
        purged = min(purge, numbers.ended // 2)
        return Result(
            kind, with_few, with_many, filled_in, purging(system.runtime, purged), purged, scans
        )


def _changed(numbers: Numbers, ended: int) -> Numbers:
    return Numbers(ended, numbers.queued, numbers.waiting, numbers.paused, numbers.running)


@contextmanager
def _system(kind: str) -> Iterator[System]:
    with (
        StoreServer() as store,
        PostgresServer() as server,
        tempfile.TemporaryDirectory(prefix="seen-bench-") as name,
    ):
        url = server.create_database() if kind == "postgresql" else None
        with System(Path(name), store, database_url=url, settings=_SETTINGS) as system:
            yield system


def _as_json(result: Result) -> dict[str, object]:
    return {name: getattr(result, name) for name in Result.__dataclass_fields__}


def _show(result: Result, numbers: Numbers) -> None:
    title = f"{result.kind}: {numbers.unfinished:,} unfinished jobs"
    table = Table(title=title, caption=described(machine("sqlalchemy")))
    table.add_column("ms")
    table.add_column(f"{min(FEW, numbers.ended):,} finished", justify="right")
    table.add_column(f"{numbers.ended:,} finished", justify="right")
    for name, few in result.few.items():
        table.add_row(name, f"{few:,.1f}", f"{result.many[name]:,.1f}")
    table.add_row(f"purge {result.purged:,}", "", f"{result.purged_in * 1000:,.0f}")
    Console().print(table)
    print(f"Full scans: {'; '.join(result.scans) or 'none'}")


def _kind(text: str) -> str:
    if text not in KINDS:
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(KINDS)}")
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench scale", epilog="Quick: sqlite --jobs 100000 --purge 10000"
    )
    parser.add_argument(
        "databases",
        nargs="*",
        type=_kind,  # argparse compares an empty list with `choices` before Python 3.12
        metavar="DATABASE",
        help="of sqlite, postgresql; both",
    )
    parser.add_argument("--jobs", type=int, default=1_000_000, help="90 %% of them have ended")
    parser.add_argument("--purge", type=int, default=100_000, help="so many of them at the end")
    parser.add_argument("--json", action="store_true")
    return parser
