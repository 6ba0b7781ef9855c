"""docs/configuration.md says what settings.py says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "write-config-docs"


@pytest.fixture(scope="module")
def document() -> str:
    return (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")


def test_the_document_is_what_the_script_would_write() -> None:
    ended = subprocess.run(
        [sys.executable, str(SCRIPT), "--check"], capture_output=True, text=True, check=False
    )

    assert ended.returncode == 0, ended.stderr


def test_a_document_that_is_not_current_is_found(tmp_path: Path) -> None:
    """In a copy, so that nobody else sees the changed file."""
    for source in ("settings.py", "domain/__init__.py", "domain/errors.py", "domain/limits.py"):
        copy = tmp_path / source
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes((ROOT / source).read_bytes())
    (tmp_path / "scripts").mkdir()
    (tmp_path / "docs").mkdir()
    script = tmp_path / "scripts" / SCRIPT.name
    script.write_bytes(SCRIPT.read_bytes())
    document = tmp_path / "docs" / "configuration.md"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(script), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert run("--check").returncode == 1, "there is none yet"
    assert run().returncode == 0
    assert run("--check").returncode == 0
    document.write_text(document.read_text(encoding="utf-8") + "\nMore.\n", encoding="utf-8")
    ended = run("--check")
    assert ended.returncode == 1
    assert "scripts/write-config-docs" in ended.stderr
    assert document.read_text(encoding="utf-8").endswith("More.\n"), "a check changes nothing"


def test_every_setting_is_listed_once_and_described(document: str) -> None:
    rows = re.findall(rf"^\| `{PREFIX}(\w+)` \|.*\| (.+) \|$", document, re.MULTILINE)

    assert [name.lower() for name, _ in rows] == list(Settings.model_fields)
    assert all(meaning.strip() for _, meaning in rows)


def test_another_home_changes_nothing(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data")}
    ended = subprocess.run(
        [sys.executable, str(SCRIPT), "--check"], env={**os.environ, **home}, check=False
    )

    assert ended.returncode == 0
