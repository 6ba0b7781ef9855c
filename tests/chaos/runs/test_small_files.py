"""The short run with small files: a killed worker's group is taken up job by job."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.small_files import run_small_files


@pytest.mark.timeout(300)
def test_small_files_arrive_although_workers_are_killed(tmp_path: Path) -> None:
    outcome = run_small_files(tmp_path, files=1000, kills=3, seed=7, say=print)
    assert not outcome.violations, "\n".join(outcome.violations)
