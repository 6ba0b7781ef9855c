"""Keeps this project's modules apart from others of the same names: `settings`, `tasks`, `worker`, ….

Python imports the first module of a name that it finds on `sys.path`, where the current folder often
comes first, and a process has one module of a name. So each package claims its names at its import:

* A program of this project (`seen`, a worker, ``celery -A worker.app``) imports its modules from the
  folder of this file, whatever else is on `sys.path`.
* A program that uses the project as a library may need its own module of such a name. Where there is
  one, the import is refused: one of the two would silently be taken for the other.

`celeryconfig` and `flowerconfig` take no name: they are loaded from their files.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import ClassVar

#: The folder of this project.
FOLDER = Path(__file__).resolve().parent

#: What each package imports of this project's names.
_NEEDS: dict[str, tuple[str, ...]] = {
    "domain": (),
    "seen_local": ("domain", "settings"),
    "cache": ("domain", "seen_local", "settings"),
    "database": ("domain",),
    "worker": ("cache", "database", "domain", "seen_local", "settings"),
    "tasks": ("cache", "database", "domain", "seen_local", "settings", "worker"),
    "api": ("cache", "database", "domain", "seen_local", "settings", "tasks", "worker"),
    "cli": ("api", "cache", "database", "domain", "seen_local", "settings", "tasks", "worker"),
}
_ALL = ("settings", *_NEEDS)
#: What `seen` starts by name, with ``python -P -m``.
_STARTED = ("api", "cli", "worker")
#: The modules of programs, as command lines name them.
_PROGRAMS = frozenset({"api.server", "worker.celery_ext.main"})


def claim(package: str) -> None:
    """Import `package`, and what it needs, from this project's folder from now on.

    Raises:
        ImportError: another module of such a name was imported, or would be. A program of this project
            ends with the same sentence instead.
    """
    if _Finder.names.issuperset((package, *_NEEDS[package])):
        return
    if package == "cli" or is_own_program():
        names = _ALL
        others = _imported(names)
        if package == "cli":
            others |= _found(_STARTED, sys.path if sys.flags.safe_path else sys.path[1:])
        for name, file in others.items():
            sys.exit(f"seen: {_sentence(name, file)}")
    else:
        names = (package, *_NEEDS[package])
        for name, file in (_imported(names) | _found(names, sys.path)).items():
            raise ImportError(_sentence(name, file), name=name, path=file)
    _Finder.names.update(names)
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)


def is_own_program() -> bool:
    """Return whether this is a worker, beat, the API, or a command of ``celery -A worker.app``."""
    if not _PROGRAMS.isdisjoint(sys.orig_argv):
        return True
    click = sys.modules.get("click")
    context = click and click.get_current_context(silent=True)
    app = context and context.find_root().params.get("app")
    return str(app).partition(":")[0] == "worker.app"


def is_own_process() -> bool:
    """Return whether a program of this project, or the `seen` command, has claimed its names here."""
    return _Finder.names.issuperset(_ALL)


def load(name: str) -> ModuleType:
    """Load `name`.py of this project's folder; a module of the caller's with that name is untouched."""
    private = f"{__name__}.{name}"
    if private not in sys.modules:
        spec = spec_from_file_location(private, FOLDER / f"{name}.py")
        if spec is None or spec.loader is None:
            raise ImportError(f"{FOLDER / name}.py cannot be loaded", name=name)
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[private] = module
    return sys.modules[private]


def __getattr__(name: str) -> ModuleType:
    """``seen_modules:celeryconfig`` is how Celery is given its configuration."""
    if name != "celeryconfig":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return load(name)


class _Finder:
    """Finds the claimed names in this project's folder alone."""

    names: ClassVar[set[str]] = set()

    @classmethod
    def find_spec(
        cls,
        name: str,
        _path: Sequence[str] | None = None,
        _target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Find a module, as `importlib` asks; None for all other names."""
        return PathFinder.find_spec(name, [str(FOLDER)]) if name in cls.names else None


def _imported(names: Sequence[str]) -> dict[str, str]:
    """Return the files of foreign modules that have one of these names."""
    return _foreign({name: _place(sys.modules.get(name)) for name in names})


def _place(module: ModuleType | None) -> str | None:
    """Return a module's file, or the folder of a package without `__init__.py`."""
    folders = getattr(module, "__path__", ())
    return getattr(module, "__file__", None) or next(iter(folders), None)


def _found(names: Sequence[str], path: Sequence[str]) -> dict[str, str]:
    """Return the files of foreign modules that an import would find."""
    specs = {name: PathFinder.find_spec(name, path) for name in names}
    return _foreign({name: spec.origin if spec else None for name, spec in specs.items()})


def _foreign(files: dict[str, str | None]) -> dict[str, str]:
    return {
        name: file
        for name, file in files.items()
        if file is not None and Path(file).resolve() not in _own_files(name)
    }


def _own_files(name: str) -> tuple[Path, Path]:
    return FOLDER / f"{name}.py", FOLDER / name / "__init__.py"


def _sentence(name: str, foreign: str) -> str:
    own = next((file for file in _own_files(name) if file.exists()), FOLDER)
    return (
        f"{foreign} and {own} are both the module {name!r}, and a process can import only one of them: "
        "rename the first, or take its folder off PYTHONPATH and out of the current folder."
    )
