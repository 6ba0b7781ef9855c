"""docs/configuration.md says what settings.py says."""

from __future__ import annotations

import os
import re
import runpy
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


def test_a_document_that_is_not_current_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In another file, so that nothing else sees the changed one."""
    names = runpy.run_path(str(SCRIPT))
    document = tmp_path / "configuration.md"

    def run(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", [str(SCRIPT), *arguments])
        monkeypatch.setitem(names["main"].__globals__, "TARGET", document)
        return int(names["main"]())

    assert run("--check") == 1, "there is none yet"
    assert run() == 0
    assert run("--check") == 0
    document.write_text(document.read_text(encoding="utf-8") + "\nMore.\n", encoding="utf-8")
    capsys.readouterr()
    assert run("--check") == 1
    assert "scripts/write-config-docs" in capsys.readouterr().err
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
