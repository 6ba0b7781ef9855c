"""The short run on SQLite: nothing is lost, and no number goes wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.run import run

SEED, FAULTS = 11, 20


@pytest.mark.timeout(400)
def test_nothing_is_lost_on_sqlite(tmp_path: Path) -> None:
    outcome = run(tmp_path, seed=SEED, faults=FAULTS, database="sqlite", say=print)
    assert not outcome.violations, "\n".join(map(str, outcome.violations))
    assert outcome.jobs_by_status["completed"] > 10
