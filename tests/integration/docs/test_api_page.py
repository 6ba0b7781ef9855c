"""The examples of docs/api.md, each run as it stands there, on an API whose downloads run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.job import JobFilter, JobStatus
from tests.support.origins.origin import Origin
from tests.support.services.http_api import HttpApi, http_api
from tests.support.services.running import run_download
from tests.support.stores.server import StoreServer

DOCUMENT = Path(__file__).parents[3] / "docs" / "api.md"
#: Language and code of each block that can run, in order: later ones use what earlier ones did.
BLOCKS = re.findall(r"```(bash|python)\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
EXAMPLE = "https://example.org/film.mkv"


@pytest.fixture
def api(tmp_path: Path, store: StoreServer) -> Iterator[HttpApi]:
    with http_api(tmp_path / "api", store) as api:
        stop = threading.Event()
        worker = threading.Thread(target=_run_queued, args=(api, stop))
        worker.start()
        yield api
        stop.set()
        worker.join()


def _run_queued(api: HttpApi, stop: threading.Event) -> None:
    """Run queued jobs one after the other, as a worker would."""
    while not stop.wait(0.05):
        for job in api.system.runtime.jobs.find(JobFilter(JobStatus.QUEUED), limit=1):
            run_download(api.system.runtime, job.id)


def test_every_example_works(api: HttpApi, origin: Origin, tmp_path: Path) -> None:
    file = origin.serve("/film.mkv", size=1000)
    variables = {"SEEN_URL": api.url, "SEEN_KEY": api.keys["root"]}
    environment = {**os.environ, **variables}
    printed = ""
    for language, code in BLOCKS:
        program = ["bash", "-euc"] if language == "bash" else [sys.executable, "-c"]
        ended = subprocess.run(
            [*program, code.replace(EXAMPLE, file.url)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, f"{code}\n{ended.stdout}{ended.stderr}"
        printed += ended.stdout
    assert len(BLOCKS) == 7
    assert '"status":"completed"' in printed
    assert re.search(r"^[1-4] downloads$", printed, re.MULTILINE)
    assert (tmp_path / "first.bin").stat().st_size == 100
    assert any(api.system.downloads.rglob("film*.mkv"))
