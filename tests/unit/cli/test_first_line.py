"""What a command shows before its imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cli import first_line
from cli.first_line import STORE_VARIABLES
from seen_local.file_lock import FileLock
from seen_local.stack_settings import has_store
from settings import Settings


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    texts: list[str] = []
    monkeypatch.setattr(first_line, "show_busy", texts.append)
    for variable in STORE_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("SEEN_DATA_DIR", str(tmp_path))
    return texts


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["get", "http://example.org/a"], ["starting workers …"]),
        (["get"], ["starting workers …"]),
        (["get", "--json", "http://example.org/a"], ["starting workers …"]),
        (["watch"], ["reading jobs …"]),
        (["get", "--help"], []),
        (["get", "-q", "http://example.org/a"], []),
        (["get", "http://example.org/a", "--quiet"], []),
        (["list"], []),
        (["add", "get"], []),
        ([], []),
    ],
)
def test_first_line(shown: list[str], arguments: list[str], text: list[str]) -> None:
    first_line.show(arguments)
    assert shown == text


def test_running_stack_is_seen_and_a_wrong_folder_is_not_reported(
    tmp_path: Path,
) -> None:
    with FileLock(tmp_path / "stack.lock"):
        running = first_line.workers_text({"SEEN_DATA_DIR": str(tmp_path)})
    assert running == "using the running workers …"
    (tmp_path / "a file").touch()
    for folder in (str(tmp_path), str(tmp_path / "missing"), str(tmp_path / "a file"), "\0"):
        assert first_line.workers_text({"SEEN_DATA_DIR": folder}) == "starting workers …"


@pytest.mark.parametrize("variable", STORE_VARIABLES)
def test_configured_store_is_seen(
    shown: list[str], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "redis.example:6379")
    first_line.show(["get"])
    assert shown == ["using the configured workers …"]


def test_variables_of_a_store_are_those_of_the_settings() -> None:
    stores = {one.removeprefix("SEEN_").removesuffix("_FILE").lower() for one in STORE_VARIABLES}
    for name in Settings.model_fields:
        settings = Settings.model_construct(_fields_set={name})
        assert has_store(settings) is (name in stores)


def test_it_comes_before_everything_heavy() -> None:
    code = (
        "import sys, cli.first_line as first; first.show(['get']); "
        "print({'typer', 'pydantic', 'rich', 'settings', 'celery', 'sqlalchemy'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
