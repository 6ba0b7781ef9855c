"""Real processes, of which the standard streams are broken or a setting is wrong."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.servers.process import end_process, free_port
from tests.support.services.command_matrix import UNHANDLED
from tests.support.services.seen import ROOT, Seen
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

#: Redirections, and the statuses of a command that prints something.
REDIRECTIONS = {
    ">&-": {1},
    ">/dev/full": {1},
    "<&- >&- 2>&-": {1},
    ">/dev/full 2>/dev/full": {1},
    "2>&-": {0},
    "2>/dev/full": {0},
    "<&-": {0},
    "| true": {0, 141},
}
SEEN = ["-m", "cli", "list", "--json"]
CHAOS = ["-m", "tests.chaos", "--help"]
CASES = [
    *((SEEN, redirection) for redirection in REDIRECTIONS),
    *((CHAOS, redirection) for redirection in (">/dev/full", "<&- >&- 2>&-", "| true")),
]


@pytest.fixture
def seen(tmp_path: Path, store: StoreServer) -> Iterator[Seen]:
    login = {"SEEN_CACHE_ADDR": store.addr, "SEEN_CACHE_PASSWORD": store.password}
    with Seen(tmp_path, **login) as seen:
        yield seen


def _run(
    arguments: list[str], redirection: str, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run Python with redirections of a shell; the status is that of Python."""
    script = f'set -o pipefail; "$@" {redirection}'
    return subprocess.run(
        ["bash", "-c", script, "bash", sys.executable, *arguments],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(("arguments", "redirection"), CASES, ids=str)
def test_program_ends_with_a_status_and_no_traceback(
    seen: Seen, arguments: list[str], redirection: str
) -> None:
    done = _run(arguments, redirection, seen.environment)
    assert done.returncode in REDIRECTIONS[redirection], done
    assert not any(text in done.stderr for text in UNHANDLED), done.stderr
    if done.returncode == 1 and "2>" not in redirection:
        assert "Standard output" in done.stderr


def test_accepted_job_is_named_when_its_id_cannot_be_printed(seen: Seen) -> None:
    done = _run(["-m", "cli", "add", "http://127.0.0.1:9/a"], ">/dev/full", seen.environment)
    (job,) = seen.good("list", "--json").json()
    assert done.returncode == 1
    assert job["id"] in done.stderr


@pytest.mark.parametrize("redirection", ["<&- >&- 2>&-", ">/dev/full 2>/dev/full"])
def test_services_run_without_a_log(seen: Seen, store: StoreServer, redirection: str) -> None:
    shell = ["bash", "-c", f'exec "$@" {redirection}', "bash", sys.executable, "-m", "cli"]
    services = [
        subprocess.Popen([*shell, *arguments], env=seen.environment, cwd=ROOT)
        for arguments in (["beat"], ["worker", "--queue", "maintenance"])
    ]
    try:
        for check in ("beat --check", "worker --queue maintenance --check"):
            wait_until(
                lambda check=check: seen.run(*check.split()).status == 0,  # type: ignore[misc]
                deadline=40,
                what=check,
            )
    finally:
        for one in services:
            end_process(one, how=signal.SIGTERM, grace=20)
    assert [one.returncode for one in services] == [0, 0]


@pytest.mark.parametrize("address", ["[::1]", "localhost"])
def test_up_runs_flower_at_the_address_that_is_set(tmp_path: Path, address: str) -> None:
    with Seen(tmp_path, SEEN_FLOWER_ADDRESS=address, SEEN_FLOWER_PORT=str(free_port())) as seen:
        process = seen.start("up")
        stack = seen.wait_for_stack("store", "flower")
        assert stack["flower_url"].startswith(f"http://{address}:")
        end_process(process, how=signal.SIGTERM, grace=30)
        assert process.returncode == 0


WRONG = {
    "seen worker": ["-m", "cli", "worker"],
    "worker": ["-m", "worker.celery_ext.main", "worker", "-Q", "x", "-n", "x", "-c", "1"],
    "supervisor": ["-m", "cli.local_stack.supervisor"],
    "celery worker": ["-m", "celery", "-A", "worker.app", "worker"],
    "celery inspect": ["-m", "celery", "-A", "worker.app", "inspect", "ping"],
    "celery flower": ["-m", "celery", "-A", "worker.app", "flower", "--conf=flowerconfig.py"],
}


@pytest.mark.parametrize("program", WRONG)
def test_program_names_a_wrong_setting(seen: Seen, program: str) -> None:
    done = _run(WRONG[program], "", {**seen.environment, "SEEN_CACHE_DB": "one"})
    assert done.returncode in {1, 2}
    assert "SEEN_CACHE_DB='one' is not valid" in done.stderr
    assert "Traceback" not in done.stderr
