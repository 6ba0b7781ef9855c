"""A system goes back to the version before while jobs run (docs/operations/upgrading.md)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tasks
from database import Database, migrate
from domain.job import JobStatus
from tests.e2e.deployment.test_rolling_upgrade import (
    Upgrade,
    have_bytes,
    requests_from_zero,
    stop,
)
from tests.support.environment import FULL
from tests.support.origins.origin import Origin
from tests.support.stores.server import StoreServer

S = JobStatus
#: The newest revision of the version before.
BEFORE = "0006"


def seen_before(upgrade: Upgrade, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the version before."""
    return subprocess.run(
        [sys.executable, "-m", "cli", *arguments],
        env=upgrade.before.environment,
        cwd=upgrade.before.code,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.timeout(240)
@pytest.mark.parametrize("drained", [False, True])
def test_going_back_loses_nothing(
    tmp_path: Path, private_store: StoreServer, origin: Origin, postgres_url: str, drained: bool
) -> None:
    """Jobs that the newer workers drain, and paused ones, continue in the version before."""
    if drained and not FULL:
        pytest.skip("the version before publishes drained jobs after 30 s only: SEEN_TEST_FULL=1")
    upgrade = Upgrade(tmp_path, private_store, origin, postgres_url)
    with upgrade.before as before, upgrade.after() as after:
        newer = [after.start_worker()]
        if drained:
            newer = [*reversed(after.start_maintenance()), *newer]
        jobs = [upgrade.submit_gated(f"file{number}") for number in range(4)]
        have_bytes(after.runtime, jobs)
        if not drained:
            for job_id, _ in jobs:
                tasks.pause(job_id, runtime=after.runtime)
            upgrade.wait_for(jobs, S.PAUSED)

        if drained:
            stop(newer.pop(0))
            before.start_beat()
            before.start_worker("maintenance", concurrency=2)
        before.start_worker()
        stop(*newer)
        go_back(upgrade)
        if not drained:
            for job_id, _ in jobs:
                before.control("resume", job_id)
        upgrade.wait_for(jobs, S.DOWNLOADING)
        upgrade.gate.set()
        later = [upgrade.submit_gated("later")]
        upgrade.wait_for([*jobs, *later], S.COMPLETED)

        for _, file in jobs:
            assert requests_from_zero(origin, file) == 1, "it continued with its bytes"


def go_back(upgrade: Upgrade) -> None:
    """Migrate the tables, while processes of the version before run on."""
    refused = seen_before(upgrade, "list")
    assert refused.returncode != 0
    assert f"its newest is {BEFORE}" in refused.stderr
    database = Database(upgrade.variables["SEEN_DATABASE_URL"])
    assert migrate.downgrade(database, BEFORE)
    database.close()
    assert seen_before(upgrade, "list").returncode == 0
