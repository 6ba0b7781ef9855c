"""scripts/check-readability finds what it is there to find, with file and line."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LONG_FUNCTION = "def long() -> None:\n" + "    pass\n" * 40


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with the script and an engine that imports nothing."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "check-readability", tmp_path / "scripts")
    write(tmp_path, "worker/transfer/engine.py", "import os\n")
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    return tmp_path


def write(checkout: Path, path: str, text: str) -> None:
    target = checkout / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)


def check(checkout: Path, *arguments: str) -> tuple[int, str]:
    command = [sys.executable, str(checkout / "scripts" / "check-readability"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_clean_tree_passes(checkout: Path) -> None:
    assert check(checkout) == (0, "")


@pytest.mark.parametrize("text", ["_lastTold = 1", "TELL_ALL = 1", "# Nobody.", "x.begun_at"])
def test_words_are_found_in_parts_of_identifiers_too(checkout: Path, text: str) -> None:
    write(checkout, "cli/many.py", "pass\n" + f"{text}\n" * 30)
    status, output = check(checkout)
    assert status == 1
    assert "cli/many.py:2: " in output
    assert check(checkout, "--report")[0] == 0


@pytest.mark.parametrize(
    "path", ["tests/unit/test_x.py", "docs/adr/0001-x.md", "database/migrations/versions/1.py"]
)
def test_words_do_not_count_outside_product_and_documents(checkout: Path, path: str) -> None:
    write(checkout, path, "# nobody told\n" * 30)
    assert check(checkout) == (0, "")


def test_words_inside_other_words_do_not_count(checkout: Path) -> None:
    write(checkout, "docs/x.md", "Intelligent storytelling about flightless birds.\n" * 30)
    assert check(checkout) == (0, "")


@pytest.mark.parametrize(
    ("files", "finding"),
    [
        ({"cache/a.py": LONG_FUNCTION}, "cache/a.py:1: long has 41 lines"),
        ({"cache/a.py": "pass\n" * 401}, "cache/a.py:401: 401 lines"),
        ({f"cache/a{number}.py": "" for number in range(16)}, "cache:1: 16 modules"),
        (
            {"worker/transfer/engine.py": "import cache.a\n", "cache/a.py": "\nimport redis\n"},
            "cache/a.py:2: redis is loaded with the engine",
        ),
        (
            {"worker/transfer/engine.py": "from cache import a\n"}
            | {
                f"cache/{name}.py": f"import cache.{name}a\n"
                for name in ("a" * n for n in range(1, 15))
            }
            | {
                f"cli/{name}.py": f"import cli.{name}b\n"
                for name in ("b" * n for n in range(1, 15))
            }
            | {
                "cache/"
                + "a" * 15
                + ".py": "import worker.c, cli.b, tasks.d, tasks.e, tasks.f\nimport tasks.g, tasks.h\n"
            }
            | {
                "worker/c.py": "",
                **{f"tasks/{name}.py": "" for name in "efgh"},
                "cli/" + "b" * 15 + ".py": "",
                "tasks/d.py": "",
            },
            "worker/transfer/engine.py:1: loads 37 files",
        ),
    ],
    ids=["function", "file", "folder", "import", "closure"],
)
def test_each_limit(checkout: Path, files: dict[str, str], finding: str) -> None:
    for path, text in files.items():
        write(checkout, path, text)
    status, output = check(checkout)
    assert status == 1
    assert finding in output


def test_imports_of_functions_and_types_are_not_loaded_with_the_engine(checkout: Path) -> None:
    engine = "if TYPE_CHECKING:\n    import redis\ndef later() -> None:\n    import celery\n"
    write(checkout, "worker/transfer/engine.py", engine)
    assert check(checkout) == (0, "")


def test_report_can_be_limited_to_a_folder(checkout: Path) -> None:
    write(checkout, "cli/a.py", "# told\n")
    write(checkout, "cache/a.py", "# told\n")
    status, output = check(checkout, "--report", "cli")
    assert (status, "cli/a.py:1" in output, "cache/a.py" in output) == (0, True, False)
