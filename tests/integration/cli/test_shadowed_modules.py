"""A module of the caller's with one of this project's names: what is imported, by each way in.

The caller's module comes first on `sys.path`, as the current folder and PYTHONPATH do. It ends its
process when it is imported.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes.json_program import ROOT, End
from tests.support.processes.ways_in import Case, run_all
from tests.support.servers.process import free_port

MODULES = (
    "settings",
    "tasks",
    "celeryconfig",
    "flowerconfig",
    "cache",
    "database",
    "domain",
    "seen_local",
)
PACKAGES = ("worker", "cli")
#: What happens: this project's modules are used; one sentence names both files; the caller's module was
#: asked for by its name, and no code of this project runs.
WORKS, REFUSED, THEIRS = "works", "refused", "theirs"
#: The ways in, and for each the modules that do not work.
WAYS: dict[str, dict[str, str]] = {
    "import cache": {
        "cache": THEIRS,
        **dict.fromkeys(("domain", "seen_local", "settings"), REFUSED),
    },
    "import database": {"database": THEIRS, "domain": REFUSED},
    "import tasks.api.submit": {
        "tasks": THEIRS,
        **dict.fromkeys(
            ("cache", "database", "domain", "seen_local", "settings", "worker"), REFUSED
        ),
    },
    "celery -A worker.app report": {"worker": THEIRS},
    "celery -A worker.app flower": {"worker": THEIRS},
    "cli list": {"cli": THEIRS},
}
#: The exit status of the ways in that work, and a part of what they print.
ANSWERS = {
    "celery -A worker.app report": (0, "downloads.requeued"),
    "celery -A worker.app flower": (1, "Flower does not start without a password"),
    "cli list": (0, "There are no jobs yet."),
}
#: A way in and the caller's modules; those that are all to work are in one folder.
TABLE = [
    *(
        (way, tuple(name for name in (*MODULES, *PACKAGES) if name not in others), WORKS)
        for way, others in WAYS.items()
    ),
    *((way, (name,), verdict) for way, others in WAYS.items() for name, verdict in others.items()),
]
ENDS_HERE = "the caller's module was imported"


def _file(folder: Path, name: str) -> Path:
    is_package = name in {"cache", "database", "domain", "seen_local", *PACKAGES}
    return folder / name / "__init__.py" if is_package else folder / f"{name}.py"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The parent of folders that have the caller's modules."""
    return tmp_path_factory.mktemp("project")


def _folder(project: Path, names: tuple[str, ...]) -> Path:
    """Return the folder with these modules of the caller's."""
    folder = project / "-".join(names)
    for name in names:
        _file(folder, name).parent.mkdir(exist_ok=True, parents=True)
        _file(folder, name).write_text(f"raise SystemExit({ENDS_HERE!r})\n")
    return folder


@pytest.fixture(scope="module")
def ends(project: Path) -> list[End]:
    """How each row of the table ends."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("SEEN_")
    }
    environment["SEEN_DATA_DIR"] = str(project / "data")
    environment["SEEN_FLOWER_PORT"] = str(free_port())
    folders = [str(_folder(project, names)) for _, names, _ in TABLE]
    cases = [
        Case(way, folder, [folder, str(ROOT)])
        for (way, _, _), folder in zip(TABLE, folders, strict=True)
    ]
    return run_all(cases, environment)


@pytest.mark.parametrize(
    "row", range(len(TABLE)), ids=[f"{way}-{','.join(names)}" for way, names, _ in TABLE]
)
def test_way_in_beside_a_module_of_the_same_name(ends: list[End], project: Path, row: int) -> None:
    (way, names, verdict), end = TABLE[row], ends[row]
    theirs = _file(project / "-".join(names), names[0])
    if verdict == WORKS:
        status, part = ANSWERS.get(way, (0, ""))
        assert end.status == status, end.output
        assert part in end.output
    elif verdict == REFUSED:
        assert end.status == 1
        *_, sentence = end.output.strip().splitlines()
        own = next(one for one in (_file(ROOT, names[0]), ROOT / f"{names[0]}.py") if one.exists())
        assert f"{theirs} and {own} are both the module" in sentence
    else:
        assert end.status == 1
        assert ENDS_HERE in end.output or str(theirs) in end.output
    assert (ENDS_HERE in end.output) <= (verdict == THEIRS)


@pytest.mark.parametrize("place", ["settings.py", "settings"])
def test_module_that_was_imported_before_is_named(tmp_path: Path, place: str) -> None:
    theirs = tmp_path / place
    if theirs.suffix:
        theirs.write_text("DEBUG = True\n")
    else:
        theirs.mkdir()
    program = (
        # Without the finder of the development install, which knows this project's settings.
        "import sys; sys.meta_path[:] = [f for f in sys.meta_path if 'Editable' not in repr(f)]\n"
        f"sys.path.insert(0, {str(tmp_path)!r}); import settings\n"
        f"sys.path[0] = {str(ROOT)!r}; import tasks"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert f"ImportError: {theirs} and {ROOT / 'settings.py'} are both" in done.stderr
