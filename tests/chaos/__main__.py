"""``python -m tests.chaos --faults 1000 --seed 7 [--database sqlite|postgres] [--json]``.

``--small-files 20000 --kills 10`` downloads many small files instead, and kills workers meanwhile.
``--webhooks 200`` breaks receivers of webhooks, the API and workers so many times instead.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos import report
from tests.chaos.run import Outcome, run
from tests.chaos.small_files import SmallFilesOutcome, run_small_files
from tests.chaos.webhooks.run import WebhooksOutcome, run_webhooks
from tests.support.environment import forget_developer_settings
from tests.support.program import exit_with

#: A seed that is drawn is below this.
SEEDS = 1_000_000


def main(arguments: list[str] | None = None) -> int:
    """Run it; 0 when nothing was wrong, else 1, and then what the run left is kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--seed", type=int, default=None, help="repeats a run; random by default")
    parser.add_argument("--database", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--json", action="store_true", help="the summary as JSON")
    parser.add_argument("--small-files", type=int, default=0, help="so many small files instead")
    parser.add_argument("--kills", type=int, default=10, help="of workers, with --small-files")
    parser.add_argument(
        "--webhooks", type=int, default=0, help="so many faults of webhooks instead"
    )
    options = parser.parse_args(arguments)
    forget_developer_settings()
    seed = random.randrange(SEEDS) if options.seed is None else options.seed
    folder = Path(tempfile.mkdtemp(prefix="seen-chaos-"))
    outcome: Outcome | SmallFilesOutcome | WebhooksOutcome
    if options.webhooks:
        outcome = run_webhooks(folder, faults=options.webhooks, seed=seed, say=_say)
    elif options.small_files:
        outcome = run_small_files(
            folder, files=options.small_files, kills=options.kills, seed=seed, say=_say
        )
    else:
        outcome = run(folder, seed=seed, faults=options.faults, database=options.database, say=_say)
    if isinstance(outcome, Outcome) and not options.json:
        report.show(outcome)
    else:
        print(report.as_json(outcome))
    if outcome.violations:
        _say(f"logs and database are in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


def _say(text: str) -> None:
    """Progress is for people; the summary has the standard output for itself."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    exit_with(main)
