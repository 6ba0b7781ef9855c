"""How long a job stands still when its worker is gone, and how fast reconcile requeues orphans.

All processes are real and run with default settings: two or more download workers, a maintenance worker,
beat, and a slow origin. A recovery lasts from the signal to the first byte that another worker receives.
"""

from __future__ import annotations

import argparse

from bench.recoveries import orphans, worker_failure
from bench.report import Figure, show

PARTS = ("kill", "term", "reconcile")


def main(arguments: list[str]) -> None:
    """Run the named parts, or all; see ``--help``."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part is called {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if options.orphans > options.jobs:
        parser.error("--orphans are some of --jobs, not more")
    figures: list[Figure] = []
    for part in options.parts or PARTS:
        if part == "kill":
            figures += worker_failure.after_kill(options.rounds, options.downloads)
        elif part == "term":
            figures += worker_failure.after_term(options.rounds, options.downloads)
        else:
            figures += orphans.reconciling(options.jobs, options.orphans)
    show("recovery", figures, as_json=options.json)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench recovery", epilog="Quick: term --rounds 1, or reconcile --jobs 10000"
    )
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all where none is named"
    )
    parser.add_argument("--rounds", type=int, default=8, help="workers to end, of kill and term")
    parser.add_argument("--downloads", type=int, default=2, help="of each of them")
    parser.add_argument("--jobs", type=int, default=100_000, help="in the database, of reconcile")
    parser.add_argument("--orphans", type=int, default=1_000, help="among them")
    parser.add_argument("--json", action="store_true")
    return parser
