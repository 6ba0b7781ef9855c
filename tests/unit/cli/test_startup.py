"""The command line starts quickly: what a command does not need is not loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

#: What JSON in logs and traces need, and redis-py would load of the latter.
OBSERVED = frozenset(
    {
        *("structlog", "worker.logs.masking", "worker.tracing.recorder"),
        *("opentelemetry.sdk.metrics", "opentelemetry.sdk.trace"),
    }
)
#: What takes long to import.
HEAVY = frozenset(
    {
        *("settings", "pydantic", "pydantic_settings", "rich", "sqlalchemy", "alembic", "asyncio"),
        *("redis", "celery", "kombu", "pycurl", "flower", "tornado"),
        *OBSERVED,
    }
)
#: Runs a command in this process, and prints which modules it has loaded.
RUN = """
import contextlib, io, json, sys
from cli.main import run
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    run(sys.argv[1:])
print(json.dumps(list(sys.modules)))
"""


def loaded(code: str, *arguments: str, folder: Path) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(Path(__file__).parents[3]), "HOME": str(folder)},
    )
    modules = json.loads(done.stdout)
    return {name for name in modules if name in HEAVY or name.startswith("cli.commands.")}


#: Arguments that are converted, for which Typer loads Pydantic.
CONVERTED = [
    *(["help", "get"], ["completion", "bash"], ["completion", "tcsh"]),
    *(["get", "--jobs", "x", "http://example.org/"], ["cache", "stats", "--help"]),
    ["cache", "upgrade"],
]


#: The command modules that are loaded besides; None for all.
@pytest.mark.parametrize(
    ("arguments", "commands"),
    [
        (["--version"], set()),
        (["--help"], None),
        ([], None),
        (["help", "get"], None),
        (["completion", "bash"], None),
        (["completion", "tcsh"], None),
        (["nonsense"], None),
        (["--bad"], None),
        (["get", "--help"], {"get"}),
        (["get", "--jobs", "x", "http://example.org/"], {"get"}),
        (["get", "--bad", "http://example.org/"], {"get"}),
        (["list", "--help"], {"jobs"}),
        (["up", "--help"], {"up"}),
        (["cache", "--help"], {"cache"}),
        (["user", "--help"], {"accounts", "accounts.user", "accounts.printing"}),
        (["cache", "stats", "--help"], {"cache"}),
        (["cache", "upgrade"], None),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, list) else "",
)
def test_help_and_wrong_arguments_load_nothing_heavy(
    arguments: list[str], commands: set[str] | None, tmp_path: Path
) -> None:
    found = loaded(RUN, *arguments, folder=tmp_path)
    folder = Path(__file__).parents[3] / "cli" / "commands"
    if commands is None:
        paths = [path.relative_to(folder) for path in folder.rglob("[a-z]*.py")]
        commands = {".".join(path.with_suffix("").parts) for path in paths}
        commands |= {str(path.parent) for path in paths if path.parent.name}
    converting = {"pydantic"} if arguments in CONVERTED else set()
    assert found == {f"cli.commands.{name}" for name in commands} | converting


#: What a process loads before it reads a setting; the supervisor loads the rest while its store starts.
@pytest.mark.parametrize("module", ["cli.main", "cli.local_stack.supervisor"])
def test_nothing_heavy_is_loaded_at_the_start(module: str, tmp_path: Path) -> None:
    code = f"import json, sys, {module}; print(json.dumps(list(sys.modules)))"
    assert loaded(code, folder=tmp_path) == set()


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import cli.main; import tasks; tasks.submit", OBSERVED),
        ("import cli; import worker.celery_ext.main", OBSERVED),
        ("import tasks, cli.output.tables; tasks.show", {"celery", "kombu", "pycurl", "alembic"}),
        ("import tasks; tasks.submit", {"alembic", "rich", "flower", "tornado"}),
        ("import worker.celery_ext.main", {"alembic", "rich", "flower", "tornado", "typer"}),
    ],
)
def test_what_a_program_does_not_need(code: str, absent: set[str], tmp_path: Path) -> None:
    code = f"import json, sys; {code}; print(json.dumps(list(sys.modules)))"
    assert not loaded(code, folder=tmp_path) & absent


def test_what_is_loaded_before_the_fork_reads_no_setting(tmp_path: Path) -> None:
    """The settings of the services are complete when their store runs."""
    code = (
        "import json, sys, settings, threading\n"
        "settings.load = None\n"
        "from cli.local_stack import preload\n"
        "preload.load((*preload.COMMON, *preload.SERVICES, *preload.COMMAND))\n"
        "assert 'seen_modules.celeryconfig' not in sys.modules\n"
        "assert threading.active_count() == 1\n"
        "print(json.dumps(list(sys.modules)))"
    )
    assert not loaded(code, folder=tmp_path) & {"alembic", "flower", "tornado"}
