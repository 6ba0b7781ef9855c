"""The first two minutes of a new user: a fresh checkout, one command, a file."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.support.origins.origin import Origin
from tests.support.services.system import ROOT

pytestmark = pytest.mark.timeout(600)  # it installs everything the service runs on


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a fresh clone of this tree has: no environment."""
    target = tmp_path_factory.mktemp("checkout") / "seen downloads"  # with a space, as people have
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


def run(
    checkout: Path, folder: Path, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the launcher from `folder`, with a data folder of the test's own."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in {"VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME"}
    }
    return subprocess.run(
        [checkout / "seen", *arguments],
        cwd=folder,
        env=environment | {"SEEN_DATA_DIR": str(folder / "data"), **variables},
        capture_output=True,
        text=True,
        timeout=500,
    )


def test_one_command_in_a_fresh_checkout_brings_the_file(
    checkout: Path, tmp_path: Path, origin: Origin
) -> None:
    size = 200_000_000
    file = origin.serve("/film.mkv", size=size)

    first = run(checkout, tmp_path, "get", file.url, "--sha256", file.sha256)

    assert first.returncode == 0, first.stderr
    assert "first use" in first.stderr
    with (tmp_path / "film.mkv").open("rb") as content:
        assert hashlib.file_digest(content, "sha256").hexdigest() == file.sha256

    second = run(checkout, tmp_path, "get", origin.serve("/small.bin", size=1000).url)
    assert second.returncode == 0, second.stderr
    assert "first use" not in second.stderr

    listed = json.loads(run(checkout, tmp_path, "list", "--json").stdout)
    film = next(job for job in listed if job["bytes_total"] == size)
    assert (film["status"], film["bytes_downloaded"]) == ("completed", size)
    with sqlite3.connect(tmp_path / "data" / "seen.db") as database:
        query = "SELECT status, bytes_downloaded, bytes_total, sha256 FROM jobs WHERE id = ?"
        row = database.execute(query, (film["id"],)).fetchone()
    database.close()
    assert row == ("completed", size, size, file.sha256)


def test_modules_of_a_pythonpath_do_not_hide_those_of_the_checkout(
    checkout: Path, tmp_path: Path
) -> None:
    for name in ("settings", "tasks", "worker", "cli", "seen_modules"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not this one')")
    listed = run(checkout, tmp_path, "list", PYTHONPATH=str(tmp_path))
    assert (listed.returncode, listed.stdout) == (0, "There are no jobs yet.\n"), listed.stderr
