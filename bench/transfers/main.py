"""A download beside curl, wget, aria2c and axel; the gain from several connections; a thousand at once.

All fetch from the same nginx on loopback, in turn, onto the same disk. Ours is a real job in a real
worker process (the embedded store, SQLite, SHA-256, progress). Programs that are missing are skipped.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from pathlib import Path

from rich.console import Console

from bench.report import described, machine
from bench.transfers import limited, loopback, many, ours
from bench.transfers.peers import Stopwatch, installed, versions
from bench.transfers.runner import Environment
from bench.transfers.table import ResultTable
from tests.support.services.system import System
from tests.support.stores.server import StoreServer

PARTS = ("loopback", "limited", "many")
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


def main(arguments: list[str]) -> None:
    """Run the named parts, or all; see ``--help``."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part is called {', '.join(unknown)}; there are {', '.join(PARTS)}")
    with (
        tempfile.TemporaryDirectory(prefix="seen-bench-", dir=options.folder) as name,
        StoreServer() as store,
        System(Path(name), store, settings=ours.settings()) as system,
        Stopwatch() as stopwatch,
    ):
        environment = Environment(Path(name), system, stopwatch)
        tables = {part: _run(part, environment, options) for part in options.parts or PARTS}
    taken_on = machine("pycurl", "celery") | versions(installed(loopback.PEERS))
    if options.json:
        found = {part: [table.as_json() for table in tables[part]] for part in tables}
        print(json.dumps({"bench": "transfer", "machine": taken_on, **found}))
        return
    console = Console()
    for table in (table for part in tables.values() for table in part):
        console.print(table.table())
    console.print(described(taken_on))


def _run(part: str, environment: Environment, options: argparse.Namespace) -> list[ResultTable]:
    if part == "loopback":
        return loopback.run(environment, options.size or 2**30, options.rounds or 5)
    if part == "limited":
        return limited.run(environment, options.size or 400 * 2**20, options.rounds or 3)
    size = options.size or many.SECONDS * options.rate
    return many.run(environment, size, options.count, options.rate)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench transfer", epilog="Quick: loopback --size 64M --rounds 1"
    )
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all where none is named"
    )
    parser.add_argument("--size", type=_size, help="of the file: 64M, 1G; each part has its own")
    parser.add_argument("--rounds", type=int, help="5 of loopback, 3 of limited, where not given")
    parser.add_argument("--count", type=int, default=1000, help="downloads at once, of many")
    parser.add_argument(
        "--rate", type=_rate, default=2**20, help="of each download of many, a second: 1M, 64K"
    )
    parser.add_argument(
        "--folder", type=Path, help="on the disk to write to; default: the system's"
    )
    parser.add_argument("--json", action="store_true")
    return parser


def _size(text: str) -> int:
    match = re.fullmatch(r"([0-9]+)([KMG])", text.upper())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size like 64M or 1G")
    return int(match[1]) * _UNITS[match[2]]


def _rate(text: str) -> int:
    rate = _size(text)
    if rate < many.LEAST_RATE:
        raise argparse.ArgumentTypeError(f"{text!r} is less than {many.LEAST_RATE // 1024}K")
    return rate
